//! `entresol run` and `entresol attach`: all consoles on the terminal, the keyboard to one of them.
//! `entresol order`: one order, and its answer.
//!
//! One loop takes events in turn: what the machine says, what the user types, a
//! signal, the time limit. Typed bytes can be held back until the selected VM has
//! said a given text, since a guest that is not up yet would lose them.

use crate::{
    consoles::{Consoles, Form},
    keys::{Action, HELP, Keys},
    line::Line,
    process::{Ended, Error, Event, Process, forward, watch_signals},
    qemu::Qemu,
    terminal::Raw,
};
use entresol_abi::{
    console::{Channel, Demultiplexer, MARK, Multiplexer, Order},
    control,
};
use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    path::Path,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

/// How to run.
#[derive(Debug, Default)]
pub struct Options {
    /// Names of the VMs, in order.
    pub names: Vec<String>,
    /// Index of the VM that gets the keyboard first.
    pub keyboard: usize,
    /// Hold typed bytes back until that VM has said this.
    pub input_after: Option<String>,
    /// End the machine, well, when that VM has said this.
    pub until: Option<String>,
    /// End the machine after this long.
    pub limit: Option<Duration>,
    /// Write complete lines of all consoles here too.
    pub log: Option<File>,
}

/// Runs `image` until it ends, the user ends it, or a signal or the limit does.
///
/// # Errors
///
/// When QEMU cannot be started or the log cannot be written.
pub fn run(qemu: &Qemu, image: &Path, options: Options) -> Result<Ended, Error> {
    let (sender, events) = mpsc::channel();
    let mut process = Process::start(qemu, image, &sender)?;
    let mut complaints = Vec::new();
    let (mut screen, left) =
        talk(sender, &events, process.line(), "end", options, &mut complaints)?;
    let ended = match left {
        Some(ended) => ended,
        None => wait(&mut process)?,
    };
    process.kill();
    while let Ok(Event::Complaint(bytes)) = events.recv_timeout(Duration::from_millis(50)) {
        complaints.extend(bytes);
    }
    screen.finish(&complaints)?;
    Ok(ended)
}

/// Shows the consoles of a machine that runs already, on its serial line ([`Line::open`]), until the
/// user leaves it, or a signal, the limit, or the line's end does: then it returns
/// [`Ended::Killed`].
///
/// # Errors
///
/// When the line cannot be opened or the log cannot be written.
pub fn attach(name: &str, speed: u32, options: Options) -> Result<Ended, Error> {
    let (sender, events) = mpsc::channel();
    let line = Line::open(name, speed, &sender)?;
    line.send(RESET.to_vec());
    let (mut screen, left) = talk(sender, &events, &line, "leave", options, &mut Vec::new())?;
    screen.finish(&[])?;
    Ok(left.unwrap_or(Ended::Killed))
}

/// How a machine answered an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was carried out.
    Done,
    /// The VM is not the console's to order.
    Refused,
    /// There was none.
    None,
}

/// Gives an order by a machine's serial line ([`Line::open`]) and waits for the answer so long. What
/// VMs say meanwhile is lost.
///
/// # Errors
///
/// When the line cannot be opened.
pub fn order(name: &str, speed: u32, order: Order, limit: Duration) -> Result<Answer, Error> {
    let (sender, events) = mpsc::channel();
    let line = Line::open(name, speed, &sender)?;
    line.send([RESET.as_slice(), &[order.byte()]].concat());
    let until = Instant::now() + limit;
    let mut demultiplexer = Demultiplexer::new();
    loop {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Serial(bytes)) => {
                let said = bytes.iter().filter_map(|byte| demultiplexer.push(*byte));
                for (channel, byte) in said {
                    if channel == Channel(0) && byte & !Order::REFUSED == order.byte() {
                        let done = byte == order.byte();
                        return Ok(if done { Answer::Done } else { Answer::Refused });
                    }
                }
            }
            Ok(Event::Closed) | Err(_) => return Ok(Answer::None),
            Ok(_) => {}
        }
    }
}

/// Selects channel 0, whichever was selected by who used the line before.
const RESET: [u8; 2] = [MARK, b'0'];

/// Passes on what is said and typed until the line ends, or something else before that, which is
/// returned. `verb` is what the user does by Ctrl-A x.
fn talk(
    sender: Sender<Event>,
    events: &Receiver<Event>,
    line: &Line,
    verb: &str,
    options: Options,
    complaints: &mut Vec<u8>,
) -> Result<(Screen, Option<Ended>), Error> {
    watch_signals(&sender)?;
    let keyboard = io::stdin().is_terminal();
    // Raw mode before the first read; left when this function is.
    let _raw = if keyboard { Some(Raw::enter()?) } else { None };
    thread::spawn(move || forward(io::stdin(), &sender, Event::Typed));

    let mut screen = Screen::new(options, keyboard);
    screen.greet(keyboard, verb)?;
    let ended = loop {
        match events.recv_timeout(screen.left()) {
            Ok(Event::Serial(bytes)) => {
                screen.said(&bytes, line)?;
                if screen.until.as_ref().is_some_and(|until| until.met) {
                    break Some(Ended::Quit);
                }
            }
            Ok(Event::Complaint(bytes)) => complaints.extend(bytes),
            Ok(Event::Typed(bytes)) => {
                if screen.typed(&bytes, line)? {
                    break Some(Ended::Quit);
                }
            }
            Ok(Event::Signal(_)) => break Some(Ended::Killed),
            Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) if screen.passed() => break Some(Ended::TimeLimit),
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    Ok((screen, ended))
}

/// The machine closed its UART: QEMU ends at once, or is stuck.
fn wait(process: &mut Process) -> Result<Ended, Error> {
    let patience = Instant::now() + Duration::from_secs(2);
    while Instant::now() < patience {
        if let Some(ended) = process.ended()? {
            return Ok(ended);
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(Ended::Killed)
}

/// Everything between the machine's UART and the user.
struct Screen {
    consoles: Consoles,
    keys: Keys,
    log: Option<(File, Consoles)>,
    demultiplexer: Demultiplexer,
    multiplexer: Multiplexer,
    deadline: Option<Instant>,
    held: Option<Held>,
    until: Option<Until>,
}

/// A text of one VM that ends the run.
struct Until {
    channel: Channel,
    text: Vec<u8>,
    said: Vec<u8>,
    met: bool,
}

/// Typed bytes that wait for a text.
struct Held {
    text: Vec<u8>,
    said: Vec<u8>,
    typed: Vec<u8>,
}

impl Screen {
    fn new(options: Options, keyboard: bool) -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none();
        let form = if io::stdout().is_terminal() { Form::Live { colour } } else { Form::Lines };
        let first = u8::try_from(options.keyboard + 1).unwrap_or(1);
        let vms = u8::try_from(options.names.len()).unwrap_or(u8::MAX);
        Self {
            consoles: Consoles::new(form, &options.names),
            keys: Keys::new(Channel(first), vms, keyboard),
            log: options.log.map(|file| (file, Consoles::new(Form::Lines, &options.names))),
            demultiplexer: Demultiplexer::new(),
            multiplexer: Multiplexer::new(),
            deadline: options.limit.map(|limit| Instant::now() + limit),
            held: options.input_after.map(|text| Held {
                text: text.into_bytes(),
                said: Vec::new(),
                typed: Vec::new(),
            }),
            until: options.until.map(|text| Until {
                channel: Channel(first),
                text: text.into_bytes(),
                said: Vec::new(),
                met: false,
            }),
        }
    }

    fn left(&self) -> Duration {
        const OFTEN: Duration = Duration::from_secs(1);
        self.deadline.map_or(OFTEN, |end| end.saturating_duration_since(Instant::now()))
    }

    fn passed(&self) -> bool {
        self.deadline.is_some_and(|end| Instant::now() >= end)
    }

    fn greet(&mut self, keyboard: bool, verb: &str) -> io::Result<()> {
        if !keyboard {
            return Ok(());
        }
        let name = self.consoles.name(self.keys.selected());
        self.remark(&format!("the keyboard goes to {name}; Ctrl-A ? for help, Ctrl-A x to {verb}"))
    }

    fn said(&mut self, bytes: &[u8], line: &Line) -> Result<(), Error> {
        let mut shown = Vec::new();
        let mut logged = Vec::new();
        for byte in bytes {
            let Some((channel, byte)) = self.demultiplexer.push(*byte) else { continue };
            if channel == Channel(0)
                && let Some(order) = Order::of(byte)
            {
                let answer = self.answer(order, byte & Order::REFUSED != 0);
                self.consoles.remark(&answer, &mut shown);
                continue;
            }
            self.consoles.push(channel, byte, &mut shown);
            if let Some((_, consoles)) = &mut self.log {
                consoles.push(channel, byte, &mut logged);
            }
            if let Some(until) = self.until.as_mut().filter(|until| until.channel == channel) {
                until.said.push(byte);
                until.met |= until.said.ends_with(&until.text);
                if byte == b'\n' {
                    until.said.clear();
                }
            }
            if let Some(held) = self.held.as_mut().filter(|_| channel == self.keys.selected()) {
                held.said.push(byte);
                if held.said.ends_with(&held.text) {
                    let typed = std::mem::take(&mut held.typed);
                    self.held = None;
                    self.send(self.keys.selected(), &typed, line);
                }
            }
        }
        if let Some((file, _)) = &mut self.log {
            file.write_all(&logged)?;
        }
        Ok(show(&shown)?)
    }

    /// Acts on typed bytes; true when the machine is to be ended.
    fn typed(&mut self, bytes: &[u8], line: &Line) -> Result<bool, Error> {
        for byte in bytes {
            match self.keys.push(*byte) {
                None => {}
                Some(Action::Send(channel, byte)) => match &mut self.held {
                    Some(held) => held.typed.push(byte),
                    None => self.send(channel, &[byte], line),
                },
                Some(Action::Order(order)) => self.send(Channel(0), &[order.byte()], line),
                Some(Action::Selected(channel)) => {
                    let name = self.consoles.name(channel);
                    self.remark(&format!("the keyboard goes to {name}"))?;
                }
                Some(Action::NoSuch(channel)) => {
                    self.remark(&format!("there is no VM {}", channel.0))?;
                }
                Some(Action::Help) => self.remark(HELP)?,
                Some(Action::Quit) => return Ok(true),
            }
        }
        Ok(false)
    }

    /// What the hypervisor answered, in words.
    fn answer(&self, order: Order, refused: bool) -> String {
        let name = self.consoles.name(Channel(order.vm + 1));
        if refused {
            return format!("refused: `console-controls` of the manifest does not name {name}");
        }
        let what = match u32::from(order.order) {
            control::START => "started, if it was off",
            control::STOP => "stopped",
            control::RESTART => "restarted",
            control::PAUSE => "paused",
            _ => "goes on",
        };
        format!("{name}: {what}")
    }

    fn send(&mut self, channel: Channel, bytes: &[u8], line: &Line) {
        let framed = |byte: &u8| self.multiplexer.frame(channel, *byte).as_slice().to_vec();
        line.send(bytes.iter().flat_map(framed).collect());
    }

    fn remark(&mut self, text: &str) -> io::Result<()> {
        let mut out = Vec::new();
        self.consoles.remark(text, &mut out);
        show(&out)
    }

    fn finish(&mut self, complaints: &[u8]) -> Result<(), Error> {
        let mut out = Vec::new();
        self.consoles.finish(&mut out);
        if let Some((file, consoles)) = &mut self.log {
            let mut logged = Vec::new();
            consoles.finish(&mut logged);
            file.write_all(&logged)?;
        }
        if !complaints.is_empty() {
            let complaints = String::from_utf8_lossy(complaints);
            self.consoles.remark(&format!("QEMU: {}", complaints.trim_end()), &mut out);
        }
        Ok(show(&out)?)
    }
}

fn show(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}
