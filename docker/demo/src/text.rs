//! A Slack message as a person would read it in a terminal.

use serde_json::Value;

/// The message as Slack would show it, line by line, without colours.
pub fn as_text(message: &Value) -> String {
    let mut lines = Vec::new();
    for block in message["blocks"].as_array().into_iter().flatten() {
        match block["type"].as_str() {
            Some("header") => lines.push(object(&block["text"])),
            Some("section") => {
                if block["text"].is_object() {
                    lines.push(object(&block["text"]));
                }
                lines.extend(
                    block["fields"].as_array().into_iter().flatten().map(|field| object(field).replace('\n', " ")),
                );
            }
            Some("context") => {
                let elements = block["elements"].as_array().into_iter().flatten().map(object);
                lines.push(elements.collect::<Vec<_>>().join(" | "));
            }
            Some("actions") => {
                for button in block["elements"].as_array().into_iter().flatten() {
                    let url = button["url"].as_str().unwrap_or_default();
                    lines.push(format!("[{}] {url}", object(&button["text"])));
                }
            }
            Some("divider") => lines.push("---".to_owned()),
            _ => {}
        }
    }
    if lines.is_empty() {
        lines.push(object(&message["text"]));
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

/// The text of a text object, or of a plain string.
fn object(text: &Value) -> String {
    let plain = text["type"] == "plain_text";
    let text = text.as_str().or_else(|| text["text"].as_str()).unwrap_or_default();
    let text = if plain { text.to_owned() } else { references(text).replace("```", "").replace(['*', '`'], "") };
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    emoji(&text).trim().to_owned()
}

/// Replaces `<url|label>` and `<!date^..|fallback>` with their label.
fn references(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        shown.push_str(before);
        let Some((inside, after)) = after.split_once('>') else {
            shown.push('<');
            rest = after;
            continue;
        };
        match inside.split_once('|') {
            Some((target, label)) if target.starts_with("http") => shown.extend([label, " (", target, ")"]),
            Some((_, label)) => shown.push_str(label),
            None => shown.push_str(inside),
        }
        rest = after;
    }
    shown + rest
}

fn emoji(text: &str) -> String {
    let known = [
        (":large_blue_circle:", "🔵"),
        (":large_green_circle:", "🟢"),
        (":red_circle:", "🔴"),
        (":rotating_light:", "🚨"),
        (":warning:", "⚠️"),
        (":white_check_mark:", "✅"),
        (":information_source:", "ℹ️"),
    ];
    known.iter().fold(text.to_owned(), |text, (name, sign)| text.replace(name, sign))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entities_links_and_dates_are_shown_as_slack_shows_them() {
        let message = json!({"text": "x", "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": "a &amp; b &lt;c&gt;"}},
            {"type": "section", "text": {"type": "mrkdwn", "text": "*since* <!date^1^{time}|10:00> <https://r.example/x|runbook>"}},
        ]});
        assert_eq!(as_text(&message), "a & b <c>\nsince 10:00 runbook (https://r.example/x)");
    }

    #[test]
    fn a_message_without_blocks_is_its_text() {
        assert_eq!(as_text(&json!({"text": "plain"})), "plain");
    }
}
