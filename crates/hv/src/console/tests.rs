//! The shared line, by example and by chance.

use super::*;
use crate::sentence::say;

/// A line that takes `room` more bytes.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) sent: Vec<u8>,
    room: usize,
    pub(crate) arrived: Vec<u8>,
}

impl Line {
    pub(crate) fn with_room(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    fn text(&self, channel: u8) -> String {
        let mut demultiplexer = Demultiplexer::new();
        let bytes = self.sent.iter().filter_map(|byte| demultiplexer.push(*byte));
        bytes.filter(|(c, _)| c.0 == channel).map(|(_, byte)| char::from(byte)).collect()
    }
}

impl Serial for Line {
    fn put(&mut self, byte: u8) -> bool {
        let taken = self.room > 0;
        if taken {
            self.room -= 1;
            self.sent.push(byte);
        }
        taken
    }

    fn get(&mut self) -> Option<u8> {
        (!self.arrived.is_empty()).then(|| self.arrived.remove(0))
    }
}

#[test]
fn a_line_that_fills_in_the_middle_of_a_frame_goes_on_where_it_stopped() {
    let mut console = Console::new();
    say(&mut console.writer(channel(0)), "hello", &[]);
    let mut line = Line::default();
    while console.pending() {
        line.room = 1;
        console.pump(&mut line, BURST);
    }
    assert_eq!(line.text(1), "hello");
}

#[test]
fn a_flood_delays_the_others_by_one_turn_and_loses_only_its_own_bytes() {
    let mut console = Console::new();
    let mut line = Line::default();
    for n in 0..10_000 {
        console.put(channel(0), b'x');
        if n == 5_000 {
            say(&mut console.writer(channel(1)), "quiet\n", &[]);
        }
        line.room += usize::from(n % 4 == 0);
        console.pump(&mut line, BURST);
    }
    assert_eq!(line.text(2), "quiet\n");
    assert_eq!(console.dropped(channel(1)), Dropped::default());
    assert!(console.dropped(channel(0)).output > 6_000);
}

#[test]
fn lines_of_two_channels_stay_whole() {
    let mut console = Console::new();
    say(&mut console.writer(channel(0)), "one\ntwo\n", &[]);
    say(&mut console.writer(channel(1)), "three\n", &[]);
    let mut line = Line::with_room(1000);
    while console.pending() {
        console.pump(&mut line, BURST);
    }
    assert_eq!(line.sent, b"\x1e1one\n\x1e2three\n\x1e1two\n");
}

#[test]
fn every_channel_is_heard_again_after_silence() {
    let mut console = Console::new();
    let mut line = Line::with_room(1000);
    for round in 0..3 {
        for channel in (0..9).map(Channel) {
            console.pump(&mut line, BURST);
            console.put(channel, b'0' + round);
            console.pump(&mut line, BURST);
            assert!(!console.pending());
        }
    }
    for channel in 0..9 {
        assert_eq!(line.text(channel), "012");
    }
}

proptest::proptest! {
    #[test]
    fn what_was_queued_is_sent_in_order_or_counted_as_dropped(
        steps in proptest::collection::vec((0_u8..9, proptest::prelude::any::<u8>(), 0_usize..4), 0..1500)
    ) {
        let mut console = Console::new();
        let mut line = Line::default();
        let mut queued = [0_usize; CHANNELS];
        for (channel, byte, room) in steps {
            console.put(Channel(channel), byte);
            queued[usize::from(channel)] += 1;
            line.room = room;
            console.pump(&mut line, BURST);
        }
        line.room = usize::MAX;
        while console.pending() {
            console.pump(&mut line, BURST);
        }
        for channel in 0..9_u8 {
            let sent = line.text(channel).chars().count();
            let dropped = usize::try_from(console.dropped(Channel(channel)).output).unwrap();
            proptest::prop_assert_eq!(sent + dropped, queued[usize::from(channel)]);
        }
    }
}

#[test]
fn one_call_moves_a_bounded_number_of_bytes() {
    let mut console = Console::new();
    for _ in 0..OUTPUT {
        console.put(channel(0), b'x');
    }
    let mut line = Line::with_room(10_000);
    console.pump(&mut line, BURST);
    assert!(line.sent.len() <= usize::try_from(BURST).unwrap() * 4);
    assert!(console.pending());
}

#[test]
fn input_goes_to_its_channel_and_waits_until_it_is_accepted() {
    let mut console = Console::new();
    let mut line = Line { arrived: b"\x1e2ab\x1e1c\x1e9x".to_vec(), ..Line::default() };
    console.receive(&mut line, 64);
    assert_eq!(console.get(channel(0)), Some(b'c'));
    let mut taken = Vec::new();
    console.deliver(channel(1), |byte| {
        taken.is_empty() && {
            taken.push(byte);
            true
        }
    });
    assert_eq!(taken, b"a");
    assert!(console.has_input(channel(1)));
    assert_eq!(console.get(channel(1)), Some(b'b'));
    assert_eq!(console.get(channel(1)), None);
}

#[test]
fn input_nobody_reads_is_dropped_and_counted() {
    let mut console = Console::new();
    let mut line = Line { arrived: vec![b'x'; INPUT + 3], ..Line::default() };
    while !line.arrived.is_empty() {
        console.receive(&mut line, 64);
    }
    assert_eq!(console.dropped(Channel(0)), Dropped { output: 0, input: 3 });
}

#[test]
fn what_is_taken_from_a_fifo_waits_there_and_arrives_whole() {
    let mut console = Console::new();
    let mut fifo: Vec<u8> = (0..=255).cycle().take(OUTPUT + 100).collect();
    fifo.retain(u8::is_ascii_alphanumeric);
    let fifo: Vec<u8> = fifo.into_iter().cycle().take(OUTPUT + 100).collect();
    let mut left = fifo.iter().copied();
    assert!(console.take_from(Channel(0), || left.next()));
    assert_eq!(left.len(), 100, "no more than there is room for");
    assert!(!console.take_from(Channel(0), || left.next()));
    assert!(console.has_room(Channel(2)), "others have theirs");
    let mut sent = Vec::new();
    while console.pending() {
        let mut line = Line::with_room(10);
        console.pump(&mut line, BURST);
        sent.append(&mut line.sent);
        console.take_from(Channel(0), || left.next());
    }
    assert_eq!(sent, fifo);
    assert_eq!(console.dropped(Channel(0)), Dropped::default());
}

#[test]
fn a_channel_that_does_not_exist_is_ignored() {
    let mut console = Console::new();
    console.put(Channel(200), b'x');
    assert!(!console.pending());
    assert_eq!(console.get(Channel(200)), None);
}
