//! The state file and the lock on it: opened by the master, which may, and inherited by its workers, which as a rule may not.
//!
//! Only a file that is empty, or was made here, is ever written to. The lock is a record lock: it belongs to one process, and the
//! kernel takes it away when that ends, however it ends.

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

/// The text of a file that nothing was written to yet.
const NOTHING: &str = "{}";

/// Who has the lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The process of this number.
    Process(u32),
    /// One that this process cannot see, as in another container.
    Unseen,
}

/// Why a path cannot be a state file's.
pub(crate) struct StateFileError {
    /// In nginx's words.
    pub(crate) text: String,
    /// The path may be right, but nothing can be kept there now.
    pub(crate) is_temporary: bool,
}

impl StateFile {
    /// Opens the file, and makes it if there is none; a test of the configuration makes none. `Ok(None)`: there is none, and might be.
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

    /// What went wrong with it, in nginx's words.
    pub(crate) fn failed(&self, call: &str, error: &io::Error) -> String {
        failed(call, &self.path, error)
    }

    /// Its name, for messages.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Makes an empty file ours, and sets space aside in it for so many upstreams. What went wrong is told in nginx's words.
    pub(crate) fn reserve(&self, upstreams: usize) -> Result<(), String> {
        let is_empty = self.size().map_err(|error| self.failed("fstat", &error))? == 0;
        if is_empty {
            // On the disk before the file grows: whatever happens next, it is known again as ours.
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
        if bytes.len() < record::SMALLEST {
            // No space could be set aside for it, which was said then.
            return Ok(());
        }
        let newest = match record::find(&bytes) {
            Found::Record(newest) => Some(newest),
            Found::Useless => None,
            // Somebody has written to it since it was opened.
            Found::Empty | Found::Foreign => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
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

    /// Takes the lock, and waits for it for as long as another process has it. It fails when there are none on this file system.
    pub(crate) fn lock(&self) -> io::Result<()> {
        self.lock_by(libc::F_SETLKW)
    }

    /// Takes the lock. It fails when another process has it, too.
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

    /// The process that has the lock; `None`: nobody has it.
    pub(crate) fn holder(&self) -> Option<Holder> {
        let found = self.fcntl(libc::F_GETLK, libc::F_WRLCK).ok()?;
        let process = u32::try_from(found.l_pid).ok().filter(|&process| process > 0);
        (libc::c_int::from(found.l_type) != libc::F_UNLCK).then_some(process.map_or(Holder::Unseen, Holder::Process))
    }

    /// Gives the lock back.
    pub(crate) fn unlock(&self) {
        // What cannot be given back ends with the process.
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
