//! An alert as a Slack message, and what Slack's answers mean. Pure functions; every alert becomes a valid message.
//!
//! Foreign bytes stand only in `plain_text` objects and in code spans. They are cleaned, escaped and bounded, so they
//! cannot mention a person, format text or make a link. Budgets are in bytes of the escaped text, the strictest reading
//! of Slack's limits.

mod answer;

pub use answer::classify;

use serde_json::{Value, json};

use crate::alert::{Alert, ExampleRequest, Kind, PoolFacts, Rates, Severity};
use crate::calendar::{duration, rfc3339};
use crate::text::{ascii, clean, escaped, escaped_code, path_without_secrets};
use crate::units::Millis;
use crate::wording;

/// Bytes of a whole message. Slack was seen to reject messages from some 13 kB on.
const MESSAGE: usize = 12_000;

/// Bytes of a header; Slack allows 150 characters.
const HEADER: usize = 140;

/// Bytes of the text that notifications show.
const NOTIFICATION: usize = 400;

/// Bytes of the facts in the plain form. With JSON's own escapes the body stays below 1000 bytes.
const PLAIN_FACTS: usize = 280;
/// Bytes of the whole text in the plain form.
const PLAIN: usize = 480;

/// Bytes of a name, or of a value from a response header.
const VALUE: usize = 64;

/// Bytes of a URI, and of nginx's lists of statuses and times.
const LINE: usize = 120;

/// Bytes of an address: nginx's longest one, a socket's, fits.
const ADDRESS: usize = 128;

/// Bytes of nginx's list of addresses: two of the longest fit.
const LIST: usize = 240;

/// Bytes of the runbook's link: the directive's longest URL fits, even if much of it must be percent-encoded.
const LINK: usize = 1400;

/// Addresses that are shown of a pool.
const ADDRESSES: usize = 4;

/// Requests that are shown as examples.
const SAMPLES: usize = 3;

/// The message with every known fact. If it is longer than 12 000 bytes, [`fallback`] instead.
pub fn body(alert: &Alert) -> String {
    let title = format!("{} {}", icon(alert), wording::headline(alert));
    let notification = notification(alert, &title);
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": escaped(title.as_bytes(), HEADER), "emoji": false}}),
        section(&lead(alert)),
        json!({"type": "section", "fields": fields(alert).iter().map(|field| mrkdwn(field)).collect::<Vec<_>>()}),
    ];
    blocks.extend(examples(&alert.examples).iter().map(|text| section(text)));
    blocks.push(json!({"type": "context", "elements": [mrkdwn(&origin(alert))]}));
    let message = json!({
        "text": escaped(notification.as_bytes(), NOTIFICATION),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    });
    let message = message.to_string();
    if message.len() <= MESSAGE { message } else { fallback(alert) }
}

/// The message in a form that Slack has no reason to reject: one ASCII text, less than 1000 bytes in all.
pub fn fallback(alert: &Alert) -> String {
    let facts = clean(ascii(&wording::log_line(alert)).as_bytes(), PLAIN_FACTS);
    let waited = wording::waited(&alert.suppressed).map_or_else(String::new, |waited| format!("; {waited}"));
    let words = format!(
        "{}: {facts}{waited}; since {}, on host {}, {}",
        wording::severity(alert.severity),
        rfc3339(alert.since_unix),
        clean(alert.host.as_bytes(), VALUE),
        clean(alert.message_id().as_bytes(), VALUE),
    );
    // The ellipsis of a cut is not ASCII; three dots have the same length.
    let text = escaped(ascii(&words.replace('…', "...")).as_bytes(), PLAIN).replace('…', "...");
    json!({"text": text}).to_string()
}

/// What a push notification and a screen reader show, which show nothing else: the title, the machine, what it means,
/// and which pool serves now.
fn notification(alert: &Alert, title: &str) -> String {
    let host = clean(alert.host.as_bytes(), VALUE);
    let title = if host.is_empty() { title.to_owned() } else { format!("{title} on {host}") };
    let impact = Some(wording::impact(alert)).filter(|impact| !impact.is_empty());
    let sentences = [Some(format!("{title}.")), impact, wording::serves_now(alert)];
    sentences.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The severity at a glance.
fn icon(alert: &Alert) -> &'static str {
    match (alert.severity, alert.kind) {
        (Severity::Critical, _) => "🚨",
        (Severity::Warning, _) => "⚠️",
        (Severity::Info, Kind::PlannedSwitch) => "🔁",
        (Severity::Info, Kind::NoLongerWatched) => "⏹️",
        (Severity::Info, Kind::SilenceBegan) => "🔕",
        (Severity::Info, Kind::SilenceEnded) => "🔔",
        (Severity::Info, Kind::Test) => "👋",
        (Severity::Info, _) => "✅",
    }
}

/// What the alert means and what to do: the text under the title.
fn lead(alert: &Alert) -> String {
    let severity = wording::severity(alert.severity);
    let mut lines = vec![format!("*{severity}.* {}", wording::impact(alert)).trim_end().to_owned()];
    lines.extend(wording::waited(&alert.suppressed).map(|waited| format!("⏳ {waited}")));
    lines.extend(link(&wording::runbook(&alert.runbook, alert.kind)));
    lines.join("\n")
}

/// The facts, two in a row on a wide screen. At most nine of an incident, and at most ten of
/// any alert, which is as many as Slack allows.
fn fields(alert: &Alert) -> Vec<String> {
    let (before, now) = match alert.kind {
        Kind::Down => (Some("Served last"), None),
        Kind::NoLongerWatched => (None, Some("Served last")),
        Kind::ErrorRateFiring | Kind::ErrorRateResolved | Kind::ErrorRateNoData | Kind::Flapping => {
            (None, Some("Serves now"))
        }
        Kind::Failover | Kind::Recovery | Kind::PlannedSwitch | Kind::Mixed => {
            (Some("Served before"), Some("Serves now"))
        }
        Kind::SilenceBegan | Kind::SilenceEnded | Kind::Test => (None, None),
    };
    let mut fields = Vec::new();
    let mut say = |label: &str, fact: String| fields.push(format!("*{label}*\n{fact}"));
    if let (Some(label), Some(facts)) = (before, &alert.from) {
        say(label, pool(facts));
    }
    if let (Some(label), Some(facts)) = (now, &alert.to) {
        say(label, pool(facts));
    }
    if let Some(facts) = alert.wanted.as_ref().filter(|_| alert.kind == Kind::Down) {
        say("Should serve", pool(facts));
    }
    say("Since", since(alert));
    if let Some(silence) = &alert.silence {
        if alert.kind == Kind::SilenceBegan {
            say("Ends", silence.ends_unix.map_or_else(|| wording::silence_ends(alert), date));
        }
        if !silence.comment.is_empty() {
            say("Why", code(&silence.comment, LINE));
        }
        let during: Vec<String> = wording::during(alert).iter().map(|words| code(words.as_bytes(), LINE)).collect();
        if !during.is_empty() {
            say("During it", during.join("\n"));
        }
    }
    let reasons = wording::reasons(&alert.reasons);
    if !reasons.is_empty() {
        say("Reason", reasons.join("\n"));
    }
    if alert.rates.upstream.requests > 0 {
        say("Upstream errors", wording::rate(alert.rates.upstream));
        say("Client errors", wording::rate(alert.rates.client));
    }
    // The counts above are since the incident began; the window is added where its counts differ.
    let Rates { upstream, client } = alert.window_rates;
    if upstream.requests > 0 && alert.window_rates != alert.rates && alert.kind != Kind::PlannedSwitch {
        let last = format!("Last {} requests", upstream.requests);
        say(&last, format!("upstream {}\nclient {}", wording::rate(upstream), wording::rate(client)));
    }
    if let Some(threshold) = wording::threshold(alert) {
        say("Threshold", format!("{} errors above {threshold}", wording::watched_rate(alert)));
    }
    fields
}

fn pool(facts: &PoolFacts) -> String {
    let colour = match facts.name.as_slice() {
        b"blue" => "🔵 ",
        b"green" => "🟢 ",
        _ => "",
    };
    let mut lines = vec![format!("{colour}{}", code(&facts.name, VALUE))];
    if facts.is_unknown {
        lines.push(wording::NOT_KNOWN.to_owned());
    }
    if !facts.release.is_empty() {
        lines.push(format!("release {}", code(&facts.release, VALUE)));
    }
    lines.extend(facts.addresses.iter().take(ADDRESSES).map(|address| code(address, ADDRESS)));
    let more = facts.addresses.len().saturating_sub(ADDRESSES);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

/// When the state began, in the reader's own time zone, which Slack knows.
fn since(alert: &Alert) -> String {
    let lasts = Millis(alert.now_unix) - Millis(alert.since_unix);
    let date = date(alert.since_unix);
    if lasts < Millis::from_secs(1) { date } else { format!("{date}\n{} ago", duration(lasts)) }
}

fn date(unix: u64) -> String {
    let written = rfc3339(unix);
    format!("<!date^{}^{{date_num}} {{time_secs}}|{written}>", unix / 1000)
}

/// Failed requests, as nginx would log them, in one code block.
fn examples(examples: &[ExampleRequest]) -> Option<String> {
    let lines: Vec<String> = examples.iter().take(SAMPLES).map(example).collect();
    (!lines.is_empty()).then(|| format!("*Examples*\n```{}```", lines.join("\n")))
}

/// An example in two short lines, which fit a telephone better than a long one.
fn example(sample: &ExampleRequest) -> String {
    let list = |bytes: &[u8]| escaped_code(bytes, LIST);
    // The query is gone already; a second check makes sure that no secret depends on one place in the code.
    let path = path_without_secrets(&sample.path);
    format!(
        "{} {} → {}\n  {} from {} in {} s",
        escaped_code(&sample.method, VALUE),
        escaped_code(path.as_bytes(), LINE),
        sample.status,
        list(&sample.upstream_status),
        list(&sample.upstream_addr),
        list(&sample.upstream_response_time),
    )
}

/// Where the message comes from, and what identifies a duplicate.
fn origin(alert: &Alert) -> String {
    let (host, id) = (code(alert.host.as_bytes(), VALUE), code(alert.id.as_bytes(), LINE));
    format!("host {host}  ·  incident {id}  ·  change {}  ·  sent {}", alert.change, date(alert.now_unix))
}

/// A link to the runbook, if it is a web page; any other text is shown and not linked.
fn link(url: &str) -> Option<String> {
    if url.is_empty() {
        return None;
    }
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Some(format!("Runbook: {}", code(url.as_bytes(), LINE)));
    }
    let link: String = url.bytes().map(link_byte).collect();
    (link.len() <= LINK).then(|| format!("<{link}|Open the runbook>"))
}

/// The byte as a link may hold it: a byte that would end the link, or that no URL may hold, is percent-encoded.
fn link_byte(byte: u8) -> String {
    match byte {
        b'&' => "&amp;".to_owned(),
        b'<' | b'>' | b'|' | b'"' | b'`' | b'\\' | b'^' | b'{' | b'}' => format!("%{byte:02X}"),
        byte if byte.is_ascii_graphic() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    }
}

fn code(bytes: &[u8], budget: usize) -> String {
    let text = escaped_code(bytes, budget);
    // Two backticks with only blanks between them are no code span.
    if text.trim().is_empty() { "–".to_owned() } else { format!("`{text}`") }
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": mrkdwn(text)})
}

/// `verbatim`: Slack makes no links of names and bare URLs.
fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}
