//! Events and policies by name, as manifests and reports write them.

use crate::manifest::Policy;
pub use entresol_abi::health::Event;
use entresol_abi::health::{self as abi, EVENTS};
use std::fmt;

/// What follows each event, by its number.
pub type Policies = [Policy; EVENTS];

/// All events, by their numbers.
pub const ALL: [Event; EVENTS] = [
    Event::Fault,
    Event::Watchdog,
    Event::Heartbeat,
    Event::Deadline,
    Event::Budget,
    Event::Panic,
    Event::Reset,
    Event::Off,
];

/// What an event is called behind `on-`.
#[must_use]
pub const fn name(event: Event) -> &'static str {
    match event {
        Event::Fault => "fault",
        Event::Watchdog => "watchdog",
        Event::Heartbeat => "heartbeat",
        Event::Deadline => "deadline",
        Event::Budget => "budget",
        Event::Panic => "panic",
        Event::Reset => "reset",
        Event::Off => "off",
    }
}

/// What follows an event that the manifest says nothing of.
#[must_use]
pub const fn default(event: Event, on_fault: Policy) -> Policy {
    match event {
        Event::Fault | Event::Watchdog | Event::Heartbeat | Event::Panic => on_fault,
        Event::Deadline => Policy::Log,
        Event::Budget => Policy::Ignore,
        Event::Reset => Policy::Restart,
        Event::Off => Policy::Stop,
    }
}

impl Policy {
    /// As the image has it.
    #[must_use]
    pub const fn to_abi(self) -> abi::Policy {
        match self {
            Self::Stop => abi::Policy::Stop,
            Self::Restart => abi::Policy::Restart,
            Self::ResetMachine => abi::Policy::ResetMachine,
            Self::FailOver => abi::Policy::FailOver,
            Self::Log => abi::Policy::Log,
            Self::Notify => abi::Policy::Notify,
            Self::Ignore => abi::Policy::Ignore,
        }
    }

    /// Whether the VM runs on.
    #[must_use]
    pub const fn goes_on(self) -> bool {
        self.to_abi().goes_on()
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::ResetMachine => "reset-machine",
            Self::FailOver => "fail-over",
            Self::Log => "log",
            Self::Notify => "notify",
            Self::Ignore => "ignore",
        })
    }
}
