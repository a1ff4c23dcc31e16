//! A mistake in a manifest, shown with the line that made it.
//!
//! Every check of this crate ends here: a [`Problem`] has a code, the place in the
//! text, what is wrong, and what to do about it. Checks collect problems instead of
//! stopping at the first, so that one run of `check` shows them all.
//!
//! Rendering is miette's business, choosing an exit status the tool's.

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};
use std::{fmt, ops::Range, sync::Arc};

/// A file that problems point into.
pub type Source = NamedSource<Arc<str>>;

/// Makes a [`Source`] of a file's name and text.
#[must_use]
pub fn source(name: &str, text: &str) -> Source {
    NamedSource::new(name, Arc::from(text)).with_language("TOML")
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Problem(Box<Details>);

/// What there is to say about a mistake.
#[derive(Clone, Debug)]
struct Details {
    severity: Severity,
    code: &'static str,
    message: String,
    help: String,
    source: Option<Source>,
    labels: Vec<(Range<usize>, String)>,
}

impl Problem {
    /// A mistake of kind `code` (as in `manifest::unknown-key`): what is wrong.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            severity: Severity::Error,
            code,
            message: message.into(),
            help: String::new(),
            source: None,
            labels: Vec::new(),
        }))
    }

    /// Points at bytes `span` of `source`, with a remark.
    #[must_use]
    pub fn at(mut self, source: &Source, span: Range<usize>, remark: impl Into<String>) -> Self {
        self.0.source = Some(source.clone());
        self.0.labels.push((span, remark.into()));
        self
    }

    /// Makes it something to know, not a mistake.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.0.severity = Severity::Warning;
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = help.into();
        self
    }

    /// The kind of mistake.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.0.code
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.0.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(self.0.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        if self.0.help.is_empty() { None } else { Some(Box::new(&self.0.help)) }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        match &self.0.source {
            Some(source) => Some(source),
            None => None,
        }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = |(span, remark): &(Range<usize>, String)| {
            LabeledSpan::new_with_span(Some(remark.clone()), span.clone())
        };
        Some(Box::new(self.0.labels.iter().map(label)))
    }
}

/// Every mistake found, at least one.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "{only}"),
            several => write!(f, "{} mistakes", several.len()),
        }
    }
}

impl std::error::Error for Problems {}

impl Diagnostic for Problems {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.0.iter().map(|problem| -> &dyn Diagnostic { problem })))
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// Reads `text` as a `T`, or says what is wrong with which line.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(
    source: &Source,
    text: &str,
) -> Result<T, Problem> {
    toml::from_str(text).map_err(|error| {
        let message = error.message().to_owned();
        let span = error.span().unwrap_or(0..0);
        let (code, remark, help) = explain(&message, text.get(span.clone()).unwrap_or(""));
        // A key that is missing has no place of its own: point at the table's first line.
        let first_line = text.get(span.clone()).and_then(|text| text.find('\n'));
        let span = match (code, first_line) {
            ("manifest::missing-key", Some(len)) => span.start..span.start + len,
            _ => span,
        };
        let plain = message.strip_prefix("size: ").or(message.strip_prefix("duration: "));
        let message = plain.unwrap_or(&message);
        Problem::new(code, message).at(source, span, remark).help(help)
    })
}

/// Turns the parser's message into a code, a remark and a remedy.
fn explain(message: &str, found: &str) -> (&'static str, &'static str, String) {
    if message.starts_with("unknown field") {
        let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        let help = nearest(found, known.iter().copied()).map_or_else(
            || "remove the key, or use one of those listed".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        ("manifest::unknown-key", "no such key here", help)
    } else if message.starts_with("missing field") {
        let key = message.split('`').nth(1).unwrap_or("the key");
        ("manifest::missing-key", "in this table", format!("add `{key} = ...`"))
    } else if message.starts_with("unknown variant") {
        ("manifest::unknown-value", "no such value", "use one of the values listed".to_owned())
    } else if message.starts_with("invalid type") || message.starts_with("invalid value") {
        ("manifest::wrong-type", "of the wrong kind", "write a value of the kind expected".into())
    } else if message.starts_with("size:") {
        let help = "write a number of bytes, or a number with K, M or G, such as \"64M\"";
        ("manifest::bad-size", "not a size", help.into())
    } else if message.starts_with("duration:") {
        let help = "write a whole number with a unit: \"200us\", \"10ms\", \"1s\"";
        ("manifest::bad-duration", "not a duration", help.into())
    } else {
        ("manifest::syntax", "here", "correct the TOML; its grammar is at https://toml.io".into())
    }
}

/// The candidate most like `word`, if one is near enough to be what was meant.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
