//! Lines for error.log: what is worth one, and how loud.

use crate::alert::{Report, Severity};
use crate::config::receiver::Receiver;
use crate::outbox::debt::Settled;
use crate::outbox::outcome::Outcome;
use crate::wording;

/// How a line in error.log is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Poolwatch itself is at fault.
    Alert,
    /// Clients suffer, and that it is over.
    Critical,
    /// Traffic moved or requests fail, and that it is over; a message was not delivered.
    Error,
    /// Requests were not observed.
    Warn,
    /// The operator's own acts.
    Notice,
    /// For the curious.
    Info,
}

/// A line for error.log, written by the event loop: nginx's log is not for threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its level.
    pub level: Level,
    /// Its text, safe and on one line.
    pub text: String,
}

/// Alerts are seen with nginx's own default level, and the way back wherever the alert was.
pub(super) fn level(report: &Report) -> Level {
    match report.ended.unwrap_or(report.severity) {
        Severity::Critical => Level::Critical,
        Severity::Warning => Level::Error,
        Severity::Info => Level::Notice,
    }
}

/// One line per change of a receiver's health and per message that will never be heard, none per attempt.
pub(super) fn delivery_line(receiver: &Receiver, report: &Report, outcome: &Outcome, settled: Settled) -> Option<Line> {
    let name = String::from_utf8_lossy(receiver.name.as_bytes()).into_owned();
    let doing = format!("while reporting {}", wording::log_line(report));
    let line = |level, text| Some(Line { level, text });
    match outcome {
        Outcome::Accepted if settled.health_changed => {
            line(Level::Notice, format!("receiver \"{name}\" accepts messages again {doing}"))
        }
        Outcome::Accepted => line(Level::Info, format!("receiver \"{name}\" accepted message {}", report.message_id())),
        Outcome::Retry(why) if settled.health_changed => {
            line(Level::Error, format!("receiver \"{name}\" {why} {doing}, will be retried"))
        }
        Outcome::RateLimited(_) if settled.health_changed => {
            line(Level::Error, format!("receiver \"{name}\" asks for a pause {doing}, will be retried"))
        }
        Outcome::Broken(why) if settled.health_changed => {
            line(Level::Error, format!("receiver \"{name}\" {why} {doing}, will be probed every 15 minutes"))
        }
        Outcome::Rejected(why) if settled.refused => {
            line(Level::Error, format!("receiver \"{name}\" {why} {doing}, giving this message up"))
        }
        _ => None,
    }
}
