//! The way to a file that the configuration names, for a process that may write everywhere and must not be led astray.
//!
//! Whoever may write to a folder can put a link into it. So links count only in folders that are root's, or this process' user's, and
//! that nobody else may write to. The way is gone folder by folder, each opened before the next is looked for: nothing that is renamed
//! or replaced meanwhile changes where it ends.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// As the kernel: more links than this lead in a circle.
const MOST_LINKS: usize = 40;

/// Enough for any link's target.
const LONGEST_TARGET: usize = libc::PATH_MAX as usize;

/// Why the way does not end at a file.
pub(crate) enum PathError {
    /// The kernel says so.
    Os(io::Error),
    /// This link may be another user's.
    Link(PathBuf),
    /// There is something else.
    NotRegular,
}

/// The end of the way: a name in an open folder, and whether a file has it.
pub(crate) struct ResolvedPath {
    folder: File,
    name: CString,
    exists: bool,
}

impl From<io::Error> for PathError {
    fn from(error: io::Error) -> Self {
        Self::Os(error)
    }
}

/// Goes the way. It ends at a regular file, or where there could be one.
pub(crate) fn resolve(path: &Path) -> Result<ResolvedPath, PathError> {
    let mut way: VecDeque<OsString> = names(path);
    let mut folder = begin(path)?;
    let mut links = 0;
    while let Some(name) = way.pop_front() {
        let c_name = CString::new(name.as_bytes()).map_err(io::Error::from)?;
        let found = match open(&folder, &c_name, libc::O_PATH | libc::O_NOFOLLOW) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && way.is_empty() => {
                return Ok(ResolvedPath { folder, name: c_name, exists: false });
            }
            found => found?,
        };
        let metadata = found.metadata()?;
        if metadata.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP).into());
            }
            if !is_private(&folder.metadata()?) {
                return Err(PathError::Link(PathBuf::from(name)));
            }
            let target = target(&found)?;
            for name in names(&target).into_iter().rev() {
                way.push_front(name);
            }
            if target.is_absolute() {
                folder = begin(&target)?;
            }
        } else if !way.is_empty() || metadata.is_dir() {
            folder = found;
        } else if metadata.is_file() {
            return Ok(ResolvedPath { folder, name: c_name, exists: true });
        } else {
            return Err(PathError::NotRegular);
        }
    }
    Err(io::Error::from_raw_os_error(libc::EISDIR).into())
}

impl ResolvedPath {
    /// Does a file have the name?
    pub(crate) fn exists(&self) -> bool {
        self.exists
    }

    /// Opens the file for reading and writing, or makes it for this user alone.
    pub(crate) fn open(&self) -> Result<File, PathError> {
        let make = if self.exists { 0 } else { libc::O_CREAT | libc::O_EXCL };
        // Should it be a pipe or a terminal by now, that does no harm.
        let file =
            open(&self.folder, &self.name, libc::O_RDWR | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | make)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(PathError::NotRegular);
        }
        // Another name of another user's file is as good as a link.
        if metadata.nlink() > 1 && !is_private(&self.folder.metadata()?) {
            return Err(PathError::Link(PathBuf::from(OsStr::from_bytes(self.name.as_bytes()))));
        }
        Ok(file)
    }
}

/// May only root and this process' user write there?
fn is_private(folder: &Metadata) -> bool {
    // SAFETY: only asks.
    let user = unsafe { libc::geteuid() };
    (folder.uid() == 0 || folder.uid() == user) && folder.mode() & 0o022 == 0
}

/// The folder from which a path is gone.
fn begin(path: &Path) -> io::Result<File> {
    let name = if path.is_absolute() { c"/" } else { c"." };
    open_at(libc::AT_FDCWD, name, libc::O_PATH)
}

fn names(path: &Path) -> VecDeque<OsString> {
    let is_step = |component: &Component<'_>| matches!(component, Component::Normal(_) | Component::ParentDir);
    path.components().filter(is_step).map(|component| component.as_os_str().to_owned()).collect()
}

fn open(folder: &File, name: &CStr, flags: libc::c_int) -> io::Result<File> {
    open_at(folder.as_raw_fd(), name, flags)
}

fn open_at(folder: libc::c_int, name: &CStr, flags: libc::c_int) -> io::Result<File> {
    const MODE: libc::c_uint = 0o600;
    // SAFETY: an open folder, or the current one, and a name that ends with a zero byte.
    let descriptor = unsafe { libc::openat(folder, name.as_ptr(), flags | libc::O_CLOEXEC, MODE) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed it out.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    Ok(File::from(descriptor))
}

/// Where an open link leads.
fn target(link: &File) -> io::Result<PathBuf> {
    let mut target = vec![0_u8; LONGEST_TARGET];
    let (buffer, room) = (target.as_mut_ptr(), target.len());
    // SAFETY: an open link, which the empty name stands for, and a buffer with this much room.
    let length = unsafe { libc::readlinkat(link.as_raw_fd(), c"".as_ptr(), buffer.cast(), room) };
    target.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    Ok(PathBuf::from(OsString::from_vec(target)))
}
