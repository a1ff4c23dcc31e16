//! Which VM the keyboard goes to.
//!
//! Pure: typed bytes in, actions out. Everything typed goes to the selected VM, but
//! Ctrl-A introduces a command, as in QEMU and screen. Control-C and its like belong
//! to the guests.

use entresol_abi::{
    console::{Channel, Order},
    control,
};

/// Introduces a command.
const COMMAND: u8 = 0x01;

/// What the commands are, for people.
pub const HELP: &str = "\
Ctrl-A 1 to 9  the keyboard goes to that VM
Ctrl-A n       the keyboard goes to the next VM
Ctrl-A 0       the keyboard goes to the hypervisor
Ctrl-A s       stop that VM; b starts it, r restarts, p pauses, c lets it go on, if the
               manifest's `console-controls` names it
Ctrl-A a       send Ctrl-A itself
Ctrl-A ?       this help
Ctrl-A x       end";

/// What a typed byte means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Goes to this channel.
    Send(Channel, u8),
    /// The VM of this index is given one of [`control`]'s orders.
    Order(Order),
    /// This channel was selected.
    Selected(Channel),
    /// There is no such VM.
    NoSuch(Channel),
    /// Show [`HELP`].
    Help,
    /// End the machine.
    Quit,
}

/// The keyboard.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    selected: Channel,
    /// The last channel.
    last: u8,
    command: bool,
    /// Whether commands are understood at all.
    interactive: bool,
}

impl Keys {
    /// A keyboard for `vms` VMs that goes to `selected` first. Without `interactive`
    /// every byte goes there.
    #[must_use]
    pub const fn new(selected: Channel, vms: u8, interactive: bool) -> Self {
        Self { selected, last: vms, command: false, interactive }
    }

    /// The selected channel.
    #[must_use]
    pub const fn selected(&self) -> Channel {
        self.selected
    }

    /// What `byte` means, if anything yet.
    pub fn push(&mut self, byte: u8) -> Option<Action> {
        if !self.interactive {
            return Some(Action::Send(self.selected, byte));
        }
        if !std::mem::take(&mut self.command) {
            if byte == COMMAND {
                self.command = true;
                return None;
            }
            return Some(Action::Send(self.selected, byte));
        }
        match byte {
            b'0'..=b'9' => Some(self.select(Channel(byte - b'0'))),
            b'n' => Some(self.select(Channel(self.selected.0 % self.last.max(1) + 1))),
            b'b' => self.order(control::START),
            b's' => self.order(control::STOP),
            b'r' => self.order(control::RESTART),
            b'p' => self.order(control::PAUSE),
            b'c' => self.order(control::RESUME),
            b'x' => Some(Action::Quit),
            b'?' | b'h' => Some(Action::Help),
            b'a' | COMMAND => Some(Action::Send(self.selected, COMMAND)),
            _ => None,
        }
    }

    /// An order for the selected VM; the hypervisor takes none.
    fn order(&self, order: u32) -> Option<Action> {
        let vm = self.selected.0.checked_sub(1)?;
        Some(Action::Order(Order { vm, order: u8::try_from(order).ok()? }))
    }

    fn select(&mut self, channel: Channel) -> Action {
        if channel.0 > self.last {
            return Action::NoSuch(channel);
        }
        self.selected = channel;
        Action::Selected(channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_in(keys: &mut Keys, text: &[u8]) -> Vec<Action> {
        text.iter().filter_map(|byte| keys.push(*byte)).collect()
    }

    #[test]
    fn a_command_selects_who_gets_what_follows() {
        let mut keys = Keys::new(Channel(1), 3, true);
        assert_eq!(
            type_in(&mut keys, b"a\x012b\x01nc\x01nd\x01\x01\x014"),
            [
                Action::Send(Channel(1), b'a'),
                Action::Selected(Channel(2)),
                Action::Send(Channel(2), b'b'),
                Action::Selected(Channel(3)),
                Action::Send(Channel(3), b'c'),
                Action::Selected(Channel(1)),
                Action::Send(Channel(1), b'd'),
                Action::Send(Channel(1), 1),
                Action::NoSuch(Channel(4)),
            ]
        );
        assert_eq!(type_in(&mut keys, b"\x01?\x01x"), [Action::Help, Action::Quit]);
    }

    #[test]
    fn orders_are_for_the_selected_vm() {
        let order =
            |order: u32| Action::Order(Order { vm: 1, order: u8::try_from(order).unwrap() });
        let mut keys = Keys::new(Channel(2), 3, true);
        let orders =
            [control::STOP, control::START, control::RESTART, control::PAUSE, control::RESUME];
        assert_eq!(type_in(&mut keys, b"\x01s\x01b\x01r\x01p\x01c"), orders.map(order));
        assert_eq!(type_in(&mut keys, b"\x010\x01s"), [Action::Selected(Channel(0))]);
    }

    #[test]
    fn a_pipe_has_no_commands() {
        let mut keys = Keys::new(Channel(2), 3, false);
        assert_eq!(type_in(&mut keys, b"\x01"), [Action::Send(Channel(2), 1)]);
    }
}
