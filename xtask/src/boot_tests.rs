//! The on-target tests: one folder of `tests/boot` each.
//!
//! ```text
//! tests/boot/NAME/test.toml     what to run and what to expect
//!                 system.toml   the manifest (or the one test.toml names)
//!                 golden.txt    optional: the whole output, the same on every machine
//!                 golden.MACHINE.txt   optional: where a machine's output differs
//! ```
//!
//! A golden text has a line per line of a console, prefixed with its channel: `0|` is the
//! hypervisor, which also answers orders there (`0| order 2 to 1: done`), `1|` the first VM. Lines are in the order in which they were completed,
//! which is repeatable, because nothing on such a machine depends on the host's time.
//! `cargo xtask bless NAME` rewrites it. A test that types has no golden text: what is
//! typed arrives when the host gets to it. It has `expect` lines instead, and so has a
//! test with `endless = true`, which is stopped by the host.

use crate::native::Native;
use crate::process;
use crate::profile;
use crate::qemu::{Ended, Machine, Typed};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use entresol_abi::console::{Channel, Demultiplexer, Order};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One folder's `test.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Spec {
    /// The manifest, relative to the folder.
    #[serde(default = "default_system")]
    system: PathBuf,
    /// Runs once on each.
    #[serde(default = "all_machines")]
    machines: Vec<String>,
    /// Runs once more on each of these, with `protection = "domains"` for every VM.
    #[serde(default)]
    domains: Vec<String>,
    /// There, a VM does what domains cannot express, and is given tables.
    #[serde(default)]
    mixes: bool,
    /// Most seconds of the host's time for one run.
    #[serde(default = "default_seconds")]
    seconds: u64,
    /// Exit status.
    #[serde(default)]
    status: i32,
    /// Texts that must be found in the output in this order.
    #[serde(default)]
    expect: Vec<String>,
    /// The system does not end by itself: it is stopped once all of `expect` was printed,
    /// and has no exit status.
    #[serde(default)]
    endless: bool,
    /// Numbers that must not be larger than they are allowed to be.
    #[serde(default)]
    bound: Vec<Bound>,
    /// Texts that must not be found.
    #[serde(default)]
    never: Vec<String>,
    /// Run it twice more, counted, and compare every byte and the number of instructions.
    #[serde(default)]
    twice: bool,
    /// What to type.
    #[serde(default, rename = "type")]
    typed: Vec<Typed>,
    /// A guest that is to print what it prints without Entresol.
    native: Option<Native>,
    /// What the machine's second UART sends is lines that begin with numbers: from 0 on, each, and
    /// some again.
    #[serde(default)]
    numbers: bool,
    /// What `entresol profile` must say of it.
    profile: Option<profile::Wanted>,
}

/// Bounds on numbers that are printed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Bound {
    /// The number follows this text.
    pub(crate) after: String,
    /// Smallest that is right.
    #[serde(default)]
    least: u64,
    /// Largest that is right.
    pub(crate) most: u64,
    /// The number has decimals: it is taken without its point.
    #[serde(default)]
    decimals: bool,
    /// It must be found so often at least.
    #[serde(default = "once")]
    times: usize,
}

fn default_system() -> PathBuf {
    PathBuf::from("system.toml")
}

fn all_machines() -> Vec<String> {
    ["vexpress-a9", "xilinx-zynq-a9", "virt-a15"].map(str::to_owned).to_vec()
}

const fn once() -> usize {
    1
}

const fn default_seconds() -> u64 {
    60
}

/// One folder on one machine.
pub(crate) struct BootTest {
    folder: PathBuf,
    name: String,
    machine: String,
    /// With `protection = "domains"`.
    domains: bool,
    spec: std::sync::Arc<Spec>,
}

/// A manifest that exists as long as this.
struct Manifest {
    path: PathBuf,
    made: bool,
}

impl Drop for Manifest {
    fn drop(&mut self) {
        if self.made {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What the hypervisor says of a VM that gets tables although it was to have domains.
const TWO_TABLES: &str = "is protected by two tables, not by domains";

/// Finds all tests, or those of the named folders.
///
/// # Errors
///
/// A malformed `test.toml`, or a name that is no folder.
pub(crate) fn find(workspace: &Workspace, names: &[String]) -> Result<Vec<BootTest>> {
    let directory = workspace.path("tests/boot");
    let mut folders = Vec::new();
    if names.is_empty() && directory.exists() {
        for entry in fs::read_dir(&directory)? {
            folders.push(entry?.path());
        }
    }
    folders.extend(names.iter().map(|name| directory.join(name)));
    folders.retain(|folder| !names.is_empty() || folder.join("test.toml").exists());
    folders.sort();
    let mut tests = Vec::new();
    for folder in folders {
        let path = folder.join("test.toml");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("no such test: cannot read {}", path.display()))?;
        let spec: Spec = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        let spec = std::sync::Arc::new(spec);
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let tables = spec.machines.iter().map(|machine| (machine, false));
        let domains = spec.domains.iter().map(|machine| (machine, true));
        for (machine, domains) in tables.chain(domains) {
            tests.push(BootTest {
                folder: folder.clone(),
                name: name.clone(),
                machine: machine.clone(),
                domains,
                spec: spec.clone(),
            });
        }
    }
    Ok(tests)
}

impl BootTest {
    /// What it is called in reports.
    pub(crate) fn title(&self) -> String {
        let how = if self.domains { ", domains" } else { "" };
        format!("boot {} on {}{how}", self.name, self.machine)
    }

    /// Runs it and compares.
    ///
    /// # Errors
    ///
    /// What is not as expected, with the end of the output.
    pub(crate) fn check(&self, workspace: &Workspace) -> Result<()> {
        let (text, ended) = self.run(workspace)?;
        let judge = || -> Result<()> {
            match ended.status {
                None if self.spec.endless => {}
                None => bail!("did not end within {} s", self.spec.seconds),
                Some(status) if self.spec.endless => {
                    bail!("ended with status {status} but should go on: {}", ended.errors)
                }
                Some(status) if status != self.spec.status => {
                    bail!("ended with status {status}, not {}: {}", self.spec.status, ended.errors)
                }
                Some(_) => {}
            }
            expect_in_order(&text, &self.spec.expect)?;
            for bound in &self.spec.bound {
                bound.check(&text)?;
            }
            for unwanted in &self.spec.never {
                ensure!(!text.contains(unwanted.as_str()), "printed {unwanted:?}");
            }
            if self.domains && !self.spec.mixes {
                ensure!(!text.contains(TWO_TABLES), "a VM does not stay with domains");
            }
            if let Some(native) = &self.spec.native {
                let limit = Duration::from_secs(self.spec.seconds);
                native.check(&self.folder, &self.machine, &text, limit)?;
            }
            if self.spec.twice {
                self.repeats(workspace)?;
            }
            if self.spec.numbers {
                check_numbers(&self.image(workspace))?;
            }
            if let Some(profile) = &self.spec.profile {
                let manifest = self.manifest()?;
                let counts = self.image(workspace).with_extension("counts");
                profile.check(workspace, &manifest.path, &self.machine, &counts)?;
            }
            if let Some(golden) = self.golden() {
                let told = |line: &&str| !self.domains || !line.contains(TWO_TABLES);
                let lines = text.lines().filter(told).map(|line| format!("{line}\n"));
                compare(&fs::read_to_string(&golden)?, &lines.collect::<String>())
                    .with_context(|| format!("not as in {}", golden.display()))?;
            }
            Ok(())
        };
        judge().with_context(|| format!("its output ends:\n{}", tail(&text)))
    }

    fn golden(&self) -> Option<PathBuf> {
        [format!("golden.{}.txt", self.machine), "golden.txt".to_owned()]
            .map(|name| self.folder.join(name))
            .into_iter()
            .find(|path| path.exists())
    }

    /// The manifest; for domains a copy beside it.
    fn manifest(&self) -> Result<Manifest> {
        let own = self.folder.join(&self.spec.system);
        if !self.domains {
            return Ok(Manifest { path: own, made: false });
        }
        let path = own.with_extension(format!("{}.domains.toml", self.machine));
        let text = fs::read_to_string(&own)?;
        fs::write(&path, text.replace("[[vm]]\n", "[[vm]]\nprotection = \"domains\"\n"))?;
        Ok(Manifest { path, made: true })
    }

    /// Runs it; returns the transcript and how it ended.
    fn run(&self, workspace: &Workspace) -> Result<(String, Ended)> {
        let manifest = self.manifest()?;
        build_image(workspace, &manifest.path, &self.machine, &self.image(workspace))?;
        let limit = Duration::from_secs(self.spec.seconds);
        // What a line says behind a text is expected, too.
        let enough = |serial: &[u8]| {
            self.spec.endless && expect_in_order(&lines(serial, false), &self.spec.expect).is_ok()
        };
        let mut machine = self.machine(workspace)?;
        if self.spec.profile.is_some() {
            let counts = profile::counted(&self.image(workspace).with_extension("counts"));
            machine = machine.with_plugin(&workspace.instrument(), &counts);
        }
        let ended = machine.run_until(limit, &self.spec.typed, enough)?;
        Ok((transcript(&ended.serial), ended))
    }

    /// Runs what [`run`](Self::run) built twice more, under the instrument.
    fn repeats(&self, workspace: &Workspace) -> Result<()> {
        let run = |turn: u32| -> Result<(Vec<u8>, String)> {
            let counts = self.image(workspace).with_extension(format!("{turn}.counts"));
            let limit = Duration::from_secs(self.spec.seconds);
            let machine = self.machine(workspace)?;
            let arguments = [format!("out={}", counts.display())];
            let ended = machine
                .with_plugin(&workspace.instrument(), &arguments)
                .run(limit, &self.spec.typed)?;
            let report = fs::read_to_string(&counts)
                .with_context(|| format!("no counts; QEMU said: {}", ended.errors))?;
            Ok((ended.serial, report))
        };
        let (first, second) = (run(1)?, run(2)?);
        ensure!(first.0 == second.0, "two runs did not print the same");
        ensure!(first.1.contains("end total"), "the run was not counted to its end");
        ensure!(first.1 == second.1, "one run took {}another {}", first.1, second.1);
        Ok(())
    }

    fn image(&self, workspace: &Workspace) -> PathBuf {
        let how = if self.domains { ".domains" } else { "" };
        workspace.target(&format!("boot/{}.{}{how}.elf", self.name, self.machine))
    }

    fn machine(&self, workspace: &Workspace) -> Result<Machine> {
        let image = self.image(workspace);
        let mut machine = Machine::described(&workspace.path("machines"), &self.machine, &image)?;
        if self.spec.numbers {
            machine = with_second_uart(machine, &image);
        }
        machine.with_cores_of(&self.folder.join(&self.spec.system))
    }
}

/// The machine with its second UART, which writes to a file beside the image.
pub(crate) fn with_second_uart(machine: Machine, image: &Path) -> Machine {
    let file = format!("file:{}", image.with_extension("uart").display());
    machine.with(&["-serial", &file])
}

/// Whether the lines that the second UART has sent begin with numbers, none left out.
///
/// # Errors
///
/// What is there instead.
pub(crate) fn check_numbers(image: &Path) -> Result<()> {
    let text = fs::read_to_string(image.with_extension("uart"))?;
    numbered(&text)
}

fn numbered(text: &str) -> Result<()> {
    let mut next = 0_u64;
    for (line, end) in
        text.split_inclusive('\n').map(|line| (line.trim_end(), line.ends_with('\n')))
    {
        // The host may have stopped the system in the middle of a line.
        if !end {
            break;
        }
        let number: u64 = line
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("the second UART sent {line:?}"))?;
        ensure!(
            number == next || number + 1 == next,
            "the second UART sent {number} where {next} was to come"
        );
        next = number + 1;
    }
    ensure!(next > 0, "the second UART sent nothing");
    Ok(())
}

/// Builds the bootable image of a system for a machine.
///
/// # Errors
///
/// What `entresol build` says.
pub(crate) fn build_image(
    workspace: &Workspace,
    manifest: &Path,
    machine: &str,
    image: &Path,
) -> Result<()> {
    if let Some(directory) = image.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut command = workspace.entresol();
    command.arg("build").arg(manifest).args(["--machine", machine, "--output"]).arg(image);
    process::run(&mut command)?;
    Ok(())
}

/// Runs the tests and accepts what they print.
///
/// # Errors
///
/// When a run does not end as it should.
pub(crate) fn bless(workspace: &Workspace, names: &[String]) -> Result<()> {
    let mut texts: BTreeMap<PathBuf, Vec<(String, String)>> = BTreeMap::new();
    for test in find(workspace, names)? {
        if !test.spec.typed.is_empty() || test.spec.endless || test.domains {
            continue;
        }
        let step = process::Step::new(&test.title());
        let (text, ended) = test.run(workspace)?;
        let right = ended.status == Some(test.spec.status);
        step.done(if right { "ok" } else { "FAILED" });
        ensure!(right, "{} ended with {:?}:\n{}", test.title(), ended.status, tail(&text));
        texts.entry(test.folder.clone()).or_default().push((test.machine.clone(), text));
    }
    for (folder, runs) in texts {
        let same = runs.windows(2).all(|pair| matches!(pair, [a, b] if a.1 == b.1));
        for (index, (machine, text)) in runs.iter().enumerate() {
            let own = folder.join(format!("golden.{machine}.txt"));
            let shared = folder.join("golden.txt");
            let (write, remove) = if same { (&shared, &own) } else { (&own, &shared) };
            if !same || index == 0 {
                fs::write(write, text)?;
            }
            if remove.exists() {
                fs::remove_file(remove)?;
            }
        }
    }
    Ok(())
}

/// Takes the consoles apart, line by line.
pub(crate) fn transcript(serial: &[u8]) -> String {
    lines(serial, true)
}

/// The same, with unfinished lines at the end or without.
fn lines(serial: &[u8], unfinished: bool) -> String {
    let mut demultiplexer = Demultiplexer::new();
    let mut lines: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    let mut text = String::new();
    let mut put = |channel: u8, line: &mut Vec<u8>| {
        let shown = String::from_utf8_lossy(line).replace('\r', "");
        text.push_str(format!("{channel}| {shown}").trim_end());
        text.push('\n');
        line.clear();
    };
    for byte in serial {
        let Some((Channel(channel), byte)) = demultiplexer.push(*byte) else { continue };
        if channel == 0
            && let Some(Order { vm, order }) = Order::of(byte)
        {
            let answer = if byte & Order::REFUSED == 0 { "done" } else { "refused" };
            put(0, &mut format!("order {order} to {vm}: {answer}").into_bytes());
            continue;
        }
        let line = lines.entry(channel).or_default();
        if byte == b'\n' {
            put(channel, line);
        } else {
            line.push(byte);
        }
    }
    for (channel, line) in &mut lines {
        if unfinished && !line.is_empty() {
            put(*channel, line);
        }
    }
    text
}

impl Bound {
    fn check(&self, text: &str) -> Result<()> {
        let Self { after, least, most, times, .. } = self;
        let numbers = self.numbers(text)?;
        if let Some(number) = numbers.iter().find(|number| !(least..=most).contains(number)) {
            bail!("printed {after:?} {number}, not {least} to {most}");
        }
        let found = numbers.len();
        ensure!(found >= *times, "printed {after:?} {found} times, not at least {times}");
        Ok(())
    }

    /// All numbers that follow its text.
    ///
    /// # Errors
    ///
    /// Where the text is followed by something else.
    pub(crate) fn numbers(&self, text: &str) -> Result<Vec<u64>> {
        let after = &self.after;
        let mut numbers = Vec::new();
        for (_, rest) in text.match_indices(after.as_str()).map(|(at, _)| text.split_at(at)) {
            let rest = rest.strip_prefix(after.as_str()).unwrap_or_default();
            let point = |letter: &char| self.decimals && *letter == '.';
            let number = rest.chars().take_while(|letter| letter.is_ascii_digit() || point(letter));
            let digits: String = number.filter(char::is_ascii_digit).collect();
            // The host may have stopped the system in the middle of a line.
            if digits.is_empty() && rest.trim_start_matches('\n').len() < rest.len() {
                continue;
            }
            numbers.push(digits.parse().with_context(|| format!("no number after {after:?}"))?);
        }
        Ok(numbers)
    }
}

fn expect_in_order(text: &str, expected: &[String]) -> Result<()> {
    let mut rest = text;
    for wanted in expected {
        let Some((_, behind)) = rest.split_once(wanted.as_str()) else {
            let earlier = text.contains(wanted.as_str());
            let how = if earlier { "only before what it should follow" } else { "never" };
            bail!("printed {wanted:?} {how}");
        };
        rest = behind;
    }
    Ok(())
}

fn compare(golden: &str, text: &str) -> Result<()> {
    if golden == text {
        return Ok(());
    }
    let same = golden.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
    let line = |text: &str| text.lines().nth(same).unwrap_or("(end)").to_owned();
    bail!("line {}:\n  golden  {}\n  printed {}", same + 1, line(golden), line(text))
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_names_the_console_of_each_line() {
        let serial = b"boot\n\x1e1hel\x1e2crash\r\n\x1e1lo\n\x1e0end";
        assert_eq!(transcript(serial), "0| boot\n2| crash\n1| hello\n0| end\n");
    }

    #[test]
    fn expected_texts_must_come_in_order() {
        let wanted = |texts: &[&str]| texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
        assert!(expect_in_order("a b c", &wanted(&["a", "c"])).is_ok());
        assert!(expect_in_order("a b c", &wanted(&["c", "a"])).is_err());
    }

    #[test]
    fn a_bound_holds_for_every_number_and_there_must_be_enough_of_them() {
        let after = "late=".to_owned();
        let bound =
            |most, times| Bound { after: after.clone(), least: 0, most, times, decimals: false };
        let text = "late=5 a\nlate=17 b\n";
        assert!(bound(17, 2).check(text).is_ok());
        assert!(bound(16, 2).check(text).is_err());
        assert!(bound(17, 3).check(text).is_err());
        assert!(bound(17, 0).check("late=x").is_err());
        assert!(Bound { least: 5, ..bound(17, 2) }.check(text).is_ok());
        assert!(Bound { least: 6, ..bound(17, 2) }.check(text).is_err());
        let decimals = Bound { decimals: true, ..bound(1704, 1) };
        assert!(decimals.check("late=17.04").is_ok() && decimals.check("late=17.05").is_err());
    }

    #[test]
    fn numbers_may_be_repeated_but_not_left_out() {
        assert!(numbered("0 a\n1 a\n1 b\n2 b\n99").is_ok());
        assert!(numbered("0 a\n2 b\n").is_err());
        assert!(numbered("0 a\n1 a\n0 b\n").is_err());
        assert!(numbered("0 a\n! a\n").is_err());
        assert!(numbered("").is_err());
    }

    #[test]
    fn a_difference_is_shown_by_its_line() {
        let error = compare("a\nb\n", "a\nc\n").unwrap_err().to_string();
        assert!(error.starts_with("line 2:"), "{error}");
    }
}
