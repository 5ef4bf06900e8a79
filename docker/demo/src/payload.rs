//! What an incoming webhook accepts: Slack's documented limits, written independently of the module.

use std::collections::HashSet;

use serde_json::Value;

/// Why a payload is refused, with Slack's error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The payload is not a JSON object.
    InvalidPayload,
    /// The payload has neither text nor blocks.
    NoText,
    /// A block breaks a rule.
    InvalidBlocks,
    /// All blocks together are too long.
    BlocksTooLong,
    /// The payload has more than a hundred attachments.
    TooManyAttachments,
}

impl Refusal {
    /// The body of the answer with status 400.
    pub fn word(self) -> &'static str {
        match self {
            Self::InvalidPayload => "invalid_payload",
            Self::NoText => "no_text",
            Self::InvalidBlocks => "invalid_blocks",
            Self::BlocksTooLong => "msg_blocks_too_long",
            Self::TooManyAttachments => "too_many_attachments",
        }
    }
}

const LONGEST_TEXT: usize = 40_000;
const LONGEST_BLOCKS: usize = 12_000;
const MOST_BLOCKS: usize = 50;
const MOST_ATTACHMENTS: usize = 100;

/// Would Slack accept this payload?
///
/// # Errors
/// The reason for which Slack would refuse it.
pub fn validate(payload: &Value) -> Result<(), Refusal> {
    let payload = payload.as_object().ok_or(Refusal::InvalidPayload)?;
    let text = match payload.get("text") {
        None | Some(Value::Null) => "",
        Some(Value::String(text)) => text,
        Some(_) => return Err(Refusal::InvalidPayload),
    };
    let blocks = match payload.get("blocks") {
        None | Some(Value::Null) => &Vec::new(),
        Some(Value::Array(blocks)) => blocks,
        Some(_) => return Err(Refusal::InvalidBlocks),
    };
    let attachments = payload.get("attachments").and_then(Value::as_array).map_or(0, Vec::len);
    if text.is_empty() && blocks.is_empty() && attachments == 0 {
        return Err(Refusal::NoText);
    }
    if attachments > MOST_ATTACHMENTS {
        return Err(Refusal::TooManyAttachments);
    }
    if text.chars().count() > LONGEST_TEXT {
        return Err(Refusal::InvalidPayload);
    }
    let mut ids = HashSet::new();
    let unique = blocks.iter().filter_map(|block| block.get("block_id")).all(|id| ids.insert(id.to_string()));
    if blocks.len() > MOST_BLOCKS || !unique || !blocks.iter().all(is_block) {
        return Err(Refusal::InvalidBlocks);
    }
    if blocks.iter().map(length).sum::<usize>() > LONGEST_BLOCKS {
        return Err(Refusal::BlocksTooLong);
    }
    Ok(())
}

fn is_block(block: &Value) -> bool {
    let id_fits = block.get("block_id").is_none_or(|id| id.as_str().is_some_and(|id| fits(id, 255)));
    let list = |name: &str| block.get(name).and_then(Value::as_array);
    id_fits
        && match block["type"].as_str() {
            Some("header") => block["text"]["type"] == "plain_text" && is_text(&block["text"], 150),
            Some("section") => {
                let text = block.get("text");
                let fields = list("fields");
                (text.is_some() || fields.is_some())
                    && text.is_none_or(|text| is_text(text, 3000))
                    && fields.is_none_or(|fields| {
                        (1..=10).contains(&fields.len()) && fields.iter().all(|field| is_text(field, 2000))
                    })
            }
            Some("context") => list("elements").is_some_and(|elements| {
                (1..=10).contains(&elements.len()) && elements.iter().all(|element| is_text(element, 3000))
            }),
            Some("actions") => list("elements")
                .is_some_and(|elements| (1..=25).contains(&elements.len()) && elements.iter().all(is_button)),
            Some("divider") => true,
            _ => false,
        }
}

fn is_button(button: &Value) -> bool {
    button["type"] == "button"
        && button["text"]["type"] == "plain_text"
        && is_text(&button["text"], 75)
        && button.get("url").is_none_or(|url| url.as_str().is_some_and(|url| fits(url, 3000)))
        && button.get("value").is_none_or(|value| value.as_str().is_some_and(|value| fits(value, 2000)))
}

fn is_text(object: &Value, longest: usize) -> bool {
    let own = match object["type"].as_str() {
        Some("plain_text") => object.get("verbatim").is_none(),
        Some("mrkdwn") => object.get("emoji").is_none(),
        _ => false,
    };
    own && object["text"].as_str().is_some_and(|text| fits(text, longest))
}

fn fits(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.chars().count())
}

/// The number of characters in all texts of a value.
fn length(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(length).sum(),
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) if name == "text" => text.chars().count(),
                other => length(other),
            })
            .sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain(length: usize) -> Value {
        json!({"type": "plain_text", "text": "x".repeat(length)})
    }

    fn with_blocks(blocks: &Value) -> Result<(), Refusal> {
        validate(&json!({"text": "t", "blocks": blocks}))
    }

    /// Checks that the first block is accepted and the second refused.
    #[track_caller]
    fn assert_limit(good: &Value, bad: &Value) {
        assert_eq!(with_blocks(good), Ok(()));
        assert_eq!(with_blocks(bad), Err(Refusal::InvalidBlocks));
    }

    #[test]
    fn a_message_needs_text_or_blocks() {
        assert_eq!(validate(&json!({"text": "t"})), Ok(()));
        assert_eq!(validate(&json!({"text": ""})), Err(Refusal::NoText));
        assert_eq!(validate(&json!(["t"])), Err(Refusal::InvalidPayload));
        assert_eq!(validate(&json!({"text": 1})), Err(Refusal::InvalidPayload));
    }

    #[test]
    fn headers_are_plain_and_short() {
        let header = |text: Value| json!([{"type": "header", "text": text}]);
        assert_limit(&header(plain(150)), &header(plain(151)));
        assert_limit(&header(plain(1)), &header(plain(0)));
        assert_limit(&header(plain(1)), &header(json!({"type": "mrkdwn", "text": "x"})));
    }

    #[test]
    fn sections_have_text_or_up_to_ten_fields() {
        let section = |text: Value| json!([{"type": "section", "text": text}]);
        let fields = |count, length| json!([{"type": "section", "fields": vec![plain(length); count]}]);
        assert_limit(&section(plain(3000)), &section(plain(3001)));
        assert_limit(&fields(10, 1), &fields(11, 1));
        assert_limit(&fields(1, 2000), &fields(1, 2001));
        assert_limit(&fields(1, 1), &fields(0, 1));
        assert_limit(&section(plain(1)), &json!([{"type": "section"}]));
    }

    #[test]
    fn contexts_have_one_to_ten_elements() {
        let context = |count, length| json!([{"type": "context", "elements": vec![plain(length); count]}]);
        assert_limit(&context(10, 1), &context(11, 1));
        assert_limit(&context(1, 3000), &context(1, 3001));
        assert_limit(&context(1, 1), &context(0, 1));
    }

    #[test]
    fn emoji_belongs_to_plain_text_and_verbatim_to_mrkdwn() {
        let section = |text: Value| json!([{"type": "section", "text": text}]);
        assert_limit(
            &section(json!({"type": "plain_text", "text": "x", "emoji": false})),
            &section(json!({"type": "mrkdwn", "text": "x", "emoji": false})),
        );
        assert_limit(
            &section(json!({"type": "mrkdwn", "text": "x", "verbatim": true})),
            &section(json!({"type": "plain_text", "text": "x", "verbatim": true})),
        );
    }

    #[test]
    fn buttons_are_short_and_few() {
        let buttons = |count: usize, length| json!([{"type": "actions", "elements": vec![json!({"type": "button", "text": plain(length)}); count]}]);
        assert_limit(&buttons(25, 75), &buttons(26, 75));
        assert_limit(&buttons(1, 75), &buttons(1, 76));
    }

    #[test]
    fn there_are_at_most_fifty_blocks_with_ids_of_their_own() {
        let dividers = |count| json!(vec![json!({"type": "divider"}); count]);
        assert_limit(&dividers(50), &dividers(51));
        assert_limit(
            &json!([{"type": "divider", "block_id": "a"}, {"type": "divider", "block_id": "b"}]),
            &json!([{"type": "divider", "block_id": "a"}, {"type": "divider", "block_id": "a"}]),
        );
        assert_limit(&dividers(1), &json!([{"type": "confetti"}]));
    }

    #[test]
    fn all_blocks_together_have_a_limit() {
        let section = json!({"type": "section", "text": plain(3000)});
        assert_eq!(with_blocks(&json!(vec![section.clone(); 4])), Ok(()));
        assert_eq!(with_blocks(&json!(vec![section; 5])), Err(Refusal::BlocksTooLong));
    }

    #[test]
    fn attachments_have_a_limit() {
        let attachments = |count| json!({"text": "t", "attachments": vec![json!({}); count]});
        assert_eq!(validate(&attachments(100)), Ok(()));
        assert_eq!(validate(&attachments(101)), Err(Refusal::TooManyAttachments));
    }
}
