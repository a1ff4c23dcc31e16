//! Bytes between cores: none lost, no call missed, on threads and one by one.

use super::*;
use crate::console::{OUTPUT, Serial, channel};
use std::sync::mpsc;
use std::thread;

/// The other core's end, as its platform makes it.
struct End<'a> {
    link: &'a Link,
    calls: u32,
}

impl Serial for End<'_> {
    fn put(&mut self, byte: u8) -> bool {
        let sent = self.link.up.send(byte);
        self.calls += u32::from(sent == Sent::Call);
        sent != Sent::Refused
    }

    fn get(&mut self) -> Option<u8> {
        self.link.down.receive()
    }
}

#[test]
fn the_first_byte_calls_and_those_behind_it_do_not() {
    let ring = Ring::new();
    assert_eq!(ring.send(1), Sent::Call);
    assert_eq!(ring.send(2), Sent::Queued);
    assert_eq!((ring.receive(), ring.receive(), ring.receive()), (Some(1), Some(2), None));
    assert_eq!(ring.send(3), Sent::Call);
}

#[test]
fn a_full_ring_refuses_and_its_receiver_is_told() {
    let ring = Ring::new();
    let taken = (0..=255).chain(0..=255).take_while(|byte| ring.send(*byte) != Sent::Refused);
    assert_eq!(taken.count(), CAPACITY);
    assert_eq!(ring.receive(), Some(0));
    assert!(ring.was_refused());
    assert!(!ring.was_refused(), "told once");
    assert_eq!(ring.send(7), Sent::Queued);
}

#[test]
fn two_threads_that_sleep_until_they_are_called_pass_every_byte() {
    const BYTES: u32 = 200_000;
    let ring = Ring::new();
    let (call_receiver, receiver_called) = mpsc::channel();
    let (call_sender, sender_called) = mpsc::channel();
    thread::scope(|scope| {
        let ring = &ring;
        scope.spawn(move || {
            for count in 0..BYTES {
                let [byte, ..] = count.to_le_bytes();
                loop {
                    match ring.send(byte) {
                        Sent::Refused => sender_called.recv().unwrap(),
                        Sent::Queued => break,
                        Sent::Call => break call_receiver.send(()).unwrap(),
                    }
                }
            }
        });
        let mut expected = 0;
        while expected < BYTES {
            match ring.receive() {
                Some(byte) => {
                    assert_eq!(byte, expected.to_le_bytes()[0]);
                    expected += 1;
                }
                None if ring.was_refused() => call_sender.send(()).unwrap(),
                None => receiver_called.recv().unwrap(),
            }
        }
    });
}

/// More than a ring holds.
const ALL: u32 = 1000;

/// Sends all that waits, burst by burst.
fn pump_all(console: &mut Console, serial: &mut impl Serial) {
    for _ in 0..100 {
        console.pump(serial, BURST);
    }
}

#[test]
fn what_vms_of_another_core_write_and_read_goes_through_the_boot_core() {
    let (mut boot, mut other) = (Console::new(), Console::new());
    let (link, mut relay) = (Link::new(), Relay::new());
    let mut end = End { link: &link, calls: 0 };
    for byte in *b"hello" {
        other.put(channel(2), byte);
    }
    pump_all(&mut other, &mut end);
    assert_eq!(end.calls, 1);
    assert!(!relay.collect(&link.up, &mut boot, ALL));
    let mut line = crate::console::tests::Line::with_room(100);
    pump_all(&mut boot, &mut line);
    assert_eq!(line.sent, b"\x1e3hello");

    line.arrived = b"\x1e3hi".to_vec();
    boot.receive(&mut line, 64);
    let forwarded = relay.forward(&link.down, &mut boot, channel(2));
    assert_eq!(forwarded, Forwarded { news: true, left: false });
    other.receive(&mut end, 64);
    assert_eq!((other.get(channel(2)), other.get(channel(2))), (Some(b'h'), Some(b'i')));
}

#[test]
fn what_is_moved_in_a_go_is_bounded() {
    let (mut boot, link, mut relay) = (Console::new(), Link::new(), Relay::new());
    for byte in *b"\x1e3123456" {
        link.up.send(byte);
    }
    assert!(relay.collect(&link.up, &mut boot, BURST));
    assert_eq!(boot.room(channel(2)), OUTPUT - 1, "the second waits");
    assert!(relay.collect(&link.up, &mut boot, BURST));
    assert!(!relay.collect(&link.up, &mut boot, BURST));
    assert_eq!(boot.room(channel(2)), OUTPUT - 6);

    let mut line = crate::console::tests::Line::with_room(0);
    line.arrived = b"\x1e3123456".to_vec();
    boot.receive(&mut line, 64);
    let goes = [0; 3].map(|_| relay.forward(&link.down, &mut boot, channel(2)));
    let [first, second, third] = goes.map(|Forwarded { news, left }| (news, left));
    assert_eq!((first, second, third), ((true, true), (false, false), (false, false)));
}

#[test]
fn what_finds_no_room_waits_and_arrives() {
    let (mut boot, link, mut relay) = (Console::new(), Link::new(), Relay::new());
    while boot.has_room(Channel(0)) {
        boot.put(Channel(0), b'.');
    }
    for byte in *b"xyz\n" {
        link.up.send(byte);
    }
    assert!(relay.collect(&link.up, &mut boot, ALL));
    let mut sent = Vec::new();
    while boot.pending() {
        let mut line = crate::console::tests::Line::with_room(50);
        pump_all(&mut boot, &mut line);
        sent.append(&mut line.sent);
        relay.collect(&link.up, &mut boot, ALL);
    }
    assert!(sent.ends_with(b".xyz\n"));
    assert_eq!(boot.dropped(Channel(0)).output, 0);
}

#[test]
fn a_hypervisors_line_is_not_cut_by_another_cores() {
    let (mut boot, link, mut relay) = (Console::new(), Link::new(), Relay::new());
    let mut say = |boot: &mut Console, text: &[u8]| {
        text.iter().for_each(|byte| assert_ne!(link.up.send(*byte), Sent::Refused));
        // A line's end is the end of a go.
        while relay.collect(&link.up, boot, ALL) {}
    };
    say(&mut boot, b"from the oth");
    for byte in *b"own line\n" {
        boot.put(Channel(0), byte);
    }
    say(&mut boot, b"er core\n");
    let mut line = crate::console::tests::Line::with_room(100);
    pump_all(&mut boot, &mut line);
    assert_eq!(line.sent, b"own line\nfrom the other core\n");
    for _ in 0..2 {
        say(&mut boot, &[b'-'; CAPACITY - 1]);
    }
    assert_eq!(boot.dropped(Channel(0)).output, 0);
}

#[test]
fn a_core_says_once_that_it_has_ended() {
    let link = Link::new();
    assert_eq!(link.state(), State::Running);
    assert!(link.set_state(State::Ended { well: false }));
    assert!(!link.set_state(State::Ended { well: false }));
    assert_eq!(link.state(), State::Ended { well: false });
}
