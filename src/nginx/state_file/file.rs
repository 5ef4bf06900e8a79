//! The state file and the lock on it. The master opens the file, since workers usually may not, and they inherit it.
//!
//! Only a file that is empty or was made by Poolwatch is written to. The lock is a POSIX record lock: it belongs to a
//! process, and the kernel releases it when the process ends, for whatever reason.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::path::{self, PathError};
use crate::crash;
use crate::persist::record::{self, Found};
use crate::text;

/// An open state file.
pub(crate) struct StateFile {
    path: PathBuf,
    file: File,
}

/// The record in a new file: no state.
const NOTHING: &str = "{}";

/// The process that has the lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Its number.
    Process(u32),
    /// It cannot be seen from here: it is in another container, for example.
    Unseen,
}

/// Why a path cannot be used for a state file.
pub(crate) struct StateFileError {
    /// The message, in nginx's form.
    pub(crate) text: String,
    /// The path may be right, but the file cannot be written now: a warning, not an error of the configuration.
    pub(crate) is_temporary: bool,
}

impl StateFile {
    /// Opens the file; if there is none and `make` is set, makes it. `Ok(None)`: there is none, and it could be made.
    pub(crate) fn open(path: &Path, make: bool) -> Result<Option<Self>, StateFileError> {
        let failed = |error: PathError| StateFileError::new(path, &error);
        let resolved = path::resolve(path).map_err(failed)?;
        if !resolved.exists() && !make {
            return Ok(None);
        }
        let file = Self { path: path.to_owned(), file: resolved.open().map_err(failed)? };
        let bytes = file.read().map_err(|error| failed(error.into()))?;
        if record::find(&bytes) == Found::Foreign {
            let text = format!("\"{}\" is not empty and no state file of Poolwatch, it is left alone", path.display());
            return Err(StateFileError { text, is_temporary: false });
        }
        Ok(Some(file))
    }

    /// The message about a failed call, in nginx's form.
    pub(crate) fn failed(&self, call: &str, error: &io::Error) -> String {
        failed(call, &self.path, error)
    }

    /// The file's path, for messages.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Marks an empty file as Poolwatch's, and allocates space for this many upstreams. `Err`: the message, in nginx's
    /// form.
    pub(crate) fn reserve(&self, upstreams: usize) -> Result<(), String> {
        let is_empty = self.size().map_err(|error| self.failed("fstat", &error))? == 0;
        if is_empty {
            // Synced before the file grows: after a crash it is recognised as Poolwatch's.
            let marked = self.file.write_all_at(&record::encode(0, NOTHING), 0).and_then(|()| self.sync());
            marked.map_err(|error| self.failed("write", &error))?;
        }
        self.grow(record::file_size(upstreams)).map_err(|error| self.failed("posix_fallocate", &error))
    }

    fn grow(&self, size: usize) -> io::Result<()> {
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

    /// The file's content, at most one byte more than the largest file of Poolwatch.
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

    /// Writes a text as the newest record, without touching the record before it. `wall` is the time, in milliseconds
    /// since 1970. Writes nothing if the file has no space, which `reserve` has reported.
    pub(crate) fn write(&self, text: &str, wall: u64) -> io::Result<()> {
        let bytes = self.read()?;
        if bytes.len() < record::SMALLEST {
            return Ok(());
        }
        let newest = match record::find(&bytes) {
            Found::FileRecord(newest) => Some(newest),
            Found::Useless => None,
            // Another program has written to it since it was opened.
            Found::Empty | Found::Foreign => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        };
        let (begin, room) = record::next_place(bytes.len(), newest.map(|newest| newest.offset));
        // Also greater than the number of a newer module's record, which this one may be unable to read.
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

    /// Waits until written data is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Takes the lock, and waits for it without a limit. `Err`: the file system has no locks.
    pub(crate) fn lock(&self) -> io::Result<()> {
        self.lock_by(libc::F_SETLKW)
    }

    /// Takes the lock if it is free. `Err`: another process has it, or the file system has no locks.
    pub(crate) fn try_lock(&self) -> io::Result<()> {
        self.lock_by(libc::F_SETLK)
    }

    fn lock_by(&self, command: libc::c_int) -> io::Result<()> {
        loop {
            match self.fcntl(command, libc::F_WRLCK) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                taken => return taken.map(|_| ()),
            }
        }
    }

    /// The process that has the lock; `None`: it is free, or this process has it.
    pub(crate) fn holder(&self) -> Option<Holder> {
        let found = self.fcntl(libc::F_GETLK, libc::F_WRLCK).ok()?;
        let process = u32::try_from(found.l_pid).ok().filter(|&process| process > 0);
        (libc::c_int::from(found.l_type) != libc::F_UNLCK).then_some(process.map_or(Holder::Unseen, Holder::Process))
    }

    /// Releases the lock.
    pub(crate) fn unlock(&self) {
        // If this fails, the kernel releases it when the process ends.
        let _ = self.fcntl(libc::F_SETLK, libc::F_UNLCK);
    }

    fn fcntl(&self, command: libc::c_int, kind: libc::c_int) -> io::Result<libc::flock> {
        let mut whole_file = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        // SAFETY: an open descriptor and a description of a lock that outlives the call.
        let result = unsafe { libc::fcntl(self.file.as_raw_fd(), command, &raw mut whole_file) };
        if result == 0 { Ok(whole_file) } else { Err(io::Error::last_os_error()) }
    }

    fn size(&self) -> io::Result<usize> {
        Ok(usize::try_from(self.file.metadata()?.len()).unwrap_or(usize::MAX))
    }
}

/// `open() "x" failed (2: No such file or directory)`
fn failed(call: &str, path: &Path, error: &io::Error) -> String {
    format!("{call}() \"{}\" failed ({})", path.display(), text::os_error(error))
}

impl StateFileError {
    fn new(path: &Path, error: &PathError) -> Self {
        let shown = path.display();
        let text = match error {
            PathError::Os(error) => failed("open", path, error),
            PathError::NotRegular => format!("\"{shown}\" is not a regular file"),
            PathError::Link(name) => {
                let name = name.display();
                format!("\"{shown}\" is not opened, \"{name}\" is a link in a folder that others may write to")
            }
        };
        let is_temporary = |error: &io::Error| {
            matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied | ErrorKind::StorageFull)
        };
        Self { text, is_temporary: matches!(error, PathError::Os(error) if is_temporary(error)) }
    }
}
