//! The state file: two records, written in turn. Each is complete by itself, so one is whole whatever happens to the
//! other.
//!
//! There is no temporary file with `fsync` and `rename`, because worker processes usually may not write in the file's
//! directory. They write in place to a file that the master opened for them. Its disk space is allocated when it is
//! opened, so a disk that fills up later does no harm.
//!
//! A record may begin at any page: a file that grew still has its newest record where the smaller file had it.

use std::str;

/// A record begins at a multiple of this many bytes.
pub const PAGE: usize = 4096;

/// Bytes of the smallest half. Halves only double, so that an old record never lies across the middle of a grown file.
const LEAST_HALF: usize = 64 * 1024;

/// Bytes of the smallest file.
pub const SMALLEST: usize = 2 * LEAST_HALF;

/// Bytes that one upstream takes at most.
pub const UPSTREAM: usize = 64 * 1024;
/// Bytes that everything else takes at most.
const REST: usize = 64 * 1024;

/// Bytes of the largest file; a larger one was not made by Poolwatch.
pub const LARGEST: usize = 64 * 1024 * 1024;

/// The zero byte occurs in no text, so no record is ever found within another one.
const MAGIC: [u8; 8] = *b"poolwst\0";

/// Rises when an older module would misread the text.
const FORMAT: u32 = 1;

/// Bytes that the checksum covers besides the text: magic, format, length of the text, sequence.
const CHECKED: usize = 24;
/// Bytes before the text: the checked ones, then the checksum.
const HEADER: usize = CHECKED + 4;

/// What a file contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// The file has no bytes. A file of zeroes is not empty: it may belong to another program.
    Empty,
    /// The newest whole record.
    FileRecord(FileRecord<'a>),
    /// Records of Poolwatch, none of which is whole and of a known format.
    Useless,
    /// Something else. The file must not be written to.
    Foreign,
}

/// A whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRecord<'a> {
    /// Rises with each record.
    pub sequence: u64,
    /// Where the record begins in the file, in bytes.
    pub offset: usize,
    /// The text of the record.
    pub text: &'a str,
}

/// The length in bytes of a file for this many upstreams.
pub fn file_size(upstreams: usize) -> usize {
    (upstreams * UPSTREAM + REST).next_power_of_two().max(LEAST_HALF) * 2
}

/// The bytes of a record.
pub fn encode(sequence: u64, text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + text.len());
    bytes.extend(MAGIC);
    bytes.extend(FORMAT.to_le_bytes());
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(checksum(&bytes, text.as_bytes()).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

/// Where the next record begins in a file of this size, if the newest one begins at `newest`, and how many bytes fit
/// there.
pub fn next_place(file_size: usize, newest: Option<usize>) -> (usize, usize) {
    let half = file_size / 2;
    let begin = if newest.is_some_and(|newest| newest < half) { half } else { 0 };
    (begin, half)
}

/// Finds the newest whole record.
pub fn find(file: &[u8]) -> Found<'_> {
    let (mut newest, mut ours): (Option<FileRecord<'_>>, bool) = (None, false);
    for offset in (0..file.len()).step_by(PAGE) {
        let bytes = &file[offset..];
        if !bytes.starts_with(&MAGIC) {
            continue;
        }
        ours = true;
        let Some((sequence, text)) = decode(bytes) else { continue };
        if newest.is_none_or(|newest| newest.sequence < sequence) {
            newest = Some(FileRecord { sequence, offset, text });
        }
    }
    match newest {
        Some(record) => Found::FileRecord(record),
        None if ours => Found::Useless,
        None if file.is_empty() => Found::Empty,
        None => Found::Foreign,
    }
}

fn decode(bytes: &[u8]) -> Option<(u64, &str)> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let (checked, sum) = header.split_at_checked(CHECKED)?;
    let format = u32::from_le_bytes(checked.get(8..12)?.try_into().ok()?);
    let length = u32::from_le_bytes(checked.get(12..16)?.try_into().ok()?);
    let sequence = u64::from_le_bytes(checked.get(16..24)?.try_into().ok()?);
    let text = rest.get(..usize::try_from(length).ok()?)?;
    let whole = checksum(checked, text).to_le_bytes() == sum && format == FORMAT;
    str::from_utf8(text).ok().filter(|_| whole).map(|text| (sequence, text))
}

fn checksum(header: &[u8], text: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(header);
    sum.update(text);
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(file: &mut [u8], sequence: u64, text: &str) {
        let newest = match find(file) {
            Found::FileRecord(record) => Some(record.offset),
            _ => None,
        };
        let (begin, room) = next_place(file.len(), newest);
        let record = encode(sequence, text);
        assert!(record.len() <= room);
        file[begin..begin + record.len()].copy_from_slice(&record);
    }

    /// A file with an older record and a newer one.
    fn two() -> Vec<u8> {
        let mut file = vec![0; SMALLEST];
        write(&mut file, 1, "older");
        write(&mut file, 2, "newer");
        file
    }

    fn text(file: &[u8]) -> Option<&str> {
        match find(file) {
            Found::FileRecord(record) => Some(record.text),
            _ => None,
        }
    }

    #[test]
    fn the_newest_record_is_found_and_the_older_one_is_written_over() {
        let mut file = two();
        assert_eq!(text(&file), Some("newer"));
        for sequence in 3..10 {
            let said = format!("number {sequence}");
            write(&mut file, sequence, &said);
            assert_eq!(text(&file), Some(said.as_str()));
        }
    }

    #[test]
    fn a_file_that_grows_keeps_its_newest_record_until_the_next_is_whole() {
        let mut file = two();
        file.resize(4 * SMALLEST, 0);
        assert_eq!(text(&file), Some("newer"));
        let Found::FileRecord(newest) = find(&file) else { panic!("a record") };
        let (begin, room) = next_place(file.len(), Some(newest.offset));
        assert!(begin > newest.offset || begin + room <= newest.offset, "the newest record would be written over");
        write(&mut file, 3, "newest");
        assert_eq!(text(&file), Some("newest"));
    }

    #[test]
    fn what_is_neither_empty_nor_marked_as_ours_is_somebody_elses() {
        assert_eq!(find(&[]), Found::Empty);
        assert_eq!(find(&vec![0; SMALLEST]), Found::Foreign, "a disk image, say");
        assert_eq!(find(b"root:x:0:0:root:/root:/bin/bash\n"), Found::Foreign);
        assert_eq!(find(&encode(1, "half")[..HEADER + 2]), Found::Useless);
    }

    #[test]
    fn a_record_of_a_newer_format_is_left_to_the_newer_module() {
        let mut file = two();
        for begin in [0, LEAST_HALF] {
            let newer = FORMAT + 1;
            file[begin + 8..begin + 12].copy_from_slice(&newer.to_le_bytes());
            let length = "older".len();
            let sum = checksum(&file[begin..begin + CHECKED], &file[begin + HEADER..begin + HEADER + length]);
            file[begin + CHECKED..begin + HEADER].copy_from_slice(&sum.to_le_bytes());
        }
        assert_eq!(find(&file), Found::Useless);
    }

    #[test]
    fn any_flipped_bit_leaves_the_other_record() {
        let whole = two();
        for begin in [0, LEAST_HALF] {
            for bit in 0..(HEADER + "newer".len()) * 8 {
                let mut file = whole.clone();
                file[begin + bit / 8] ^= 1 << (bit % 8);
                let expected = if begin == 0 { "newer" } else { "older" };
                assert_eq!(text(&file), Some(expected), "bit {bit} of the record at {begin}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_truncation_leaves_a_whole_record_or_none(length in 0..SMALLEST) {
            let mut file = two();
            file.truncate(length);
            prop_assert!(matches!(text(&file), None | Some("older" | "newer")));
        }

        #[test]
        fn no_bytes_are_misread(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..2_usize) {
            let mut file = vec![0; SMALLEST];
            write(&mut file, 7, "sound");
            let begin = at * LEAST_HALF;
            file[begin..begin + bytes.len()].copy_from_slice(&bytes);
            prop_assert!(matches!(text(&file), None | Some("sound")));
        }
    }
}
