//! The memory of this process.

/// Resident memory in pages.
pub(crate) fn resident() -> usize {
    let sizes = std::fs::read_to_string("/proc/self/statm").expect("a file of procfs");
    sizes.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number")
}
