//! How a VM's run ends, said in one sentence, and what is done then.
//!
//! Most mistakes of a guest are the guest's own: its processor takes the exception a
//! real one would take, and at most a [`Notice`] is given. A [`Fault`] is what a guest
//! cannot be told about, because there is nothing left that could run, or that no real
//! machine has an exception for. It ends the run; the manifest's policy decides what
//! follows. The other VMs are not concerned in either case.
//!
//! Every sentence names the VM, what it did, at which address, and the rule it broke.
//! Not responsible for where the sentence goes.

use core::fmt;
use entresol_abi::GuestPhys;
use entresol_abi::image::OnFault;

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
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "guest kernel",
            Self::Application => "guest application",
        })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Wrote => "wrote",
            Self::Executed => "executed",
        })
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Views => "address-space views",
            Self::ShadowTables => "shadow tables",
            Self::Sites => "replaced instructions",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window { who, access, address, pc } => write!(
                f,
                "{who} {access} {address:#010x} at pc {pc:#010x}, which is the hypervisor's \
                 window: no guest may touch it"
            ),
            Self::Nothing { who, access, address, pc } => write!(
                f,
                "{who} {access} guest-physical {:#010x} at pc {pc:#010x}, where it has neither \
                 memory nor a device: a guest may touch only what its manifest gives it",
                address.0
            ),
            Self::ExceptionLoop { vector, pc } => write!(
                f,
                "guest kernel took an exception at pc {pc:#010x} and its vector at \
                 {vector:#010x} raises exceptions without end: a vector must be able to run"
            ),
            Self::NoVector { vector, pc } => write!(
                f,
                "guest kernel took an exception at pc {pc:#010x} but cannot execute its vector \
                 at {vector:#010x}: a vector must lie in the guest's memory"
            ),
            Self::IllegalMode { status, pc } => write!(
                f,
                "guest kernel set its status to {status:#010x} at pc {pc:#010x}, which names no \
                 mode of its processor: a status must name a mode"
            ),
            Self::Stuck { pc } => write!(
                f,
                "guest kernel waits at pc {pc:#010x} for an interrupt, but none is enabled that \
                 could come: who waits must have armed what wakes it"
            ),
            Self::Exhausted { pool, limit, pc } => write!(
                f,
                "guest needs more than its {limit} {pool} at pc {pc:#010x}: a guest may use only \
                 what its manifest gives it"
            ),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownRegister { instruction, pc } => write!(
                f,
                "guest kernel executed {instruction:#010x} at pc {pc:#010x}, which accesses a \
                 system register its processor does not have: it is told so"
            ),
            Self::Nothing { who, access, address, pc } => write!(
                f,
                "{who} {access} guest-physical {:#010x} at pc {pc:#010x}, where it has neither \
                 memory nor a device: it takes an abort",
                address.0
            ),
            Self::Window { who, access, address, pc } => write!(
                f,
                "{who} {access} {address:#010x} at pc {pc:#010x}, which is the hypervisor's \
                 window: it takes an abort"
            ),
            Self::ForeignMapping { address, to, pc } => write!(
                f,
                "guest kernel maps {address:#010x} to guest-physical {:#010x}, which is not its \
                 own, and used it at pc {pc:#010x}: it takes an abort",
                to.0
            ),
            Self::UndefinedCall { number, pc } => write!(
                f,
                "guest kernel made call {number:#010x} at pc {pc:#010x}, which is not defined: \
                 it is told so"
            ),
            Self::PoolFull { pool, limit } => write!(
                f,
                "guest uses all of its {limit} {pool}: the oldest are recycled, which costs time"
            ),
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest turned its machine off.
    Off,
    /// The guest asked for a reset.
    Reset,
    /// The guest exited with this status; 0 is well.
    Exit(u32),
    /// The guest did what it must not.
    Fault(Fault),
}

/// What is done with the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It stays stopped.
    Stop {
        /// Whether it ended well.
        well: bool,
    },
    /// It starts again from its image.
    Restart,
    /// The whole machine is reset.
    ResetMachine,
}

/// One VM's policy, and what has become of it.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    on_fault: OnFault,
    /// Restarts allowed, 0 for no limit.
    limit: u32,
    restarts: u32,
}

impl Health {
    /// The policy of a VM that has not faulted yet. `limit` restarts are allowed, any
    /// number if it is 0.
    #[must_use]
    pub const fn new(on_fault: OnFault, limit: u32) -> Self {
        Self { on_fault, limit, restarts: 0 }
    }

    /// The policy with this number in [`entresol_abi::image::Vm::on_fault`]; a number
    /// without a meaning stops the VM.
    #[must_use]
    pub const fn from_image(on_fault: u32, limit: u32) -> Self {
        let on_fault = match on_fault {
            1 => OnFault::Restart,
            2 => OnFault::ResetMachine,
            _ => OnFault::Stop,
        };
        Self::new(on_fault, limit)
    }

    /// Decides what follows the end of a run, and counts it.
    pub fn decide(&mut self, end: End) -> Action {
        match (end, self.on_fault) {
            (End::Off, _) => Action::Stop { well: true },
            (End::Exit(status), _) => Action::Stop { well: status == 0 },
            (End::Reset, _) => Action::Restart,
            (End::Fault(_), OnFault::Stop) => Action::Stop { well: false },
            (End::Fault(_), OnFault::ResetMachine) => Action::ResetMachine,
            (End::Fault(_), OnFault::Restart) => {
                if self.limit != 0 && self.restarts >= self.limit {
                    return Action::Stop { well: false };
                }
                self.restarts = self.restarts.saturating_add(1);
                Action::Restart
            }
        }
    }

    /// Restarts after faults so far.
    #[must_use]
    pub const fn restarts(&self) -> u32 {
        self.restarts
    }
}

/// The sentence that explains the end of a run, for [`fmt::Display`].
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The VM's name.
    pub vm: &'a str,
    /// How its run ended.
    pub end: End,
    /// What is done.
    pub action: Action,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vm \"{}\" ", self.vm)?;
        f.write_str(match self.action {
            Action::Stop { .. } => "stopped",
            Action::Restart => "restarted",
            Action::ResetMachine => "resets the machine",
        })?;
        match self.end {
            End::Off => write!(f, ": it turned itself off"),
            End::Reset => write!(f, ": it asked for a reset"),
            End::Exit(0) => write!(f, ": it ended well"),
            End::Exit(status) => write!(f, ": it exited with status {status}, and 0 is well"),
            End::Fault(fault) => write!(f, ": {fault}"),
        }
    }
}

/// Keeps a VM from filling the console with notices: one of a kind per second.
#[derive(Clone, Debug)]
pub struct Notices {
    next: [u64; KINDS],
    suppressed: u32,
}

const KINDS: usize = 6;

impl Notices {
    /// Nothing said yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: [0; KINDS], suppressed: 0 }
    }

    /// Whether to give a notice; then also how many were not given since the last.
    pub fn admit(&mut self, notice: &Notice, now: u64, hz: u32) -> Option<u32> {
        let [register, nothing, window, foreign, call, pool] = &mut self.next;
        let next = match notice {
            Notice::UnknownRegister { .. } => register,
            Notice::Nothing { .. } => nothing,
            Notice::Window { .. } => window,
            Notice::ForeignMapping { .. } => foreign,
            Notice::UndefinedCall { .. } => call,
            Notice::PoolFull { .. } => pool,
        };
        if now < *next {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        *next = now.saturating_add(u64::from(hz));
        Some(core::mem::take(&mut self.suppressed))
    }
}

impl Default for Notices {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Fault = Fault::Window {
        who: Who::Kernel,
        access: Access::Wrote,
        address: 0xfff0_0000,
        pc: 0x4000_8010,
    };

    #[test]
    fn a_report_says_who_did_what_where_and_which_rule_it_broke() {
        let report =
            Report { vm: "crash", end: End::Fault(WINDOW), action: Action::Stop { well: false } };
        assert_eq!(
            report.to_string(),
            "vm \"crash\" stopped: guest kernel wrote 0xfff00000 at pc 0x40008010, which is the \
             hypervisor's window: no guest may touch it"
        );
    }

    #[test]
    fn every_fault_is_one_sentence_with_an_address_and_a_rule() {
        let pc = 0x4000_8010;
        let (who, access) = (Who::Application, Access::Executed);
        let faults = [
            WINDOW,
            Fault::Nothing { who, access, address: GuestPhys(0x1000), pc },
            Fault::ExceptionLoop { vector: 4, pc },
            Fault::NoVector { vector: 0xffff_0004, pc },
            Fault::IllegalMode { status: 0, pc },
            Fault::Stuck { pc },
            Fault::Exhausted { pool: Pool::Sites, limit: 3, pc },
        ];
        for sentence in faults.map(|fault| fault.to_string()) {
            assert!(sentence.contains("at pc 0x40008010"), "{sentence}");
            assert!(sentence.contains(": "), "{sentence}");
            assert!(!sentence.contains('.') && !sentence.contains('\n'), "{sentence}");
        }
    }

    #[test]
    fn restarts_are_limited() {
        let mut health = Health::from_image(1, 2);
        assert_eq!(health.decide(End::Fault(WINDOW)), Action::Restart);
        assert_eq!(health.decide(End::Fault(WINDOW)), Action::Restart);
        assert_eq!(health.decide(End::Fault(WINDOW)), Action::Stop { well: false });
        assert_eq!(health.restarts(), 2);
    }

    #[test]
    fn no_limit_is_no_limit_and_a_reset_by_the_guest_does_not_count() {
        let mut health = Health::new(OnFault::Restart, 0);
        for _ in 0..100 {
            assert_eq!(health.decide(End::Fault(WINDOW)), Action::Restart);
        }
        let mut health = Health::new(OnFault::Stop, 1);
        assert_eq!(health.decide(End::Reset), Action::Restart);
        assert_eq!(health.restarts(), 0);
    }

    #[test]
    fn only_a_zero_status_ends_well() {
        let mut health = Health::new(OnFault::Restart, 0);
        assert_eq!(health.decide(End::Exit(0)), Action::Stop { well: true });
        assert_eq!(health.decide(End::Exit(1)), Action::Stop { well: false });
        assert_eq!(health.decide(End::Off), Action::Stop { well: true });
    }

    #[test]
    fn a_policy_number_without_meaning_stops() {
        assert_eq!(
            Health::from_image(77, 0).decide(End::Fault(WINDOW)),
            Action::Stop { well: false }
        );
    }

    #[test]
    fn notices_of_a_kind_come_once_per_second_and_the_rest_are_counted() {
        let mut notices = Notices::new();
        let call = Notice::UndefinedCall { number: 1, pc: 0 };
        let full = Notice::PoolFull { pool: Pool::Views, limit: 4 };
        assert_eq!(notices.admit(&call, 10, 100), Some(0));
        assert_eq!(notices.admit(&call, 11, 100), None);
        assert_eq!(notices.admit(&call, 109, 100), None);
        assert_eq!(notices.admit(&full, 109, 100), Some(2));
        assert_eq!(notices.admit(&call, 110, 100), Some(0));
    }
}
