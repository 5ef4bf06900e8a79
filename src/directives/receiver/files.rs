//! The files that a `poolwatch_receiver` line names: its URL, and its certificates.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::text;

/// The largest file that is read, in bytes. A larger one holds no URL, and no sensible list of certificates.
const MAX_FILE: u64 = 1024 * 1024;

/// A PEM file.
///
/// # Errors
/// The phrase for why it cannot be read, or that it has no certificate.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<u8>, String> {
    let pem = read_file(path)?;
    let is_certificate = |item| matches!(item, Ok(ureq::tls::PemItem::Certificate(_)));
    if ureq::tls::parse_pem(&pem).any(is_certificate) {
        Ok(pem)
    } else {
        Err(format!("no certificate in \"{}\"", path.display()))
    }
}

/// All bytes of a file: 1 byte to [`MAX_FILE`].
///
/// # Errors
/// The phrase for why it cannot be read. What is not a regular file is not opened: a pipe could block nginx's start.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let metadata =
        path.metadata().map_err(|error| format!("stat() \"{shown}\" failed ({})", text::os_error(&error)))?;
    if !metadata.is_file() {
        return Err(format!("\"{shown}\" is not a regular file"));
    }
    let file = File::open(path).map_err(|error| format!("open() \"{shown}\" failed ({})", text::os_error(&error)))?;
    let mut content = Vec::new();
    let read = file.take(MAX_FILE + 1).read_to_end(&mut content);
    read.map_err(|error| format!("read() \"{shown}\" failed ({})", text::os_error(&error)))?;
    match content.len() as u64 {
        0 => Err(format!("\"{shown}\" is empty")),
        1..=MAX_FILE => Ok(content),
        _ => Err(format!("\"{shown}\" is too large")),
    }
}

/// Whether every user of the machine can read the file, and enter all folders above it.
pub(super) fn is_open_to_all(path: &Path) -> bool {
    let allows = |path: &Path, bit| path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & bit != 0);
    allows(path, 0o004) && path.ancestors().skip(1).all(|folder| allows(folder, 0o001))
}
