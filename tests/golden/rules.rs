//! Slack's rules for a message, written a second time and independently of the code that keeps them.

use serde_json::Value;

/// The first rule that a body breaks.
pub(crate) fn check(body: &str) -> Result<(), String> {
    ensure(body.len() <= 12_000, || format!("{} bytes", body.len()))?;
    ensure(!body.chars().any(char::is_control), || "a control character on the wire".to_owned())?;
    let message: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    text(&message["text"], 4000)?;
    let Some(blocks) = message.get("blocks") else { return Ok(()) };
    ensure(message["unfurl_links"] == false && message["unfurl_media"] == false, || "unfurls".to_owned())?;
    let blocks = list(blocks, 50)?;
    let sum: usize =
        blocks.iter().map(|block| texts(block).iter().map(|text| text.chars().count()).sum::<usize>()).sum();
    ensure(sum <= 12_000, || format!("{sum} characters in all blocks"))?;
    blocks.iter().try_for_each(|one| block(one).map_err(|why| format!("{why} in {one:#}")))
}

fn block(block: &Value) -> Result<(), String> {
    match block["type"].as_str() {
        Some("header") => {
            ensure(block["text"]["type"] == "plain_text", || "a header takes plain_text only".to_owned())?;
            object(&block["text"], 150)
        }
        Some("section") => {
            ensure(block.get("text").is_some() || block.get("fields").is_some(), || "an empty section".to_owned())?;
            block.get("text").map_or(Ok(()), |text| object(text, 3000))?;
            let fields = block.get("fields").map_or(Ok(&[][..]), |fields| list(fields, 10))?;
            fields.iter().try_for_each(|field| object(field, 2000))
        }
        Some("context") => list(&block["elements"], 10)?.iter().try_for_each(|element| object(element, 3000)),
        other => Err(format!("block type {other:?}")),
    }
}

fn object(object: &Value, limit: usize) -> Result<(), String> {
    let is_plain = match object["type"].as_str() {
        Some("plain_text") => true,
        Some("mrkdwn") => false,
        other => return Err(format!("text type {other:?}")),
    };
    let (own, others) = if is_plain { ("emoji", "verbatim") } else { ("verbatim", "emoji") };
    let (wanted, absent) = (object[own] == !is_plain, object.get(others).is_none());
    ensure(wanted && absent, || format!("{own} or {others}"))?;
    text(&object["text"], limit)?;
    let text = object["text"].as_str().unwrap_or_default();
    if is_plain { no_sequence(text) } else { known_sequences(text) }
}

/// Is the text within the limit by every way of counting, not empty, and safe to show?
fn text(text: &Value, limit: usize) -> Result<(), String> {
    let text = text.as_str().ok_or("no text")?;
    ensure(!text.is_empty() && text.len() <= limit, || format!("{} bytes of {limit}", text.len()))?;
    let hides = |letter: char| {
        letter.is_control() && letter != '\n'
            || matches!(letter, '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    ensure(!text.chars().any(hides), || "a hidden character".to_owned())?;
    for mention in ["<!channel", "<!here", "<!everyone", "<!subteam", "<@", "<#"] {
        ensure(!text.contains(mention), || mention.to_owned())?;
    }
    entities(text)
}

/// Is each ampersand part of a whole entity? A bare one, or one that a cut left incomplete, is not.
fn entities(text: &str) -> Result<(), String> {
    let whole = |rest: &str| ["amp;", "lt;", "gt;"].iter().any(|entity| rest.starts_with(entity));
    ensure(text.split('&').skip(1).all(whole), || format!("a broken entity in {text}"))
}

fn no_sequence(text: &str) -> Result<(), String> {
    ensure(!text.contains(['<', '>']), || format!("a control sequence in {text}"))
}

/// Only dates and one web link, as Poolwatch writes them, stand outside code; all else that Slack would interpret must
/// not.
fn known_sequences(text: &str) -> Result<(), String> {
    let outside_code = outside_code(text);
    let mut rest = outside_code.as_str();
    while let Some((before, sequence)) = rest.split_once('<') {
        ensure(!before.contains('>'), || format!("a stray > in {text}"))?;
        let (sequence, after) = sequence.split_once('>').ok_or("an open sequence")?;
        let known = ["!date^", "https://", "http://"].iter().any(|start| sequence.starts_with(start));
        ensure(known && sequence.matches('|').count() == 1, || format!("the sequence <{sequence}>"))?;
        ensure(sequence.starts_with("!date^") || sequence.ends_with("|Open the runbook"), || sequence.to_owned())?;
        rest = after;
    }
    ensure(!rest.contains('>'), || format!("a stray > in {text}"))
}

/// The text without its code spans and blocks, in which no sequence may stand.
fn outside_code(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    assert!(parts.len() % 2 == 1, "an open code span in {text}");
    let inside = parts.iter().skip(1).step_by(2);
    inside.for_each(|code| assert!(!code.contains(['<', '>']), "a sequence in code: {text}"));
    parts.into_iter().step_by(2).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(object) => match object.get("text") {
            Some(Value::String(text)) => vec![text],
            _ => object.values().flat_map(texts).collect(),
        },
        Value::Array(list) => list.iter().flat_map(texts).collect(),
        _ => vec![],
    }
}

fn list(value: &Value, most: usize) -> Result<&[Value], String> {
    let list = value.as_array().ok_or("no list")?;
    ensure((1..=most).contains(&list.len()), || format!("{} of at most {most}", list.len()))?;
    Ok(list)
}

fn ensure(condition: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(why()) }
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let header = |text: &str| {
        format!(
            r#"{{"text":"t","unfurl_links":false,"unfurl_media":false,"blocks":[{{"type":"header","text":{text}}}]}}"#
        )
    };
    let plain = |text: &str| header(&format!(r#"{{"type":"plain_text","text":"{text}","emoji":false}}"#));
    assert_eq!(check(&plain("fine")), Ok(()));
    assert!(check(&plain("")).is_err());
    assert!(check(&plain(&"x".repeat(151))).is_err());
    assert!(check(&plain("<!here>")).is_err());
    assert!(check(&plain("a & b")).is_err());
    assert!(check(&plain("a &am")).is_err());
    assert!(check(&plain("\\u202e")).is_err());
    assert!(check(&plain("fine").replace("false,\"blocks", "true,\"blocks")).is_err());
    assert!(check(&header(r#"{"type":"mrkdwn","text":"t","verbatim":true}"#)).is_err());
    assert!(check(r#"{"text":"<!channel> down"}"#).is_err());
    assert!(check(r#"{"text":""}"#).is_err());
    assert!(known_sequences("<https://e.org|Open the runbook> `a`").is_ok());
    assert!(known_sequences("<https://e.org|click>").is_err());
    assert!(known_sequences("<javascript:x|Open the runbook>").is_err());
}
