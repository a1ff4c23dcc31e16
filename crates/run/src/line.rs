//! The serial line of a machine that runs already: a board's, or an emulator's.

use crate::process::{Error, Event, forward};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    termios::{OptionalActions, ioctl_tiocexcl, isatty, tcgetattr, tcsetattr},
};
use std::{
    fs::File,
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::{fs::FileTypeExt, net::UnixStream},
    path::Path,
    sync::mpsc::{self, Sender},
    thread,
};

/// What to send to a machine's UART; never blocks.
#[derive(Clone, Debug)]
pub struct Line(Sender<Vec<u8>>);

impl Line {
    /// Opens the line `name`: a terminal device, set to `speed` bits per second; a socket's path; or
    /// `HOST:PORT` of a server of serial lines. What it says goes to `events`.
    ///
    /// # Errors
    ///
    /// [`Error::NoLine`].
    pub fn open(name: &str, speed: u32, events: &Sender<Event>) -> Result<Self, Error> {
        let (reader, writer) =
            ends(name, speed).map_err(|error| Error::NoLine { name: name.to_owned(), error })?;
        let events = events.clone();
        thread::spawn(move || {
            forward(reader, &events, Event::Serial);
            events.send(Event::Closed).ok();
        });
        Ok(Self::to(writer))
    }

    /// A line whose other end is `writer`.
    pub(crate) fn to(mut writer: impl Write + Send + 'static) -> Self {
        let (input, typed) = mpsc::channel::<Vec<u8>>();
        thread::spawn(move || {
            for bytes in typed {
                // A machine that ended takes no more input.
                if writer.write_all(&bytes).and_then(|()| writer.flush()).is_err() {
                    return;
                }
            }
        });
        Self(input)
    }

    /// Sends bytes.
    pub fn send(&self, bytes: Vec<u8>) {
        // The writer is gone only when the machine is: input is then of no use.
        self.0.send(bytes).ok();
    }
}

type Ends = (Box<dyn Read + Send>, Box<dyn Write + Send>);

fn ends(name: &str, speed: u32) -> io::Result<Ends> {
    let path = Path::new(name);
    match path.metadata() {
        Ok(metadata) if metadata.file_type().is_socket() => {
            let stream = UnixStream::connect(path)?;
            Ok((Box::new(stream.try_clone()?), Box::new(stream)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && name.contains(':') => {
            let stream = TcpStream::connect(name)?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream.try_clone()?), Box::new(stream)))
        }
        Ok(_) | Err(_) => {
            let device = terminal(path, speed)?;
            Ok((Box::new(device.try_clone()?), Box::new(device)))
        }
    }
}

/// A terminal device, which becomes nobody's controlling terminal and is nobody else's from now on.
fn terminal(path: &Path, speed: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let device = rustix::fs::open(path, flags, Mode::empty())?;
    if !isatty(&device) {
        return Err(Errno::NOTTY.into());
    }
    ioctl_tiocexcl(&device)?;
    let mut settings = tcgetattr(&device)?;
    settings.make_raw();
    settings.set_speed(speed)?;
    tcsetattr(&device, OptionalActions::Now, &settings)?;
    Ok(File::from(device))
}
