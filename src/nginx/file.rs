//! The state file and the lock on it: opened by the master, which may, and inherited by its workers, which as a rule may not.
//!
//! The lock is a record lock: it belongs to one process, and the kernel takes it away when that ends, however it ends.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::crash;
use crate::state::record::{self, Found};

/// An open state file.
pub(crate) struct StateFile {
    path: PathBuf,
    file: File,
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Wait for it, for as long as it takes.
    Wait,
    /// Take it if it is free.
    IfFree,
}

impl StateFile {
    /// Opens the file, and makes it if there is none; a test of the configuration makes none. `Ok(None)`: there is none, and might be.
    pub(crate) fn open(path: &Path, make: bool) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(make).mode(0o600);
        let file = match options.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && !make => {
                let folder = path.parent().ok_or(error)?;
                return folder.metadata().map(|_| None);
            }
            Err(error) => return Err(error),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(Some(Self { path: path.to_owned(), file }))
    }

    /// What went wrong with it, in nginx's words.
    pub(crate) fn failed(&self, call: &str, error: &io::Error) -> String {
        failed(call, &self.path, error)
    }

    /// Its name, for messages.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Sets space aside for so many upstreams, unless the file is not ours.
    pub(crate) fn reserve(&self, upstreams: usize) -> io::Result<()> {
        let size = record::file_size(upstreams);
        if self.size()? >= size {
            return Ok(());
        }
        let size = libc::off_t::try_from(size).unwrap_or(libc::off_t::MAX);
        // SAFETY: an open descriptor; the call returns its error.
        match unsafe { libc::posix_fallocate(self.file.as_raw_fd(), 0, size) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Everything in it.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.size()?.min(record::LARGEST + 1)];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Writes a text as the newest record, and leaves the one before it whole. Without any room it writes nothing.
    pub(crate) fn write(&self, text: &str, wall: u64) -> io::Result<()> {
        let bytes = self.read()?;
        if bytes.is_empty() {
            // No space could be set aside for it, which was said then.
            return Ok(());
        }
        let newest = match record::find(&bytes) {
            Found::Record(newest) => Some(newest),
            Found::Blank | Found::Useless => None,
            Found::Foreign => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        };
        let (begin, room) = record::next_place(bytes.len(), newest.map(|newest| newest.offset));
        // Above whatever a newer module wrote that this one cannot read.
        let sequence = newest.map_or(0, |newest| newest.sequence + 1).max(wall);
        let record = record::encode(sequence, text);
        if record.len() > room {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        let (first, rest) = record.split_at(record.len() / 2);
        self.file.write_all_at(first, begin as u64)?;
        crash::at("record-half-written");
        self.file.write_all_at(rest, (begin + first.len()) as u64)
    }

    /// Waits until what was written is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Takes the lock. It fails when another process has it, or when there are none on this file system.
    pub(crate) fn lock(&self, turn: Turn) -> io::Result<()> {
        let command = if turn == Turn::Wait { libc::F_SETLKW } else { libc::F_SETLK };
        loop {
            match self.fcntl(command, libc::F_WRLCK) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                taken => return taken,
            }
        }
    }

    /// Gives the lock back.
    pub(crate) fn unlock(&self) {
        // What cannot be given back ends with the process.
        let _ = self.fcntl(libc::F_SETLK, libc::F_UNLCK);
    }

    fn fcntl(&self, command: libc::c_int, kind: libc::c_int) -> io::Result<()> {
        let whole_file = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        // SAFETY: an open descriptor and a description of a lock that outlives the call.
        let result = unsafe { libc::fcntl(self.file.as_raw_fd(), command, &raw const whole_file) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn size(&self) -> io::Result<usize> {
        Ok(usize::try_from(self.file.metadata()?.len()).unwrap_or(usize::MAX))
    }
}

/// `open() "x" failed (2: No such file or directory)`
pub(crate) fn failed(call: &str, path: &Path, error: &io::Error) -> String {
    let code = error.raw_os_error().unwrap_or_default();
    let text = error.to_string();
    let text = text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text);
    format!("{call}() \"{}\" failed ({code}: {text})", path.display())
}
