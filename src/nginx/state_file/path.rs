//! Resolves a path of the configuration for a process that may write everywhere, without following a stranger's link.
//!
//! A user who may write to a folder can put a link into it. So a link is followed only in a folder that belongs to root
//! or to this process' user, and that no other user may write to. The path is resolved folder by folder, and each
//! folder is opened before the next name is looked up: renaming or replacing a folder meanwhile does not change the
//! result.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The most links that are followed, as in the kernel.
const MOST_LINKS: usize = 40;

/// Bytes of a buffer for any link's target.
const LONGEST_TARGET: usize = libc::PATH_MAX as usize;

/// Why a path does not lead to a file.
pub(crate) enum PathError {
    /// A call failed.
    Os(io::Error),
    /// This link may have been made by another user.
    Link(PathBuf),
    /// It leads to something that is no regular file.
    NotRegular,
}

/// A resolved path: a name in an open folder, and whether a file has this name.
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

/// Resolves a path to a regular file, or to a name in an existing folder that no file has.
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
    /// Does the file exist?
    pub(crate) fn exists(&self) -> bool {
        self.exists
    }

    /// Opens the file for reading and writing; if it does not exist, makes it, readable and writable only for this
    /// user.
    pub(crate) fn open(&self) -> Result<File, PathError> {
        let make = if self.exists { 0 } else { libc::O_CREAT | libc::O_EXCL };
        // These flags make it harmless if the file was replaced by a pipe or a terminal.
        let file =
            open(&self.folder, &self.name, libc::O_RDWR | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | make)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(PathError::NotRegular);
        }
        // A hard link to another user's file is as dangerous as a symbolic link.
        if metadata.nlink() > 1 && !is_private(&self.folder.metadata()?) {
            return Err(PathError::Link(PathBuf::from(OsStr::from_bytes(self.name.as_bytes()))));
        }
        Ok(file)
    }
}

/// May only root and this process' user write to this folder?
fn is_private(folder: &Metadata) -> bool {
    // SAFETY: the call has no arguments and cannot fail.
    let user = unsafe { libc::geteuid() };
    (folder.uid() == 0 || folder.uid() == user) && folder.mode() & 0o022 == 0
}

/// The folder in which a path begins.
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
    // SAFETY: the kernel has just opened it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    Ok(File::from(descriptor))
}

/// The target of an open link.
fn target(link: &File) -> io::Result<PathBuf> {
    let mut target = vec![0_u8; LONGEST_TARGET];
    let (buffer, room) = (target.as_mut_ptr(), target.len());
    // SAFETY: an open link, which the empty name stands for, and a buffer with this much room.
    let length = unsafe { libc::readlinkat(link.as_raw_fd(), c"".as_ptr(), buffer.cast(), room) };
    target.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    Ok(PathBuf::from(OsString::from_vec(target)))
}
