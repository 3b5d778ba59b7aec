//! A listener on the TPM's bus: records every command and answer, under a [`Power`] switch that can go at
//! any of them.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{
        fs::symlink,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::Result;

use crate::power::{Cut, Event, Power};

/// One command and its answer, as they stood on the bus.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The command; its code is at bytes 6 to 9.
    pub command: Vec<u8>,
    /// The answer; its code is at bytes 6 to 9. Empty: cut before it.
    pub answer: Vec<u8>,
}

impl Exchange {
    /// TPM_CC of the command.
    #[must_use]
    pub fn code(&self) -> u32 {
        word(&self.command)
    }

    /// TPM_RC of the answer.
    #[must_use]
    pub fn response(&self) -> u32 {
        word(&self.answer)
    }
}

#[derive(Default)]
struct Line {
    exchanges: Vec<Exchange>,
    ended: bool,
}

/// A proxy in front of a TPM's sockets.
pub struct TpmProxy {
    socket: PathBuf,
    line: Arc<Mutex<Line>>,
    thread: Option<JoinHandle<()>>,
}

impl TpmProxy {
    /// Listens at `folder/bus` for the TPM at `upstream`, as long as there is power.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(folder: &Path, upstream: &Path, power: &Power) -> Result<Self> {
        let socket = folder.join("bus");
        let control = folder.join("bus.ctrl");
        for stale in [&socket, &control] {
            let _ = fs::remove_file(stale);
        }
        symlink(upstream.with_extension("ctrl"), control)?;
        let listener = UnixListener::bind(&socket)?;
        let line = Arc::new(Mutex::new(Line::default()));
        let thread = thread::spawn({
            let (line, upstream, power) = (Arc::clone(&line), upstream.to_owned(), power.clone());
            move || {
                for client in listener.incoming() {
                    let Ok(client) = client else { break };
                    if lock(&line).ended {
                        break;
                    }
                    // A cut or a closed line ends this connection, not the proxy.
                    let _ = relay(client, &upstream, &line, &power);
                }
            }
        });
        Ok(Self { socket, line, thread: Some(thread) })
    }

    /// What `Tpm::open` takes.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:path={}", self.socket.display())
    }

    /// Takes what was recorded so far.
    #[must_use]
    pub fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut lock(&self.line).exchanges)
    }
}

impl Drop for TpmProxy {
    fn drop(&mut self) {
        lock(&self.line).ended = true;
        let _ = UnixStream::connect(&self.socket);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn relay(
    mut client: UnixStream,
    upstream: &Path,
    line: &Mutex<Line>,
    power: &Power,
) -> io::Result<()> {
    let mut tpm = UnixStream::connect(upstream)?;
    loop {
        let command = read_message(&mut client)?;
        let Ok(cut) = power.begin(Event::Command(word(&command))) else { return Ok(()) };
        if cut.is_some_and(|cut| cut != Cut::Whole) {
            return Ok(());
        }
        lock(line).exchanges.push(Exchange { command: command.clone(), answer: Vec::new() });
        tpm.write_all(&command)?;
        let answer = read_message(&mut tpm)?;
        if let Some(last) = lock(line).exchanges.last_mut() {
            last.answer.clone_from(&answer);
        }
        if power.is_off() {
            return Ok(());
        }
        client.write_all(&answer)?;
    }
}

/// A command or an answer: tag, size of the whole (Part 1, 18.1), rest.
fn read_message(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 10];
    stream.read_exact(&mut message)?;
    let size = message[2..6].iter().fold(0_usize, |n, byte| n << 8 | usize::from(*byte));
    message.resize(size.max(10), 0);
    stream.read_exact(&mut message[10..])?;
    Ok(message)
}

fn word(message: &[u8]) -> u32 {
    message.get(6..10).map_or(0, |w| w.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}
