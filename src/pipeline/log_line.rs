//! Lines for error.log: what deserves a line, and at which level.

use crate::alert::{Alert, Severity};
use crate::config::receiver::Receiver;
use crate::outbox::delivery_state::Settled;
use crate::outbox::outcome::Outcome;
use crate::text::clean;
use crate::wording;

/// Bytes of a name or an address: nginx's longest one, a socket's, fits.
const NAME: usize = 128;

/// The level of a line in error.log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Poolwatch itself failed.
    Alert,
    /// Clients get errors, or such an incident is over.
    Critical,
    /// Traffic moved or requests fail, or such an incident is over; a message was not delivered; an order was not
    /// carried out.
    Error,
    /// Requests were not observed; a header contradicts the configuration.
    Warn,
    /// A change by the operator; a receiver accepts messages again.
    Notice,
    /// Details, such as each accepted message.
    Info,
}

/// A line for error.log. The event loop writes it, because nginx's log is not for other threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The level of the line.
    pub level: LogLevel,
    /// The text of the line, cleaned, without a line break.
    pub text: String,
}

/// The level of an alert's line. Problems are visible with nginx's default level, `error`; the end of an incident has
/// the level of the incident.
pub(super) fn level(alert: &Alert) -> LogLevel {
    match alert.ended.unwrap_or(alert.severity) {
        Severity::Critical => LogLevel::Critical,
        Severity::Warning => LogLevel::Error,
        Severity::Info => LogLevel::Notice,
    }
}

/// The line about an address whose header names another pool than `poolwatch_pool`.
pub(super) fn contradiction_line(names: &[Vec<u8>; 4]) -> LogLine {
    let [upstream, address, own, other] = names.each_ref().map(|name| clean(name, NAME));
    let text = format!(
        "\"poolwatch_pool\" puts {address} of upstream \"{upstream}\" into pool \"{own}\", but its header says \"{other}\""
    );
    LogLine { level: LogLevel::Warn, text }
}

/// The line after an exchange: one per change of a receiver's health, per accepted message, and per message that the
/// receiver will never accept; none per failed attempt.
pub(super) fn delivery_line(
    receiver: &Receiver,
    alert: &Alert,
    outcome: &Outcome,
    settled: Settled,
) -> Option<LogLine> {
    let name = String::from_utf8_lossy(receiver.name.as_bytes()).into_owned();
    let doing = format!("while reporting {}", wording::log_line(alert));
    let line = |level, text| Some(LogLine { level, text });
    match outcome {
        Outcome::Accepted if settled.health_changed => {
            line(LogLevel::Notice, format!("receiver \"{name}\" accepts messages again {doing}"))
        }
        Outcome::Accepted => {
            line(LogLevel::Info, format!("receiver \"{name}\" accepted message {}", alert.message_id()))
        }
        Outcome::Retry(why) if settled.health_changed => {
            line(LogLevel::Error, format!("receiver \"{name}\" {why} {doing}, will be retried"))
        }
        Outcome::RateLimited(_) if settled.health_changed => {
            line(LogLevel::Error, format!("receiver \"{name}\" asks for a pause {doing}, will be retried"))
        }
        Outcome::Broken(why) if settled.health_changed => {
            line(LogLevel::Error, format!("receiver \"{name}\" {why} {doing}, will be probed every 15 minutes"))
        }
        Outcome::Rejected(why) if settled.refused => {
            line(LogLevel::Error, format!("receiver \"{name}\" {why} {doing}, giving this message up"))
        }
        _ => None,
    }
}
