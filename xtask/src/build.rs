//! Builds everything: hypervisor, guests, host tool, and what the bench needs.

use crate::linux;
use crate::process::{self, Step};
use crate::workspace::{TARGET, Workspace};
use anyhow::{Context, Result, ensure};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::Command;

/// Most bytes of hypervisor text in a release build: all that is read-only, constants too.
const TEXT_LIMIT: u64 = 96 * 1024;

/// The hypervisor's Rust code is T32, a quarter smaller; its assembly says of itself that it
/// is A32 (decision 0009). Guests are built so a second time, kernels whose every exception
/// is taken in T32. The compiler warns at each crate that the way to ask for T32 may
/// change; the checks compile without this and let no warning pass.
const T32: &str =
    r#"target.armv7a-none-eabi.rustflags=["-Ctarget-feature=+thumb-mode","-Awarnings"]"#;

/// Besides, of the hypervisor's equal functions one is kept, equal ends of one are joined from the
/// first instruction on, constants lie behind the code that loads them, and none is loaded before a
/// loop, for which it would need a register: a fiftieth smaller. Cargo joins the two lists.
const FOLD: &str = r#"target.armv7a-none-eabi.rustflags=["-Clink-arg=--icf=all",
    "-Cllvm-args=-disable-machine-licm -tail-merge-size=1 -arm-promote-constant"]"#;

/// What the hypervisor does for interrupts: there no sequence of instructions becomes a function of its
/// own, as it does elsewhere where it stands more than once (some 500 bytes less in all).
const HOT: [&str; 14] = [
    "10hypervisor10Hypervisor",
    "10interrupts",
    "7express",
    "4fast",
    "8consoles",
    "8platform",
    "3gic",
    "5board",
    "6timers",
    "5timer",
    "9scheduler",
    "5pl011",
    "7console",
    "4work",
];

/// Builds all of it.
///
/// # Errors
///
/// The compiler's.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    hypervisor(workspace)?;
    Step::new("build the command entresol").run(workspace.cargo().args([
        "build",
        "--package",
        "entresol-cli",
        "--release",
    ]))?;
    let guests = workspace.path("guests");
    if guests.join("Cargo.toml").exists() {
        // Its own directory, so that cargo finds the guests' own configuration.
        let mut command = workspace.cargo();
        command.args(["build", "--release", "--target", TARGET]).current_dir(guests);
        Step::new("build the guests").run(&mut command)?;
        let mut command = workspace.cargo();
        command.args(["build", "--release", "--target", TARGET, "--target-dir", "target/t32"]);
        command.args(["--package", "conformance", "--package", "realtime", "--config", T32]);
        Step::new("build guests as T32").run(command.current_dir(workspace.path("guests")))?;
    }
    guest_in_c(workspace)?;
    bench(workspace)
}

/// Builds `guests/c`, which tests the SDK's C header.
fn guest_in_c(workspace: &Workspace) -> Result<()> {
    let folder = workspace.path("guests/target/c");
    std::fs::create_dir_all(&folder)?;
    let object = folder.join("counter.o");
    let mut compile = Command::new("clang");
    compile.args(["--target=armv7a-none-eabi", "-mcpu=cortex-a9", "-marm", "-mfloat-abi=soft"]);
    compile.args(["-std=c11", "-O2", "-ffreestanding", "-Wall", "-Wextra", "-Werror", "-I"]);
    compile.arg(workspace.path("crates/guest/include")).arg("-c");
    compile.arg(workspace.path("guests/c/counter.c")).arg("-o").arg(&object);
    Step::new("build the guest in C").run(&mut compile)?;
    let mut link = Command::new("arm-none-eabi-ld");
    link.args(["-Ttext=0x40008000", "--entry=_start"]).arg(&object).arg("-o");
    process::run(link.arg(folder.join("counter")))?;
    Ok(())
}

/// Builds the hypervisor twice: first to know its functions, then without their frame pointers
/// (decision 0020).
fn hypervisor(workspace: &Workspace) -> Result<()> {
    let build = |what: &str, flags: &[&str]| {
        let mut command = workspace.cargo();
        command.args(["build", "--package", "entresol-kernel", "--target", TARGET, "--release"]);
        command.args(flags.iter().flat_map(|flags| ["--config", flags]));
        Step::new(what).run(&mut command)
    };
    build("build the hypervisor", &[T32, FOLD])?;
    let symbols = process::run(Command::new("arm-none-eabi-nm").arg(workspace.hypervisor()))?;
    let list: String = symbols
        .lines()
        .filter_map(|line| line.split_once(" t ").or_else(|| line.split_once(" T ")))
        .map(|(_, name)| {
            let hot = HOT.iter().any(|module| name.contains(module));
            let whole = if hot { format!("{name},nooutline=yes\n") } else { String::new() };
            format!("{name},frame-pointer=none\n{whole}")
        })
        .collect();
    // Cargo builds again when the name of the list changes.
    let mut hasher = DefaultHasher::new();
    list.hash(&mut hasher);
    let path = workspace.target(&format!("unframed-{:016x}.csv", hasher.finish()));
    std::fs::write(&path, list)?;
    let list = format!(
        "-Cllvm-args=-enable-machine-outliner=always -forceattrs-csv-path={}",
        path.display()
    );
    let unframed = format!("target.{TARGET}.rustflags=[{list:?}]");
    build("build it again, without frame pointers and repetitions", &[T32, FOLD, &unframed])?;
    Ok(())
}

/// Builds the instrument, the measured guests, Linux programs and the initramfs images.
///
/// # Errors
///
/// The compiler's.
pub(crate) fn bench(workspace: &Workspace) -> Result<()> {
    let mut instrument = workspace.cargo();
    instrument.args(["build", "--release", "--manifest-path", "bench/plugin/Cargo.toml"]);
    instrument.arg("--target-dir").arg(workspace.target("instrument"));
    Step::new("build the instrument").run(&mut instrument)?;
    for path in ["bench/ubench", "bench/micro", "tests/userland"] {
        let (_, name) = path.rsplit_once('/').unwrap_or_default();
        let mut command = workspace.cargo();
        // In its directory, as everywhere: cargo reads the configuration from there.
        command.args(["build", "--release", "--target", TARGET]);
        command.arg("--target-dir").arg(workspace.target(name));
        command.current_dir(workspace.path(path));
        Step::new(&format!("build {path}")).run(&mut command)?;
    }
    linux::write_initrds(workspace)?;
    rewrite(workspace)
}

/// Rewrites Debian's kernel and a guest ahead of time with the tool just built, for the tests of
/// that.
fn rewrite(workspace: &Workspace) -> Result<()> {
    let rewritten = workspace.target("rewritten");
    std::fs::create_dir_all(&rewritten)?;
    for image in [workspace.cache("linux/Image"), workspace.guest("attack")] {
        let name = image.file_name().unwrap_or_default();
        let mut command = workspace.entresol();
        command.arg("rewrite").arg(&image).arg("--output").arg(rewritten.join(name));
        Step::new(&format!("rewrite {} ahead of time", name.display())).run(&mut command)?;
    }
    Ok(())
}

/// Checks the size of the hypervisor's text.
///
/// # Errors
///
/// When it is over the limit, or cannot be read.
pub(crate) fn check_text(workspace: &Workspace) -> Result<()> {
    let mut size = Command::new("arm-none-eabi-size");
    let output = process::run(size.arg(workspace.hypervisor()))?;
    let text: u64 = output
        .lines()
        .nth(1)
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("arm-none-eabi-size printed {output}"))?;
    ensure!(text <= TEXT_LIMIT, "hypervisor text is {text} bytes, over {TEXT_LIMIT}");
    Ok(())
}
