//! A disk behind a machine that behaves as badly as disks do: it keeps writes in a cache until it is
//! told to flush, tears them when the power goes, is slow, and fails. QEMU speaks NBD to it (fixed
//! newstyle, simple replies; github.com/NetworkBlockDevice/nbd, doc/proto.md).

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::{
        fs::FileExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::torn::Dice;

/// How a disk misbehaves; nothing of it by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// How long a write takes.
    pub delay: Duration,
    /// Reads fail with an I/O error.
    pub reads_fail: bool,
    /// Writes and flushes fail with one.
    pub writes_fail: bool,
}

/// A disk that serves until it is dropped, or loses its power.
pub struct FaultyDisk {
    socket: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    file: File,
    size: u64,
    state: Mutex<State>,
}

struct State {
    /// Writes that were answered and not flushed, oldest first.
    cache: Vec<(u64, Vec<u8>)>,
    faults: Faults,
    off: bool,
    client: Option<UnixStream>,
}

const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
/// NBD_FLAG_HAS_FLAGS, NBD_FLAG_SEND_FLUSH: no FUA, so each durable write is a write and a flush.
const FLAGS: u16 = 0b101;
/// More than the guest's largest request.
const LARGEST: usize = 32 * 1024 * 1024;

impl FaultyDisk {
    /// Serves `image` at `socket`.
    ///
    /// # Errors
    /// The file or the socket cannot be opened.
    pub fn start(image: &Path, socket: &Path) -> io::Result<Self> {
        let _ = std::fs::remove_file(socket);
        let file = OpenOptions::new().read(true).write(true).open(image)?;
        let size = file.metadata()?.len();
        let listener = UnixListener::bind(socket)?;
        let state =
            State { cache: Vec::new(), faults: Faults::default(), off: false, client: None };
        let shared = Arc::new(Shared { file, size, state: Mutex::new(state) });
        let serving = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                if serving.state().off {
                    return;
                }
                // A client that goes away ends this connection, not the disk.
                let _ = serving.serve(client);
            }
        });
        Ok(Self { socket: socket.to_owned(), shared, thread: Some(thread) })
    }

    /// Misbehaves so from now on.
    pub fn misbehave(&self, faults: Faults) {
        self.shared.state().faults = faults;
    }

    /// The power goes: nothing is answered any more, and of each write that was not flushed there is
    /// left what the dice say.
    pub fn cut(&self, dice: &mut Dice) -> io::Result<()> {
        let mut state = self.shared.state();
        state.off = true;
        if let Some(client) = state.client.take() {
            let _ = client.shutdown(std::net::Shutdown::Both);
        }
        for (offset, bytes) in std::mem::take(&mut state.cache) {
            for (at, piece) in dice.cut().pieces(&bytes) {
                self.shared.file.write_all_at(piece, offset + at as u64)?;
            }
        }
        Ok(())
    }
}

impl Drop for FaultyDisk {
    /// Taken out in peace: what was not flushed is written.
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            if !state.off {
                let _ = self.shared.flush(&mut state);
            }
            state.off = true;
            if let Some(client) = state.client.take() {
                let _ = client.shutdown(std::net::Shutdown::Both);
            }
        }
        let _ = UnixStream::connect(&self.socket);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut client: UnixStream) -> io::Result<()> {
        self.state().client = Some(client.try_clone()?);
        client.write_all(b"NBDMAGIC")?;
        client.write_all(&OPTION_MAGIC.to_be_bytes())?;
        client.write_all(&0b11_u16.to_be_bytes())?;
        let _: [u8; 4] = take(&mut client)?;
        while !self.option(&mut client)? {}
        loop {
            if u32::from_be_bytes(take(&mut client)?) != REQUEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let _flags: [u8; 2] = take(&mut client)?;
            let kind = u16::from_be_bytes(take(&mut client)?);
            let cookie: [u8; 8] = take(&mut client)?;
            let offset = u64::from_be_bytes(take(&mut client)?);
            let length = u32::from_be_bytes(take(&mut client)?) as usize;
            if length > LARGEST || kind == 2 {
                return Ok(());
            }
            let mut bytes = vec![0; if kind <= 1 { length } else { 0 }];
            if kind == 1 {
                client.read_exact(&mut bytes)?;
            }
            let done = self.request(kind, offset, &mut bytes);
            let error = done.err().and_then(|error| error.raw_os_error()).unwrap_or(0);
            if self.state().off {
                return Ok(());
            }
            client.write_all(&REPLY.to_be_bytes())?;
            client.write_all(&error.to_be_bytes())?;
            client.write_all(&cookie)?;
            if kind == 0 && error == 0 {
                client.write_all(&bytes)?;
            }
        }
    }

    /// One option of the handshake; whether it was the last.
    fn option(&self, client: &mut UnixStream) -> io::Result<bool> {
        if u64::from_be_bytes(take(client)?) != OPTION_MAGIC {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let option = u32::from_be_bytes(take(client)?);
        let length = u32::from_be_bytes(take(client)?) as usize;
        let mut data = vec![0; length.min(LARGEST)];
        client.read_exact(&mut data)?;
        let mut reply = |kind: u32, data: &[u8]| -> io::Result<()> {
            client.write_all(&OPTION_REPLY.to_be_bytes())?;
            client.write_all(&option.to_be_bytes())?;
            client.write_all(&kind.to_be_bytes())?;
            client.write_all(&u32::try_from(data.len()).unwrap_or(0).to_be_bytes())?;
            client.write_all(data)
        };
        match option {
            // NBD_OPT_INFO and NBD_OPT_GO: NBD_INFO_EXPORT, then NBD_REP_ACK.
            6 | 7 => {
                let size = self.size.to_be_bytes();
                reply(3, &[&[0, 0][..], &size, &FLAGS.to_be_bytes()].concat())?;
                reply(1, &[])?;
                Ok(option == 7)
            }
            2 => Err(io::ErrorKind::ConnectionAborted.into()),
            // NBD_REP_ERR_UNSUP.
            _ => reply(0x8000_0001, &[]).map(|()| false),
        }
    }

    fn request(&self, kind: u16, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let faults = self.state().faults;
        if kind == 1 && !faults.delay.is_zero() {
            thread::sleep(faults.delay);
        }
        let mut state = self.state();
        if state.off || (kind == 0 && faults.reads_fail) || (kind != 0 && faults.writes_fail) {
            return Err(io::Error::from_raw_os_error(5));
        }
        match kind {
            0 => {
                self.file.read_exact_at(bytes, offset)?;
                state.cache.iter().for_each(|(at, cached)| overlay(bytes, offset, *at, cached));
                Ok(())
            }
            1 => {
                state.cache.push((offset, bytes.to_vec()));
                Ok(())
            }
            3 => self.flush(&mut state),
            _ => Err(io::Error::from_raw_os_error(22)),
        }
    }

    fn flush(&self, state: &mut State) -> io::Result<()> {
        for (offset, bytes) in std::mem::take(&mut state.cache) {
            self.file.write_all_at(&bytes, offset)?;
        }
        Ok(())
    }
}

/// Copies what `cached` at `at` holds of the bytes from `offset` on.
fn overlay(bytes: &mut [u8], offset: u64, at: u64, cached: &[u8]) {
    let (first, last) =
        (offset.max(at), (offset + bytes.len() as u64).min(at + cached.len() as u64));
    if first < last {
        let index = |of: u64| usize::try_from(of).unwrap_or(usize::MAX);
        bytes[index(first - offset)..index(last - offset)]
            .copy_from_slice(&cached[index(first - at)..index(last - at)]);
    }
}

fn take<const N: usize>(client: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::child::wait_until;

    const BLOCK: usize = 64 * 1024;

    fn disk(folder: &Path) -> (FaultyDisk, PathBuf) {
        let (image, socket) = (folder.join("image"), folder.join("socket"));
        std::fs::write(&image, vec![0; 4 * BLOCK]).expect("an image");
        (FaultyDisk::start(&image, &socket).expect("serves"), image)
    }

    /// QEMU's own client.
    fn client(folder: &Path, commands: &[&str]) -> Command {
        let mut client = Command::new("qemu-io");
        // With a cache, as a machine has it: flushed when it is told to.
        client.args(["-f", "raw", "-t", "writeback"]);
        for command in commands {
            client.args(["-c", command]);
        }
        client.arg(format!("nbd+unix:///?socket={}", folder.join("socket").display()));
        client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        client
    }

    #[test]
    fn what_is_cached_is_read_where_it_overlaps() {
        let mut bytes = [0; 8];
        overlay(&mut bytes, 10, 6, &[1; 6]);
        overlay(&mut bytes, 10, 16, &[2; 6]);
        overlay(&mut bytes, 10, 18, &[3; 6]);
        assert_eq!(bytes, [1, 1, 0, 0, 0, 0, 2, 2]);
    }

    #[test]
    fn what_was_flushed_stands_and_what_was_not_is_torn() {
        let mut torn = 0;
        for seed in 0..8 {
            let folder = tempfile::tempdir().expect("a folder");
            let (disk, image) = disk(folder.path());
            let write = [
                "write -P 7 0 64k",
                "flush",
                "write -P 9 64k 64k",
                "read -P 9 64k 64k",
                "sleep 60000",
            ];
            let mut client = client(folder.path(), &write).spawn().expect("qemu-io");
            // The third write is cached once it was answered.
            wait_until("the writes", Duration::from_secs(60), || {
                disk.shared.state().cache.iter().any(|(offset, _)| *offset == BLOCK as u64)
            })
            .expect("written");
            disk.cut(&mut Dice::new(seed)).expect("a cut");
            client.kill().expect("ends");
            client.wait().expect("ends");
            let bytes = std::fs::read(&image).expect("the image");
            assert!(bytes[..BLOCK].iter().all(|byte| *byte == 7), "flushed");
            let kept = bytes[BLOCK..2 * BLOCK].iter().filter(|byte| **byte == 9).count();
            assert!(kept.is_multiple_of(512) && bytes[2 * BLOCK..].iter().all(|byte| *byte == 0));
            torn += usize::from(kept > 0 && kept < BLOCK);
        }
        assert!(torn > 0, "no write was torn");
    }

    #[test]
    fn it_fails_when_it_is_told_to_and_works_again_and_keeps_what_it_has_in_peace() {
        let folder = tempfile::tempdir().expect("a folder");
        let (disk, image) = disk(folder.path());
        let run = |command| client(folder.path(), &[command]).status().expect("qemu-io").success();
        disk.misbehave(Faults { writes_fail: true, ..Faults::default() });
        assert!(!run("write -P 3 0 4k"));
        disk.misbehave(Faults { reads_fail: true, ..Faults::default() });
        assert!(!run("read 0 4k"));
        disk.misbehave(Faults::default());
        assert!(run("write -P 3 0 4k") && run("read -P 3 0 4k"));
        drop(disk);
        assert_eq!(std::fs::read(image).expect("the image")[..4096], [3; 4096]);
    }
}
