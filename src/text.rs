//! Owned text of bounded length: text from outside fits in a fixed amount of memory, and is made safe before a person
//! or Slack sees it.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// Stands in place of what was cut off.
const ELLIPSIS: &str = "…";

/// An unbroken run of token characters (`A-Z a-z 0-9 _ -`) with this many bytes or more is taken for a token, not for a
/// word.
const SECRET: usize = 32;

/// So are two runs of this many bytes or more, joined by dots, that each hold letters and digits.
const HALF_SECRET: usize = SECRET / 2;

/// Every JSON object in base64url begins with these bytes, and so do the parts of a JSON Web Token.
const JSON: &[u8] = b"eyJ";

/// A run that has fewer bytes from these on is taken for a word.
const SHORTEST_JSON: usize = 10;

/// Text of at most `N` bytes (`N` ≤ 65 535), stored in place: plain data that may live in shared memory. Longer input
/// is cut. The bytes are raw: any byte may occur until [`clean`] makes the text readable.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Text<const N: usize> {
    len: u16,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// The text of 0 bytes.
    pub const EMPTY: Self = Self { len: 0, bytes: [0; N] };

    /// The first `N` bytes of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut text = Self::EMPTY;
        text.push(bytes);
        text
    }

    /// The part of `bytes` that a text of this size keeps: the first `N` bytes.
    pub fn kept(bytes: &[u8]) -> &[u8] {
        &bytes[..bytes.len().min(N)]
    }

    /// Appends as many bytes of `bytes` as there is room for.
    pub fn push(&mut self, bytes: &[u8]) {
        let used = self.as_bytes().len();
        let taken = bytes.len().min(N - used);
        self.bytes[used..used + taken].copy_from_slice(&bytes[..taken]);
        self.len = (used + taken) as u16;
    }

    /// The text, or its beginning with an ellipsis if it is longer than `N` bytes.
    pub fn shortened(bytes: &[u8]) -> Self {
        if bytes.len() <= N {
            return Self::new(bytes);
        }
        let mut text = Self::new(&bytes[..N.saturating_sub(ELLIPSIS.len())]);
        text.push(ELLIPSIS.as_bytes());
        text
    }

    /// The bytes of the text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len).min(N)]
    }

    /// Does the text have 0 bytes?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// Are the two slices equal? The same as `==`, without a function call.
#[expect(clippy::inline_always, reason = "a call would cost more")]
#[inline(always)]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    // For 4 to 16 bytes, the first and the last chunk, which may overlap, cover the whole slice.
    match one.len() {
        ..4 => one.iter().eq(other),
        4..8 => one.first_chunk::<4>() == other.first_chunk() && one.last_chunk::<4>() == other.last_chunk(),
        8..=16 => one.first_chunk::<8>() == other.first_chunk() && one.last_chunk::<8>() == other.last_chunk(),
        _ => {
            let (mut one, mut other) = (one, other);
            while let (Some((eight, rest)), Some((other_eight, other_rest))) =
                (one.split_first_chunk::<8>(), other.split_first_chunk())
            {
                if eight != other_eight {
                    return false;
                }
                (one, other) = (rest, other_rest);
            }
            one.iter().eq(other)
        }
    }
}

/// The name of an upstream, a pool or a receiver.
pub type Name = Text<64>;

/// Makes foreign bytes safe for a person to read, in at most `budget` bytes. Invalid UTF-8 and ASCII control characters
/// are spelled `\xNN`; other control characters, and characters that hide or reorder others, are spelled `\u{..}`. A
/// text that does not fit is cut after a whole unit and ends with `…`; with a budget below 3 bytes, the length of `…`,
/// it becomes empty.
pub fn clean(bytes: &[u8], budget: usize) -> String {
    fit(units(bytes), budget)
}

/// As [`clean`], with Slack's three entities (`&amp;`, `&lt;`, `&gt;`), which count with their full length and are
/// never cut.
pub fn escaped(bytes: &[u8], budget: usize) -> String {
    fit(units(bytes).map(entity), budget)
}

/// As [`escaped`], for Slack's code spans and blocks: a backtick would end them, so it becomes the similar U+02CB.
pub fn escaped_code(bytes: &[u8], budget: usize) -> String {
    fit(units(bytes).map(|unit| if unit == "`" { "ˋ".into() } else { entity(unit) }), budget)
}

/// The text in ASCII: every other character is spelled `\u{..}`.
pub fn ascii(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii() { letter.to_string() } else { spelled(letter) }).collect()
}

/// An error of the operating system as nginx writes it: `2: No such file or directory`.
pub fn os_error(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => format!("{number}: {}", text.split(" (os error").next().unwrap_or_default()),
        None => text,
    }
}

/// A request target as it may be shown: readable, without query and userinfo, and with `[…]` for a segment that looks
/// like a token or holds a mail address. Percent-encoding stays as the client sent it: decoded bytes could mean
/// something else.
pub fn path_without_secrets(target: &[u8]) -> String {
    let end = target.iter().position(|byte| b"?#".contains(byte));
    let (path, rest) = target.split_at(end.unwrap_or(target.len()));
    let mut shown = Vec::with_capacity(path.len());
    let mut before: [&[u8]; 2] = [b""; 2];
    for (index, segment) in path.split(|&byte| byte == b'/').enumerate() {
        // `scheme:`, an empty segment, an authority: at the start in an absolute form, or anywhere in a URL passed to a
        // proxy.
        let is_authority = before[0].ends_with(b":") && before[1].is_empty();
        before = [before[1], segment];
        if index > 0 {
            shown.push(b'/');
        }
        let public = if is_authority { without_userinfo(segment) } else { segment };
        shown.extend_from_slice(if looks_secret(public) { "[…]".as_bytes() } else { public });
    }
    if let Some(delimiter) = rest.first() {
        shown.push(*delimiter);
        shown.extend_from_slice(ELLIPSIS.as_bytes());
    }
    clean(&shown, usize::MAX)
}

fn without_userinfo(authority: &[u8]) -> &[u8] {
    authority.rsplit(|&byte| byte == b'@').next().unwrap_or_default()
}

fn looks_secret(segment: &[u8]) -> bool {
    let segment = decoded(segment);
    has_token(&segment) || has_address(&segment)
}

/// A segment with its percent-encoding removed, repeatedly, because an application may decode it more than once.
fn decoded(segment: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(segment.len());
    for &byte in segment {
        decoded.push(byte);
        // A decoded byte may complete another triplet.
        while let Some(&[b'%', high, low]) = decoded.last_chunk::<3>() {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            let (Some(high), Some(low)) = (digit(high), digit(low)) else { break };
            decoded.truncate(decoded.len() - 3);
            decoded.push((high * 16 + low) as u8);
        }
    }
    decoded
}

fn has_token(segment: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let is_json = |run: &[u8]| {
        let begins = |at: usize| at.checked_sub(1).and_then(|at| run.get(at)).is_none_or(|byte| b"_-".contains(byte));
        (0..run.len()).any(|at| run[at..].starts_with(JSON) && run.len() - at >= SHORTEST_JSON && begins(at))
    };
    let is_half = |run: &[u8]| {
        run.len() >= HALF_SECRET && run.iter().any(u8::is_ascii_digit) && run.iter().any(u8::is_ascii_alphabetic)
    };
    segment.split(|byte| !is_token(byte) && *byte != b'.').any(|dotted| {
        let runs = || dotted.split(|&byte| byte == b'.');
        runs().any(|run| run.len() >= SECRET || is_json(run)) || runs().filter(|run| is_half(run)).count() > 1
    })
}

/// Is there `someone@example.org`, and not only a version or a size (`pkg@1.2.3.tgz`, `logo@2x.png`)?
fn has_address(segment: &[u8]) -> bool {
    let is_local =
        |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80 || b"!#$%&'*+-./=?^_`{|}~\"".contains(byte);
    let is_domain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80 || b"-.".contains(byte);
    let is_number = |label: &[u8]| !label.is_empty() && label.iter().all(u8::is_ascii_digit);
    (1..segment.len()).filter(|&at| segment[at] == b'@' && is_local(&segment[at - 1])).any(|at| {
        let rest = &segment[at + 1..];
        let domain = &rest[..rest.iter().position(|byte| !is_domain(byte)).unwrap_or(rest.len())];
        let labels: Vec<&[u8]> = domain.split(|&byte| byte == b'.').filter(|label| !label.is_empty()).collect();
        let [first, second, ..] = *labels.as_slice() else { return false };
        let is_version = is_number(first) && second[0].is_ascii_digit();
        let is_size = first.strip_suffix(b"x").is_some_and(is_number);
        // The last label of an Internet host's name has a letter; the last one of a numeric address has none.
        let has_letter = labels.last().is_some_and(|label| !is_number(label));
        has_letter && !is_version && !is_size
    })
}

/// The smallest pieces between which text may be cut: a character, or a character or byte that is spelled out.
fn units(bytes: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid();
        let letters = valid.char_indices().map(|(at, letter)| {
            let is_hidden = || is_invisible(letter) && !is_presentation(valid.get(..at).unwrap_or_default(), letter);
            if letter.is_control() || is_hidden() {
                return spelled(letter).into();
            }
            valid.get(at..at + letter.len_utf8()).unwrap_or_default().into()
        });
        letters.chain(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}").into()))
    })
}

fn spelled(letter: char) -> String {
    if letter.is_ascii() { format!("\\x{:02x}", u32::from(letter)) } else { letter.escape_unicode().to_string() }
}

/// Characters that show nothing, or change how their neighbours are shown: Unicode's default ignorable code points,
/// separators of lines and paragraphs, annotation marks, and the empty Braille cell.
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Does the letter mark the symbol before it as an emoji (`⚠️`)? Poolwatch's own messages contain such pairs.
fn is_presentation(before: &str, letter: char) -> bool {
    let is_symbol = |symbol: char| {
        let is_possible = matches!(symbol, '\u{203c}'..='\u{3299}' | '\u{1f000}'..='\u{1faff}');
        is_possible && !symbol.is_alphanumeric() && !symbol.is_whitespace() && !is_invisible(symbol)
    };
    letter == '\u{fe0f}' && before.chars().next_back().is_some_and(is_symbol)
}

fn entity(unit: Cow<'_, str>) -> Cow<'_, str> {
    match &*unit {
        "&" => "&amp;".into(),
        "<" => "&lt;".into(),
        ">" => "&gt;".into(),
        _ => unit,
    }
}

fn fit<'a>(units: impl Iterator<Item = Cow<'a, str>>, budget: usize) -> String {
    let mut text = String::new();
    // Where the text must be cut to leave room for the ellipsis.
    let mut cut = 0;
    for unit in units {
        if text.len() + unit.len() > budget {
            text.truncate(cut);
            if ELLIPSIS.len() <= budget {
                text.push_str(ELLIPSIS);
            }
            return text;
        }
        text.push_str(&unit);
        if text.len() + ELLIPSIS.len() <= budget {
            cut = text.len();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_that_is_too_long_ends_with_an_ellipsis() {
        assert_eq!(Text::<6>::shortened(b"abcdef").as_bytes(), b"abcdef");
        assert_eq!(Text::<6>::shortened(b"abcdefg").as_bytes(), "abc…".as_bytes());
    }

    #[test]
    fn what_is_readable_stays_as_it_is() {
        assert_eq!(clean("blue-1 é → 🟢 a\\b".as_bytes(), 99), "blue-1 é → 🟢 a\\b");
    }

    #[test]
    fn what_is_not_text_is_spelled() {
        assert_eq!(clean(b"a\xff\xe2\x82\x1b[0m\n\t\x7f\0", 99), r"a\xff\xe2\x82\x1b[0m\x0a\x09\x7f\x00");
    }

    #[test]
    fn what_hides_or_reorders_is_spelled() {
        let hostile = "\u{85}\u{2028}\u{202e}\u{200b}\u{feff}\u{2066}\u{61c}\u{e0041}";
        assert_eq!(clean(hostile.as_bytes(), 99), r"\u{85}\u{2028}\u{202e}\u{200b}\u{feff}\u{2066}\u{61c}\u{e0041}");
        let empty = "\u{34f}\u{115f}\u{1160}\u{17b4}\u{180c}\u{2800}\u{3164}\u{fe00}\u{fe0f}\u{ffa0}\u{e0100}";
        assert_eq!(
            clean("⚠\u{fe0f} 🕵\u{fe0f}\u{fe0f} \u{fe0f}".as_bytes(), 99),
            "⚠\u{fe0f} 🕵\u{fe0f}\\u{fe0f} \\u{fe0f}"
        );
        for letter in empty.chars() {
            assert_eq!(clean(format!("a{letter}b").as_bytes(), 99), format!("a{}b", letter.escape_unicode()));
        }
    }

    #[test]
    fn a_cut_falls_between_whole_units() {
        assert_eq!(clean(b"abcdef", 6), "abcdef");
        assert_eq!(clean(b"abcdef", 5), "ab…");
        assert_eq!(clean("ab→cd".as_bytes(), 6), "ab…");
        assert_eq!(clean(b"ab\xff\xff", 8), "ab…");
        assert_eq!(escaped(b"a<b<c", 8), "a&lt;…");
        assert_eq!(escaped(b"a<b<c", 7), "a…");
    }

    #[test]
    fn a_budget_without_room_for_an_ellipsis_leaves_nothing() {
        assert_eq!(clean(b"abc", 3), "abc");
        assert_eq!(clean(b"abcd", 3), "…");
        assert_eq!(clean(b"ab", 2), "ab");
        assert_eq!(clean(b"abc", 2), "");
        assert_eq!(clean(b"", 0), "");
    }

    #[test]
    fn slack_sees_no_mention_and_no_end_of_code() {
        assert_eq!(escaped(b"<!channel> &amp;", 99), "&lt;!channel&gt; &amp;amp;");
        assert_eq!(escaped_code(b"`<@U1>`", 99), "ˋ&lt;@U1&gt;ˋ");
    }

    #[test]
    fn ascii_spells_the_rest() {
        assert_eq!(ascii("blue → grün"), r"blue \u{2192} gr\u{fc}n");
    }

    #[test]
    fn a_path_loses_query_fragment_and_userinfo() {
        assert_eq!(path_without_secrets(b"/pay?card=4111"), "/pay?…");
        assert_eq!(path_without_secrets(b"/pay#card=4111"), "/pay#…");
        assert_eq!(path_without_secrets(b"http://eve:pw@host/pay?x"), "http://host/pay?…");
        assert_eq!(path_without_secrets(b"/fetch/https://a:b@c@host/x"), "/fetch/https://host/x");
        assert_eq!(path_without_secrets(b"/a%0ab%3Fc"), "/a%0ab%3Fc");
        assert_eq!(path_without_secrets(b""), "");
    }

    #[test]
    fn a_segment_that_looks_like_a_token_is_left_out() {
        assert_eq!(path_without_secrets(b"/reset/0123456789abcdef0123456789abcdef/done"), "/reset/[…]/done");
        assert_eq!(
            path_without_secrets(b"/reset/0123456789abcdef0123456789abcde"),
            "/reset/0123456789abcdef0123456789abcde"
        );
        assert_eq!(path_without_secrets(b"/a;jsessionid=0123456789abcdef0123456789ABCDEF.n1"), "/[…]");
    }

    #[test]
    fn a_web_token_and_its_like_are_left_out_dots_and_all() {
        for token in [
            "eyJhbGciOiJIUzI1NiJ9.CANARYJWT.x",
            "eyJhbGciOiJub25lIn0.e30.",
            "session=eyJpZCI6NX0.Zx1c3Q.a-b_c",
            "v1-eyJpZCI6NX0",
            "eyJhbGciOiJIUzI1NiJ9%2ECANARYJWT%2Ex",
            "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs",
            "0123456789abcdef.0123456789abcdef",
            "0123456789abcdef%30123456789abcdef%2530123456789abcdef",
        ] {
            assert_eq!(path_without_secrets(format!("/err/{token}/end").as_bytes()), "/err/[…]/end", "{token}");
        }
    }

    #[test]
    fn a_mail_address_is_left_out_however_it_is_written() {
        for address in [
            "user@example.org",
            "me@mail.example.co.uk",
            "me@163.com",
            "first.last+tag@xn--bcher-kva.example",
            "jürgen@bücher.example",
            "mailto:user@example.org",
            "user%40example.org",
            "user%2540example%2Eorg",
            "to=a@b.example;x",
            "user@example.org.",
            "@user@social.example",
        ] {
            assert_eq!(path_without_secrets(format!("/users/{address}").as_bytes()), "/users/[…]", "{address}");
        }
    }

    #[test]
    fn an_ordinary_name_stays() {
        for name in [
            "app.4f3a.js",
            "main.3f2a91bcde.chunk.css",
            "UserPreferences-D4k3jXqP.legacy.js.map",
            "jquery.dataTables.bootstrap4.responsive.min.css",
            "poolwatch_0.1.0-1.deb12u11.bookworm1_amd64.deb",
            "com.example.application.settings.Preferences",
            "10.0.0.1",
            "keyJsonDocument",
            "getKeyJobs.eyJ",
            "lodash@4.17.21",
            "bootstrap@5.3.0.tgz",
            "react@next",
            "logo@2x.png",
            "@someone",
            "@scope",
            "a@10.0.0.1",
            "100%",
            "100%25",
        ] {
            assert_eq!(path_without_secrets(format!("/assets/{name}").as_bytes()), format!("/assets/{name}"));
        }
    }

    proptest! {
        #[test]
        fn is_same_agrees_with_equality(one in "[ab]{0,20}", other in "[ab]{0,20}") {
            prop_assert_eq!(is_same(one.as_bytes(), other.as_bytes()), one == other);
            prop_assert!(is_same(one.as_bytes(), one.clone().as_bytes()));
        }

        #[test]
        fn a_changed_byte_is_seen_wherever_it_stands(text in "[a-z]{1,20}", index in any::<prop::sample::Index>()) {
            let mut changed = text.clone().into_bytes();
            changed[index.index(text.len())] ^= 1;
            prop_assert!(!is_same(text.as_bytes(), &changed));
        }

        #[test]
        fn any_bytes_become_safe_text_within_the_budget(bytes in any::<Vec<u8>>(), budget in 0_usize..200) {
            for text in [clean(&bytes, budget), escaped(&bytes, budget), escaped_code(&bytes, budget)] {
                prop_assert!(text.len() <= budget);
                let is_bad = |letter: char| letter.is_control() || is_invisible(letter) && letter != '\u{fe0f}';
                prop_assert!(!text.chars().any(is_bad));
            }
            prop_assert!(!escaped_code(&bytes, budget).contains(['<', '>', '`']));
        }

        #[test]
        fn a_shown_path_can_be_shown_again(target in "[a-z/:@?#é.%-]{0,40}") {
            let shown = path_without_secrets(target.as_bytes());
            prop_assert_eq!(path_without_secrets(shown.as_bytes()), shown);
        }
    }
}
