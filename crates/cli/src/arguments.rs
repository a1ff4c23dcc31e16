//! What can be said to `entresol`, and the help for it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Puts several operating systems on one Arm chip, each in a virtual machine.
///
/// A system is described by a manifest. `new` writes one to start from, `check`
/// judges it, `build` makes a bootable image of it, `run` starts it in QEMU.
#[derive(Debug, Parser)]
#[command(
    name = "entresol",
    version,
    after_help = "Exit status: 0 done; 1 the manifest, a guest or the run has a problem; \
                  2 wrong arguments."
)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a manifest to start from
    New(New),
    /// Check a manifest; print memory, interrupts and timing
    Check(Check),
    /// Build one bootable image (ELF, and raw on demand)
    Build(Build),
    /// Build and run in QEMU, all consoles on this terminal
    #[command(after_help = KEYS)]
    Run(Run),
    /// Show the consoles of a board that runs, on this terminal
    ///
    /// All VMs share the board's serial line. This takes it apart, as `run` does for QEMU.
    #[command(after_help = KEYS_OF_A_BOARD)]
    Attach(Attach),
    /// Order a VM of a board that runs to stop, start, restart, pause or resume
    ///
    /// The order goes by the board's serial line, and so does the answer. What VMs say
    /// meanwhile is not shown.
    #[command(after_help = ORDERED)]
    Order(Order),
    /// Run in QEMU and say which instructions of the guests trap, why, and what it costs
    ///
    /// What runs is what `run` would start, watched from outside by a plugin of QEMU: the
    /// guests execute the same instructions. Costs are counted in instructions. The run ends
    /// when every VM is off, or by --until; what the VMs say is not shown.
    #[command(after_help = SYMBOLS)]
    Profile(Profile),
    /// Report a guest binary's sensitive instructions and what becomes of them
    ///
    /// A privileged instruction traps when a guest kernel runs it in user mode. Others
    /// would do something else there without a trap: they are replaced, before they
    /// run, by words that trap. What only control flow can tell from data is decided
    /// when the guest runs, and reported here as left.
    Inspect(Inspect),
    /// Replace a kernel's sensitive instructions before it runs, and report on them
    ///
    /// What `run` replaces page by page, when a page is first executed, is replaced in the
    /// file. Code is found by mapping symbols if the binary has them, else by control flow
    /// from its entry and its functions. With `scan = "off"` for the VM, pages in which
    /// everything is decided are not looked at again. The result runs under Entresol only.
    Rewrite(Rewrite),
}

const KEYS: &str = "\
On a terminal, what you type goes to one VM; Ctrl-A and a key is a command:
  1 to 9 selects a VM, n the next, 0 the hypervisor, a sends Ctrl-A itself,
  s stops the VM, b starts it, r restarts, p pauses, c lets it go on, if the
  manifest's `console-controls` names it, ? shows help, x ends the machine.
From a pipe, all input goes to the VM selected by --to.

Exit status: 0 if every VM ended well or you ended the machine; 1 otherwise.";

const KEYS_OF_A_BOARD: &str = "\
On a terminal, what you type goes to one VM; Ctrl-A and a key is a command:
  1 to 9 selects a VM, n the next, 0 the hypervisor, a sends Ctrl-A itself,
  s stops the VM, b starts it, r restarts, p pauses, c lets it go on, if the
  manifest's `console-controls` names it, ? shows help, x leaves.
From a pipe, all input goes to the VM selected by --to.

Exit status: 0 if you left or --until was said; 1 otherwise.";

const ORDERED: &str = "\
Exit status: 0 if the hypervisor carried it out; 1 if it refused or did not answer.";

const SYMBOLS: &str = "\
Functions are named by each VM's image, if it is an ELF file with symbols or a raw
Linux kernel that carries its own; --symbols names another file for that.

Exit status: 0 if there is a profile; 1 otherwise.";

/// The system to work on.
#[derive(Debug, Args)]
pub(crate) struct System {
    /// The manifest
    #[arg(value_name = "SYSTEM.toml")]
    pub(crate) manifest: PathBuf,
    /// Use this machine in place of the manifest's: a name, or a description's path
    #[arg(long, value_name = "MACHINE")]
    pub(crate) machine: Option<String>,
    /// The hypervisor's ELF file [default: found beside `entresol` or in its workspace]
    ///
    /// Without this option: the file named by the environment variable
    /// ENTRESOL_HYPERVISOR, else `entresol-kernel` beside the running program, else
    /// the one `cargo xtask build` made in the workspace.
    #[arg(long, value_name = "PATH")]
    pub(crate) hypervisor: Option<PathBuf>,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) system: System,
    /// Draw here who runs when if every VM is busy, as SVG
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) schedule: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `build`.
#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) system: System,
    /// Write the bootable ELF file here [default: the manifest's name with .elf]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Also write the raw binary here, to be copied to the machine's load address
    #[arg(long, value_name = "FILE")]
    pub(crate) raw: Option<PathBuf>,
}

/// Arguments of `new`.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The file to write; it must not exist
    #[arg(value_name = "SYSTEM.toml")]
    pub(crate) manifest: PathBuf,
    /// The machine
    #[arg(long, value_name = "MACHINE", default_value = "vexpress-a9")]
    pub(crate) machine: String,
    /// The first VM's binary
    #[arg(long, value_name = "FILE", default_value = "guest.elf")]
    pub(crate) image: String,
}

/// The serial line of a board.
#[derive(Debug, Args)]
pub(crate) struct Line {
    /// The board's serial line: a terminal device, a socket's path, or HOST:PORT
    #[arg(value_name = "LINE")]
    pub(crate) name: String,
    /// Bits per second of a terminal device
    #[arg(long, value_name = "SPEED", default_value = "115200")]
    pub(crate) speed: u32,
}

/// Arguments of `attach`.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    #[command(flatten)]
    pub(crate) line: Line,
    /// The manifest, for the names of the VMs
    #[arg(value_name = "SYSTEM.toml")]
    pub(crate) manifest: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) talk: Talk,
}

/// Arguments of `order`.
#[derive(Debug, Args)]
pub(crate) struct Order {
    #[command(flatten)]
    pub(crate) line: Line,
    /// The manifest
    #[arg(value_name = "SYSTEM.toml")]
    pub(crate) manifest: PathBuf,
    /// The VM's name
    #[arg(value_name = "VM")]
    pub(crate) vm: String,
    /// What it is to do
    #[arg(value_name = "ORDER", value_enum)]
    pub(crate) order: What,
    /// Wait so many seconds for the answer
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    pub(crate) timeout: u64,
}

/// What a VM can be ordered.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum What {
    /// Start from its image, if it is off
    Start,
    /// End its run
    Stop,
    /// End its run if there is one, and start
    Restart,
    /// Do not run until another order comes
    Pause,
    /// Go on
    Resume,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) system: System,
    #[command(flatten)]
    pub(crate) talk: Talk,
    /// Pass a further argument to QEMU; may be repeated
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) qemu: Vec<String>,
}

/// How to talk with the VMs.
#[derive(Debug, Args)]
pub(crate) struct Talk {
    /// The VM that gets the keyboard first [default: the first]
    #[arg(long, value_name = "VM")]
    pub(crate) to: Option<String>,
    /// Hold input back until that VM has said this
    #[arg(long, value_name = "TEXT")]
    pub(crate) input_after: Option<String>,
    /// End, with exit status 0, when that VM has said this
    #[arg(long, value_name = "TEXT")]
    pub(crate) until: Option<String>,
    /// End after this many seconds, with exit status 1
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Also write the consoles here, line by line
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
}

/// Arguments of `profile`.
#[derive(Debug, Args)]
pub(crate) struct Profile {
    #[command(flatten)]
    pub(crate) system: System,
    /// End the machine when the VM of --to has said this
    #[arg(long, value_name = "TEXT")]
    pub(crate) until: Option<String>,
    /// The VM that --until listens to [default: the first]
    #[arg(long, value_name = "VM")]
    pub(crate) to: Option<String>,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "300")]
    pub(crate) timeout: u64,
    /// Names of a VM's functions: an ELF file, a System.map, a copy of /proc/kallsyms
    ///
    /// Without a VM's name the file is the first VM's. May be repeated.
    #[arg(long, value_name = "[VM=]FILE")]
    pub(crate) symbols: Vec<String>,
    /// Show this many sites of each VM; JSON has all
    #[arg(long, value_name = "NUMBER", default_value = "10")]
    pub(crate) top: usize,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// Also draw the profile here
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Write what the VMs said here
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// The plugin [default: found beside `entresol` or in its workspace]
    ///
    /// Without this option: the file named by the environment variable
    /// ENTRESOL_INSTRUMENT, else `libinstrument.so` beside the running program, else the
    /// one `cargo xtask build` made in the workspace.
    #[arg(long, value_name = "PATH")]
    pub(crate) instrument: Option<PathBuf>,
    /// Pass a further argument to QEMU; may be repeated
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) qemu: Vec<String>,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The guest's binary
    #[arg(value_name = "FILE")]
    pub(crate) image: PathBuf,
    /// Take it for this format in place of the one detected
    #[arg(long, value_name = "FORMAT", value_parser = ["elf", "zImage", "Image", "raw"])]
    pub(crate) format: Option<String>,
    /// Where a raw binary is loaded; an odd address means T32
    #[arg(long, value_name = "ADDRESS", default_value = "0x40008000", value_parser = address)]
    pub(crate) load: u32,
    /// List all addresses, not only the first of each kind
    #[arg(long)]
    pub(crate) all: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `rewrite`.
#[derive(Debug, Args)]
pub(crate) struct Rewrite {
    /// The kernel: an ELF file, an uncompressed Linux Image, or a raw binary
    #[arg(value_name = "KERNEL")]
    pub(crate) image: PathBuf,
    /// Write the result here
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Take it for this format in place of the one detected
    #[arg(long, value_name = "FORMAT", value_parser = ["elf", "zImage", "Image", "raw"])]
    pub(crate) format: Option<String>,
    /// Where a raw binary is loaded; an odd address means T32
    #[arg(long, value_name = "ADDRESS", default_value = "0x40008000", value_parser = address)]
    pub(crate) load: u32,
    /// Where the first byte of a kernel that is no ELF file runs [default: by its functions]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) linked: Option<u32>,
    /// Names of functions: an ELF file, a System.map, a copy of /proc/kallsyms
    ///
    /// Without this option: those that the kernel itself has.
    #[arg(long, value_name = "FILE")]
    pub(crate) symbols: Option<PathBuf>,
    /// List all addresses, not only the first of each kind
    #[arg(long)]
    pub(crate) all: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// An address, decimal or with 0x.
fn address(text: &str) -> Result<u32, String> {
    let digits = text.replace('_', "");
    match digits.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => digits.parse(),
    }
    .map_err(|error| error.to_string())
}
