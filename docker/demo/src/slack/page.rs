//! The messages for people: a page that refreshes itself, and plain text.

use std::fmt::Write;

use super::capture::Captured;
use crate::text::as_text;

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=2>\
    <meta name=viewport content='width=device-width'><title>Mock Slack</title><style>\
    :root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}body{max-width:46rem;margin:2rem auto;padding:0 1rem}\
    article{border-left:4px solid #2eb67d;padding:.2rem 1rem;margin:1rem 0;background:#8881}\
    article.refused{border-color:#e01e5a;opacity:.7}pre{white-space:pre-wrap;font:inherit;margin:.3rem 0}\
    small{opacity:.7}</style><h1>Mock Slack</h1>";

/// The page, newest message first.
pub(super) fn html(messages: &[Captured]) -> String {
    let mut page = HEAD.to_owned();
    if messages.is_empty() {
        page.push_str("<p>No message yet.</p>");
    }
    for message in messages.iter().rev() {
        let class = if message.accepted { "accepted" } else { "refused" };
        let text = escape(&as_text(&message.body));
        let answer = escape(&message.answer);
        let (seq, status, path) = (message.seq, message.status, escape(&message.path));
        // Writing to a String does not fail.
        let _ = write!(
            page,
            "<article class={class}><pre>{text}</pre><small>#{seq} {path}: {class}, {status} {answer}</small></article>"
        );
    }
    page
}

/// The plain text, oldest message first.
pub(super) fn text(messages: &[Captured]) -> String {
    let one = |message: &Captured| {
        let verdict = if message.accepted { "accepted" } else { "refused" };
        format!("#{} {} ({} {})\n{}\n", message.seq, verdict, message.status, message.answer, as_text(&message.body))
    };
    messages.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
