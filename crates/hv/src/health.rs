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

mod fault;

use crate::sentence::Value::{Count, Text};
use crate::sentence::{Sink, say};
use entresol_abi::health::{EVENTS, Event, Policy, RECORD_COUNT, RECORD_POLICY};
use entresol_abi::image::Vm;

pub use fault::{Access, Fault, Mixed, Notice, Pool, Who};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest turned its machine off.
    Off,
    /// The guest asked for a reset.
    Reset,
    /// The guest exited with this status; 0 is well.
    Exit(u32),
    /// Another VM ended it.
    Ordered {
        /// Whether it starts again.
        restart: bool,
    },
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
    /// So it does, and its partner takes over.
    FailOver,
    /// The whole machine is reset.
    ResetMachine,
    /// It goes on.
    GoOn {
        /// Whether that is told on the console.
        told: bool,
    },
}

/// One VM's policy, and what has become of it.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    policies: [u8; EVENTS],
    /// Restarts allowed, 0 for no limit.
    limit: u32,
    /// In how many milliseconds, 0 for ever.
    within: u32,
    /// Restarts that count, and when the first of them was.
    restarts: u32,
    first: u64,
    /// When it may be told again that it goes on.
    quiet: u64,
    /// What befell it last, as [`record`](Health::record) returns it.
    record: u32,
}

impl Health {
    /// The policy of a VM that nothing befell yet: `limit` restarts are allowed, any number if it
    /// is 0, in each `within` milliseconds from the first of them, or ever if that is 0.
    #[must_use]
    pub const fn new(policies: [u8; EVENTS], limit: u32, within: u32) -> Self {
        Self { policies, limit, within, restarts: 0, first: 0, quiet: 0, record: 0 }
    }

    /// The policy of an image.
    #[must_use]
    pub const fn from_image(vm: &Vm) -> Self {
        Self::new(vm.policies, vm.restarts, vm.restarts_within)
    }

    #[expect(clippy::as_conversions, clippy::indexing_slicing, reason = "a policy for each event")]
    const fn number(&self, event: Event) -> u8 {
        self.policies[event as usize]
    }

    /// What follows an event.
    #[must_use]
    pub const fn policy(&self, event: Event) -> Policy {
        Policy::decode(self.number(event))
    }

    /// Notes that something befell it. Returns the record: what, the policy, how many there were.
    #[expect(clippy::as_conversions, reason = "an enum's number")]
    pub fn record(&mut self, event: Event) -> u32 {
        let policy = u32::from(self.number(event)) << RECORD_POLICY.trailing_zeros();
        let count = self.record & !(RECORD_COUNT - 1);
        self.record = count.wrapping_add(RECORD_COUNT) | policy | event as u32;
        self.record
    }

    /// Decides what follows the end of a run at `now`, and counts it. The counter has `hz`
    /// ticks per second.
    #[inline(never)]
    pub fn decide(&mut self, end: End, now: u64, hz: u32) -> Action {
        let event = match end {
            End::Exit(status) => return Action::Stop { well: status == 0 },
            End::Ordered { restart: false } => return Action::Stop { well: true },
            End::Ordered { restart: true } => return Action::Restart,
            _ => end.event().unwrap_or(Event::Fault),
        };
        match self.policy(event) {
            Policy::Stop => Action::Stop { well: event == Event::Off },
            Policy::ResetMachine => Action::ResetMachine,
            // It may do so as often as it likes.
            Policy::Restart if event == Event::Reset => Action::Restart,
            policy @ (Policy::Restart | Policy::FailOver) => {
                let elapsed = now.saturating_sub(self.first).saturating_mul(1000);
                if self.within != 0 && elapsed > u64::from(self.within) * u64::from(hz) {
                    self.restarts = 0;
                }
                if self.limit != 0 && self.restarts >= self.limit {
                    return Action::Stop { well: false };
                }
                if self.restarts == 0 {
                    self.first = now;
                }
                self.restarts = self.restarts.saturating_add(1);
                if policy == Policy::Restart { Action::Restart } else { Action::FailOver }
            }
            policy => {
                let told = policy == Policy::Log && now >= self.quiet;
                if told {
                    self.quiet = now.saturating_add(u64::from(hz));
                }
                Action::GoOn { told }
            }
        }
    }

    /// Restarts that count so far.
    #[must_use]
    pub const fn restarts(&self) -> u32 {
        self.restarts
    }
}

impl End {
    /// What befell the VM, if it was not ended by intent.
    #[must_use]
    pub const fn event(self) -> Option<Event> {
        Some(match self {
            Self::Off => Event::Off,
            Self::Reset => Event::Reset,
            Self::Exit(_) | Self::Ordered { .. } => return None,
            Self::Fault(Fault::Befallen { event, .. }) => event,
            Self::Fault(Fault::Panic { .. }) => Event::Panic,
            Self::Fault(_) => Event::Fault,
        })
    }
}

/// The sentence that explains the end of a run.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The VM's name.
    pub vm: &'a str,
    /// How its run ended.
    pub end: End,
    /// What is done.
    pub action: Action,
}

impl Report<'_> {
    /// Says it.
    #[inline(never)]
    pub fn say(&self, out: &mut dyn Sink) {
        let action = match self.action {
            Action::Stop { .. } => "stopped",
            Action::Restart => "restarted",
            Action::FailOver => "fails over",
            Action::ResetMachine => "resets the machine",
            Action::GoOn { .. } => "goes on",
        };
        say(out, "vm \"%\" %: ", &[Text(self.vm), Text(action)]);
        match self.end {
            End::Off => say(out, "it turned itself off", &[]),
            End::Ordered { .. } => say(out, "it was ordered", &[]),
            End::Reset => say(out, "it asked for a reset", &[]),
            End::Exit(0) => say(out, "it ended well", &[]),
            End::Exit(status) => {
                say(out, "it exited with status %, and 0 is well", &[Count(status)]);
            }
            End::Fault(fault) => fault.say(out),
        }
    }
}

/// Keeps a VM from filling the console with notices: one of a kind per second.
#[derive(Clone, Debug)]
pub struct Notices {
    next: [u64; KINDS],
    suppressed: u32,
}

const KINDS: usize = 7;

impl Notices {
    /// Nothing said yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: [0; KINDS], suppressed: 0 }
    }

    /// Whether to give a notice; then also how many were not given since the last.
    pub fn admit(&mut self, notice: &Notice, now: u64, hz: u32) -> Option<u32> {
        let [register, nothing, window, foreign, call, pool, tables] = &mut self.next;
        let next = match notice {
            Notice::UnknownRegister { .. } => register,
            Notice::Nothing { .. } => nothing,
            Notice::Window { .. } => window,
            Notice::ForeignMapping { .. } => foreign,
            Notice::UndefinedCall { .. } => call,
            Notice::PoolFull { .. } => pool,
            Notice::TwoTables { .. } => tables,
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
#[expect(clippy::as_conversions, reason = "an enum's number")]
mod tests {
    use super::*;
    use entresol_abi::GuestPhys;

    const WINDOW: Fault = Fault::Window {
        who: Who::Kernel,
        access: Access::Wrote,
        address: 0xffb0_0000,
        pc: 0x4000_8010,
    };

    #[test]
    fn a_report_says_who_did_what_where_and_which_rule_it_broke() {
        let report =
            Report { vm: "crash", end: End::Fault(WINDOW), action: Action::Stop { well: false } };
        let mut said = String::new();
        report.say(&mut said);
        assert_eq!(
            said,
            "vm \"crash\" stopped: guest kernel wrote 0xffb00000 at pc 0x40008010, which is the \
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
            Fault::Befallen { event: Event::Watchdog, pc },
            Fault::Befallen { event: Event::Heartbeat, pc },
            Fault::Befallen { event: Event::Deadline, pc },
            Fault::Befallen { event: Event::Budget, pc },
            Fault::Panic { code: 7, pc },
            Fault::Exhausted { pool: Pool::Sites, limit: 3, pc },
        ];
        for fault in faults {
            let mut sentence = String::new();
            fault.say(&mut sentence);
            assert!(sentence.contains("at pc 0x40008010"), "{sentence}");
            assert!(sentence.contains(": "), "{sentence}");
            assert!(!sentence.contains('.') && !sentence.contains('\n'), "{sentence}");
        }
    }

    const BITE: Fault = Fault::Befallen { event: Event::Watchdog, pc: 0x4000_8010 };

    fn health(on_fault: Policy, limit: u32, within: u32) -> Health {
        Health::new(policies(on_fault, on_fault), limit, within)
    }

    fn policies(on_fault: Policy, others: Policy) -> [u8; EVENTS] {
        let mut policies = [others as u8; EVENTS];
        policies[Event::Fault as usize] = on_fault as u8;
        policies[Event::Reset as usize] = Policy::Restart as u8;
        policies[Event::Off as usize] = Policy::Stop as u8;
        policies
    }

    #[test]
    fn restarts_are_limited() {
        let mut health = health(Policy::Restart, 2, 0);
        assert_eq!(health.decide(End::Fault(WINDOW), 0, 1000), Action::Restart);
        assert_eq!(health.decide(End::Fault(BITE), 1 << 40, 1000), Action::Restart);
        let stop = Action::Stop { well: false };
        assert_eq!(health.decide(End::Fault(WINDOW), 1 << 41, 1000), stop);
        assert_eq!(health.restarts(), 2);
    }

    #[test]
    fn a_limit_in_some_time_is_one_from_the_first_restart_on() {
        let mut health = health(Policy::Restart, 2, 50);
        let stop = Action::Stop { well: false };
        for start in [1000, 2000] {
            assert_eq!(health.decide(End::Fault(WINDOW), start, 1000), Action::Restart);
            assert_eq!(health.decide(End::Fault(WINDOW), start + 50, 1000), Action::Restart);
        }
        assert_eq!(health.decide(End::Fault(WINDOW), 2050, 1000), stop);
    }

    #[test]
    fn an_event_has_a_policy_of_its_own() {
        let mut health = Health::new(policies(Policy::Stop, Policy::Restart), 0, 0);
        assert_eq!(health.decide(End::Fault(BITE), 0, 1000), Action::Restart);
        assert_eq!(health.decide(End::Fault(WINDOW), 0, 1000), Action::Stop { well: false });
    }

    #[test]
    fn no_limit_is_no_limit_and_a_reset_by_the_guest_does_not_count() {
        let mut endless = health(Policy::Restart, 0, 0);
        for _ in 0..100 {
            assert_eq!(endless.decide(End::Fault(WINDOW), 0, 1000), Action::Restart);
        }
        let mut once = health(Policy::Stop, 1, 0);
        assert_eq!(once.decide(End::Reset, 0, 1000), Action::Restart);
        assert_eq!(once.restarts(), 0);
    }

    #[test]
    fn only_a_zero_status_ends_well() {
        let mut health = health(Policy::Restart, 0, 0);
        assert_eq!(health.decide(End::Exit(0), 0, 1000), Action::Stop { well: true });
        assert_eq!(health.decide(End::Exit(1), 0, 1000), Action::Stop { well: false });
        assert_eq!(health.decide(End::Off, 0, 1000), Action::Stop { well: true });
    }

    #[test]
    fn a_policy_number_without_meaning_stops() {
        let mut health = Health::from_image(&Vm { policies: [77; EVENTS], ..Vm::EMPTY });
        assert_eq!(health.decide(End::Fault(WINDOW), 0, 1000), Action::Stop { well: false });
    }

    #[test]
    fn who_goes_on_is_told_of_once_a_second_if_at_all() {
        let mut health = Health::new(policies(Policy::Stop, Policy::Log), 1, 0);
        let go_on = |told| Action::GoOn { told };
        assert_eq!(health.decide(End::Fault(BITE), 5, 1000), go_on(true));
        assert_eq!(health.decide(End::Fault(BITE), 1004, 1000), go_on(false));
        assert_eq!(health.decide(End::Fault(BITE), 1005, 1000), go_on(true));
        let mut health = Health::new(policies(Policy::Stop, Policy::Notify), 1, 0);
        assert_eq!(health.decide(End::Fault(BITE), 5, 1000), go_on(false));
    }

    #[test]
    fn failing_over_counts_as_a_restart() {
        let mut health = health(Policy::FailOver, 1, 0);
        assert_eq!(health.decide(End::Fault(WINDOW), 0, 1000), Action::FailOver);
        let stop = Action::Stop { well: false };
        assert_eq!(health.decide(End::Fault(WINDOW), 1, 1000), stop);
    }

    #[test]
    fn a_record_counts_and_names_what_befell() {
        let mut health = Health::new(policies(Policy::Stop, Policy::Notify), 0, 0);
        assert_eq!(health.record(Event::Heartbeat), 0x0001_0502);
        assert_eq!(health.record(Event::Fault), 0x0002_0000);
        for _ in 0..0xfffe {
            health.record(Event::Budget);
        }
        assert_eq!(health.record(Event::Budget), 0x0001_0504, "modulo 65,536");
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
