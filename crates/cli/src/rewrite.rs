//! `entresol rewrite`: replaces a kernel's sensitive instructions before it runs.
//!
//! What is replaced, and by what, is `entresol-rewrite`'s business; where the code is,
//! [`discover`](crate::discover)'s. Written are the same bytes with other words in them, and behind
//! them the pages that need no scan (`entresol_system::rewritten`): those with code in which
//! nothing is left that may be an instruction to be replaced. All others are scanned when
//! they run, from where they are entered, as if nothing had been done.

use crate::arguments::Rewrite as Arguments;
use crate::commands::{Failure, Outcome, format_of, print, unreadable, write};
use crate::discover::{Discovery, Judged, offset_in};
use crate::inspect::Inspection;
use entresol_rewrite::{Site, Width};
use entresol_system::code::Set;
use entresol_system::manifest::Format;
use entresol_system::rewritten::{self, Rewritten, Run};
use entresol_system::text::{self, Part, Text};
use entresol_system::{Problem, guest::Unfit};
use entresol_trace::Symbols;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

const PAGE: u32 = 0x1000;

/// Most runs of pages that an image keeps; of more, the shortest are scanned when they run.
const MOST_RUNS: usize = 256;

/// What was done to a binary.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    inspection: Inspection,
    /// Instructions that were replaced.
    replaced: usize,
    pages: Pages,
}

/// Pages of a binary, by what is known of them.
#[derive(Debug, Default, Serialize)]
struct Pages {
    /// There is code, and all is decided: they need no scan.
    decided: usize,
    /// There is code, and something is undecided.
    undecided: usize,
    /// Nothing is known to be code there; nothing is replaced.
    unreached: usize,
}

/// `entresol rewrite`.
pub(crate) fn rewrite(arguments: &Arguments) -> Outcome {
    let path = &arguments.image;
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    if rewritten::split(&bytes) != Rewritten::No {
        let what = format!("`{}` was rewritten already", path.display());
        return Err(Problem::new("rewrite::again", what).help("use the original").into());
    }
    let format = arguments.format.as_deref().map(format_of);
    let mut text =
        text::text(&bytes, format, arguments.load).map_err(|unfit| refuse(path, unfit))?;
    let functions = functions(arguments, &bytes, &mut text)?;
    let judged = Discovery::new(&bytes, &text, &functions).judge();

    let mut binary = bytes;
    let mut replaced = 0;
    for page in &judged {
        let Some(part) = text.parts.get(page.part) else { continue };
        for site in &page.sites {
            replaced += usize::from(replace(&mut binary, part, page.page, site).is_some());
        }
    }
    let runs = runs(&text, &judged);
    let (decided, reached) = count(&judged);
    let all: usize = text.parts.iter().map(|part| part.file.len().div_ceil(0x1000)).sum();
    let report = Report {
        inspection: Inspection::of(&text, &judged, arguments.all),
        replaced,
        pages: Pages {
            decided,
            undecided: reached - decided,
            unreached: all.saturating_sub(reached),
        },
    };
    write(&arguments.output, &rewritten::append(binary, &runs))?;
    if arguments.json {
        let json = serde_json::to_string_pretty(&report);
        print(&json.map_err(|error| Failure::Other(miette::Report::msg(error)))?)
    } else {
        print(&report.to_string())
    }
}

fn refuse(path: &Path, unfit: Unfit) -> Problem {
    let what = format!("`{}` cannot be rewritten: {}", path.display(), unfit.what);
    Problem::new(unfit.code, what).help(unfit.remedy)
}

/// The functions that are known by name, where they are linked to run; a Linux `Image` tells
/// by them where that is.
fn functions(arguments: &Arguments, bytes: &[u8], text: &mut Text) -> Result<Vec<u32>, Problem> {
    let symbols = match &arguments.symbols {
        None => Symbols::read(bytes),
        Some(path) => {
            let file = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
            Symbols::read(&file)
        }
    };
    let functions: Vec<u32> = symbols.addresses().collect();
    let first = functions.first().filter(|_| text.format == Format::Image);
    let at = text.parts.first().map_or(0, |part| part.at);
    let linked = arguments.linked.or_else(|| first.map(|first| text::linked_image(at, *first)));
    if let (Some(linked), [part]) = (linked, text.parts.as_mut_slice())
        && text.format != Format::Elf
    {
        if (linked ^ part.at) & (PAGE - 1) != 0 {
            let what = format!("{linked:#010x} is not where {:#010x} is in a page", part.at);
            return Err(Problem::new("rewrite::linked", what)
                .help("say with --linked at which address the binary's first byte runs"));
        }
        text.entry.0 = text.entry.0.wrapping_sub(part.linked).wrapping_add(linked);
        part.linked = linked;
    }
    Ok(functions)
}

/// Writes a site's trap word into the file.
fn replace(binary: &mut [u8], part: &Part, page: u32, site: &Site) -> Option<()> {
    let at = part.file.start + offset_in(part, page + u32::from(site.offset))?;
    let [low, high] = halves(site.replacement);
    match site.width {
        Width::Word => put(binary, at, low).and_then(|()| put(binary, at + 2, high)),
        Width::Narrow => put(binary, at, low),
        Width::Wide => put(binary, at, high).and_then(|()| put(binary, at + 2, low)),
    }
}

fn halves(word: u32) -> [[u8; 2]; 2] {
    let [a, b, c, d] = word.to_le_bytes();
    [[a, b], [c, d]]
}

fn put(binary: &mut [u8], at: usize, half: [u8; 2]) -> Option<()> {
    binary.get_mut(at..at + 2)?.copy_from_slice(&half);
    Some(())
}

/// By page: whether all is decided in all its instruction sets, and these.
fn by_page(judged: &[Judged]) -> BTreeMap<(usize, u32), (bool, u32)> {
    let mut pages = BTreeMap::new();
    for page in judged.iter().filter(|page| page.reached) {
        let (decided, sets) = pages.entry((page.part, page.page)).or_insert((true, 0));
        *decided &= page.undecided == 0;
        *sets |= match page.set {
            Set::A32 => 1,
            Set::T32 => 2,
        };
    }
    pages
}

/// Pages that are decided, and those that are reached.
fn count(judged: &[Judged]) -> (usize, usize) {
    let pages = by_page(judged);
    (pages.values().filter(|(decided, _)| *decided).count(), pages.len())
}

/// The pages that need no scan, whole ones only.
fn runs(text: &Text, judged: &[Judged]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for ((index, page), (decided, sets)) in by_page(judged) {
        let Some(part) = text.parts.get(index).filter(|_| decided) else { continue };
        let Some(offset) = page.checked_sub(part.linked) else { continue };
        if offset_in(part, page + PAGE - 1).is_none() {
            continue;
        }
        let at = if text.format == Format::Elf { part.at + offset } else { offset };
        match runs.last_mut() {
            Some(run)
                if run.at + run.len == at && run.linked + run.len == page && run.sets == sets =>
            {
                run.len += PAGE;
            }
            _ => runs.push(Run { at, len: PAGE, linked: page, sets }),
        }
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.len));
    runs.truncate(MOST_RUNS);
    runs.sort_by_key(|run| run.at);
    runs
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pages { decided, undecided, unreached } = self.pages;
        write!(f, "{}", self.inspection)?;
        writeln!(f, "\n\nreplaced {} instructions", self.replaced)?;
        writeln!(f, "pages of code in which all is decided: {decided}")?;
        writeln!(f, "pages of code with something undecided: {undecided}")?;
        write!(f, "pages without known code, which were left as they are: {unreached}")
    }
}
