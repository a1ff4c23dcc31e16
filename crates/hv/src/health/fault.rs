//! What a guest can do wrong, and the sentence that says so.
//!
//! Every sentence names what the guest did, at which address, and the rule it broke or
//! what its processor does about it. Not responsible for detecting anything, nor for
//! what follows.

use crate::sentence::Value::{self, Count, Hex, Text};
use crate::sentence::{Sink, say};
use entresol_abi::GuestPhys;
use entresol_abi::health::Event;

/// Which part of a guest did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Its kernel, at virtual PL1.
    Kernel,
    /// One of its applications, at virtual PL0.
    Application,
}

/// What it did to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loaded from it.
    Read,
    /// Stored to it.
    Wrote,
    /// Fetched an instruction from it.
    Executed,
}

/// Something of which a VM has a fixed number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Address-space views.
    Views,
    /// Second-level shadow tables.
    ShadowTables,
    /// Replaced instructions.
    Sites,
}

/// Why one table with domains cannot keep a guest's kernel from its applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mixed {
    /// It uses a domain for which there is none of the machine's.
    Domain,
    /// Kernel and application use the same megabyte in turn, and not alike.
    Megabyte,
}

/// What ended a VM's run. Addresses are the guest's; `pc` is the instruction that did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Touched the hypervisor's window while its own translation was off, so that no
    /// translation fault could be its own.
    Window {
        /// Which part of the guest.
        who: Who,
        /// What it did.
        access: Access,
        /// Where.
        address: u32,
        /// At which instruction.
        pc: u32,
    },
    /// Touched guest-physical memory where nothing is, and could not be told.
    Nothing {
        /// Which part of the guest.
        who: Who,
        /// What it did.
        access: Access,
        /// Where.
        address: GuestPhys,
        /// At which instruction.
        pc: u32,
    },
    /// Its exception vector raises the exception it is there to handle.
    ExceptionLoop {
        /// The vector.
        vector: u32,
        /// Where the first exception of the loop came from.
        pc: u32,
    },
    /// Took an exception, but its vector lies where it cannot execute anything.
    NoVector {
        /// The vector.
        vector: u32,
        /// Where the exception came from.
        pc: u32,
    },
    /// Wrote a status that names no mode of its processor.
    IllegalMode {
        /// The status.
        status: u32,
        /// At which instruction.
        pc: u32,
    },
    /// Waits for an interrupt, and none can come.
    Stuck {
        /// The waiting instruction.
        pc: u32,
    },
    /// Something befell it while it ran, or kept others waiting.
    Befallen {
        /// What.
        event: Event,
        /// Where it was when that was noticed.
        pc: u32,
    },
    /// Said that it cannot go on.
    Panic {
        /// Its own number for the reason.
        code: u32,
        /// Where.
        pc: u32,
    },
    /// Needs more than the manifest gives it, and recycling does not help.
    Exhausted {
        /// Of what.
        pool: Pool,
        /// How many it has.
        limit: u32,
        /// At which instruction.
        pc: u32,
    },
}

/// Something the guest is told by its own processor, worth a sentence nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Accessed a system register that its processor does not have.
    UnknownRegister {
        /// The instruction.
        instruction: u32,
        /// Where it is.
        pc: u32,
    },
    /// Touched guest-physical memory where nothing is.
    Nothing {
        /// Which part of the guest.
        who: Who,
        /// What it did.
        access: Access,
        /// Where.
        address: GuestPhys,
        /// At which instruction.
        pc: u32,
    },
    /// Touched the hypervisor's window.
    Window {
        /// Which part of the guest.
        who: Who,
        /// What it did.
        access: Access,
        /// Where.
        address: u32,
        /// At which instruction.
        pc: u32,
    },
    /// Its translation tables map memory that is not its own.
    ForeignMapping {
        /// The virtual address mapped.
        address: u32,
        /// Where to.
        to: GuestPhys,
        /// The instruction that used it.
        pc: u32,
    },
    /// Made a call that is not defined.
    UndefinedCall {
        /// The function's number.
        number: u32,
        /// At which instruction.
        pc: u32,
    },
    /// Filled a pool; the oldest entries are recycled and it runs on, slower.
    PoolFull {
        /// Which.
        pool: Pool,
        /// How many it has.
        limit: u32,
    },
    /// Was to be protected by domains, and gets two tables.
    TwoTables {
        /// Why.
        why: Mixed,
    },
}

impl Mixed {
    const fn text(self) -> Value<'static> {
        Text(match self {
            Self::Domain => "it uses a domain above 6",
            Self::Megabyte => "kernel and applications use the same megabytes, and not alike",
        })
    }
}

impl Who {
    const fn text(self) -> Value<'static> {
        Text(match self {
            Self::Kernel => "guest kernel",
            Self::Application => "guest application",
        })
    }
}

impl Access {
    const fn text(self) -> Value<'static> {
        Text(match self {
            Self::Read => "read",
            Self::Wrote => "wrote",
            Self::Executed => "executed",
        })
    }
}

impl Pool {
    #[inline(never)]
    const fn text(self) -> Value<'static> {
        Text(match self {
            Self::Views => "address-space views",
            Self::ShadowTables => "shadow tables",
            Self::Sites => "replaced instructions",
        })
    }
}

/// Says `text` of what part of a guest did to memory; each sentence's own code is a call.
#[inline(never)]
fn touched(out: &mut dyn Sink, text: &str, who: Who, access: Access, address: u32, pc: u32) {
    say(out, text, &[who.text(), access.text(), Hex(address), Hex(pc)]);
}

/// Says `text` with two words.
#[inline(never)]
fn words(out: &mut dyn Sink, text: &str, first: u32, second: u32) {
    say(out, text, &[Hex(first), Hex(second)]);
}

/// What befell a guest while it was somewhere, and the rule.
const fn what_befell(event: Event) -> &'static str {
    match event {
        Event::Watchdog => "its watchdog bit: who starts a watchdog must answer it in time",
        Event::Heartbeat => "its heartbeat was due: it must come in time",
        Event::Deadline => "its deadline was over: who promises must keep it",
        _ => "its budget was used up: it must do with what it has",
    }
}

impl Fault {
    /// Says it.
    pub fn say(&self, out: &mut dyn Sink) {
        match *self {
            Self::Window { who, access, address, pc } => touched(
                out,
                "% % % at pc %, which is the hypervisor's window: no guest may touch it",
                who,
                access,
                address,
                pc,
            ),
            Self::Nothing { who, access, address, pc } => touched(
                out,
                "% % guest-physical % at pc %, where it has neither memory nor a device: a \
                 guest may touch only what its manifest gives it",
                who,
                access,
                address.0,
                pc,
            ),
            Self::ExceptionLoop { vector, pc } => words(
                out,
                "guest kernel took an exception at pc % and its vector at % raises exceptions \
                 without end: a vector must be able to run",
                pc,
                vector,
            ),
            Self::NoVector { vector, pc } => words(
                out,
                "guest kernel took an exception at pc % but cannot execute its vector at %: a \
                 vector must lie in the guest's memory",
                pc,
                vector,
            ),
            Self::IllegalMode { status, pc } => words(
                out,
                "guest kernel set its status to % at pc %, which names no mode of its \
                 processor: a status must name a mode",
                status,
                pc,
            ),
            Self::Stuck { pc } => say(
                out,
                "guest kernel waits at pc % for an interrupt, but none is enabled that could \
                 come: who waits must have armed what wakes it",
                &[Hex(pc)],
            ),
            Self::Befallen { event, pc } => {
                say(out, "guest was at pc % when %", &[Hex(pc), Text(what_befell(event))])
            }
            Self::Panic { code, pc } => {
                words(out, "guest kernel gave up at pc %: its code is %", pc, code);
            }
            Self::Exhausted { pool, limit, pc } => say(
                out,
                "guest needs more than its % % at pc %: a guest may use only what its manifest \
                 gives it",
                &[Count(limit), pool.text(), Hex(pc)],
            ),
        }
    }
}

impl Notice {
    /// Says it.
    pub fn say(&self, out: &mut dyn Sink) {
        match *self {
            Self::UnknownRegister { instruction, pc } => words(
                out,
                "guest kernel executed % at pc %, which accesses a system register its \
                 processor does not have: it is told so",
                instruction,
                pc,
            ),
            Self::Nothing { who, access, address, pc } => touched(
                out,
                "% % guest-physical % at pc %, where it has neither memory nor a device: it \
                 takes an abort",
                who,
                access,
                address.0,
                pc,
            ),
            Self::Window { who, access, address, pc } => touched(
                out,
                "% % % at pc %, which is the hypervisor's window: it takes an abort",
                who,
                access,
                address,
                pc,
            ),
            Self::ForeignMapping { address, to, pc } => say(
                out,
                "guest kernel maps % to guest-physical %, which is not its own, and used it at \
                 pc %: it takes an abort",
                &[Hex(address), Hex(to.0), Hex(pc)],
            ),
            Self::UndefinedCall { number, pc } => words(
                out,
                "guest kernel made call % at pc %, which is not defined: it is told so",
                number,
                pc,
            ),
            Self::PoolFull { pool, limit } => say(
                out,
                "guest uses all of its % %: the oldest are recycled, which costs time",
                &[Count(limit), pool.text()],
            ),
            Self::TwoTables { why } => {
                say(out, "guest is protected by two tables, not by domains: %", &[why.text()])
            }
        }
    }
}
