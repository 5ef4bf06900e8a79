//! The sentences of an alert, for a message's title and for error.log: plain text on one line, cleaned, not yet
//! escaped.
//!
//! Every name is cut before it is put into a sentence, so that a hostile name cannot push out the facts.

use crate::alert::{Alert, During, Easing, Kind, Missing, PoolFacts, Rate, Reasons, Severity, Suppressed, Threshold};
use crate::calendar::{duration, rfc3339};
use crate::config::rules::RateOf;
use crate::detect::serving::Serving;
use crate::text::clean;
use crate::units::{Millis, Ratio};

/// Bytes of a name in a sentence.
const NAME: usize = 40;

/// Bytes of an address: nginx's longest one, a socket's, fits.
const ADDRESS: usize = 128;

/// Bytes of an address in a title.
const TITLE_ADDRESS: usize = 48;

/// Said of servers that came when other pools had names already, and that have not answered yet.
pub const NOT_KNOWN: &str = "pool not known yet";

/// Bytes of an upstream's name in a log line.
const UPSTREAM: usize = 64;

/// Upstreams that the message about a silence's end lists.
const DURING: usize = 3;

/// Bytes of an operator's comment.
const COMMENT: usize = 160;

/// A message that waited longer than this says so.
const LATE: Millis = Millis::from_secs(15 * 60);

/// The end of a recovery's headline.
const SERVING_AGAIN: &str = "primary is serving traffic again";

/// What happened, as a title: `Failover on "app": blue → green`.
pub fn headline(alert: &Alert) -> String {
    let upstream = name(&alert.upstream);
    let moved = || movement(alert, "→", |pool| called(pool, TITLE_ADDRESS));
    match alert.kind {
        Kind::Failover => format!("Failover on \"{upstream}\": {}", moved()),
        Kind::Recovery => format!("Recovery on \"{upstream}\": {}, {SERVING_AGAIN}", moved()),
        Kind::PlannedSwitch => format!("Planned switch on \"{upstream}\": {}", moved()),
        Kind::Down => format!("Outage on \"{upstream}\": {}", state(Serving::Down)),
        Kind::Mixed => format!("Mixed traffic on \"{upstream}\": {}", state(Serving::Mixed)),
        Kind::Flapping => format!("Flapping on \"{upstream}\": {} in 10 minutes", counted(alert.changes, "change")),
        Kind::ErrorRateFiring => {
            let why = alert.easing.as_ref().map_or_else(|| above(alert), |easing| eased(alert, easing));
            format!("Error rate on \"{upstream}\": {why}")
        }
        Kind::ErrorRateResolved => {
            format!("Error rate on \"{upstream}\" is back to normal: {}", failed_requests(alert))
        }
        Kind::ErrorRateNoData => {
            format!("No traffic on \"{upstream}\" any more: nobody knows whether the error rate is back to normal")
        }
        Kind::NoLongerWatched => format!("\"{upstream}\" is no longer watched, an incident of it was open"),
        Kind::SilenceBegan => format!("Silence on {}: messages are held back", silenced(alert)),
        Kind::SilenceEnded => format!("Silence on {} is over", silenced(alert)),
        Kind::Test => "Test message: Poolwatch reaches this channel".to_owned(),
    }
}

/// A state of an upstream in a few words.
pub fn state(serving: Serving) -> &'static str {
    match serving {
        Serving::Unknown => "no answer seen yet",
        Serving::Pool(_) => "one pool serves",
        Serving::Mixed => "no pool prevails",
        Serving::Down => "no pool answers",
    }
}

/// What the alert means, in one or two sentences that contain no foreign text: what clients see, or how long it took.
pub fn impact(alert: &Alert) -> String {
    let words = [
        if alert.worsened { "It reaches clients now." } else { "" },
        &effect(alert),
        if alert.flapping && alert.kind != Kind::Flapping && alert.kind != Kind::PlannedSwitch {
            "The serving pool changes again and again."
        } else {
            ""
        },
    ];
    words.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(" ")
}

fn effect(alert: &Alert) -> String {
    let Rate { errors, requests } = alert.rates.client;
    let last = format!("in {} since it began", counted(requests, "request"));
    match (alert.kind, errors) {
        (Kind::Recovery | Kind::ErrorRateResolved, _) => {
            alert.lasted.map_or_else(String::new, |lasted| format!("The incident lasted {}.", duration(lasted)))
        }
        (Kind::NoLongerWatched, _) => {
            "The configuration does not name it any more. Nobody will tell how it ends.".to_owned()
        }
        (Kind::PlannedSwitch, _) => "The expected pool changed, and traffic followed.".to_owned(),
        (Kind::ErrorRateFiring, 0) => {
            let degraded = if alert.as_expected { "Primary degraded. " } else { "" };
            format!("{degraded}Clients saw no error {last}: hidden from clients by retries.")
        }
        (Kind::Flapping, 0) => "Until this is over, only outages are told one by one.".to_owned(),
        (Kind::SilenceBegan, _) => "Watching goes on, and what still is true at the end is told then.".to_owned(),
        (Kind::SilenceEnded, _) => {
            alert.lasted.map_or_else(String::new, |lasted| format!("It lasted {}.", duration(lasted)))
        }
        (Kind::Test, _) => "Nothing has happened. Somebody asked for it.".to_owned(),
        (_, 0) if requests == 0 => String::new(),
        (_, 0) => format!("Clients saw no error {last}."),
        (_, _) => format!("Clients saw {} {last}.", counted(errors, "error")),
    }
}

/// The whole alert on one line for error.log; the line begins with [`subject`]. ASCII, as far as the names are.
pub fn log_line(alert: &Alert) -> String {
    let mut facts = match alert.kind {
        Kind::Failover | Kind::PlannedSwitch => vec![movement(alert, "->", located)],
        Kind::Recovery => vec![movement(alert, "->", located), format!("{SERVING_AGAIN}{}", after(alert))],
        Kind::Down => {
            let wanted = alert.wanted.iter().map(|pool| format!("{} should serve", located(pool)));
            let last = alert.from.iter().map(|pool| format!("last served by {}", located(pool)));
            [state(Serving::Down).to_owned()].into_iter().chain(wanted).chain(last).collect()
        }
        Kind::Mixed => vec![state(Serving::Mixed).to_owned()],
        Kind::Flapping => vec![],
        Kind::ErrorRateNoData => vec!["no traffic any more".to_owned()],
        Kind::ErrorRateFiring => {
            let above = threshold(alert).map(|threshold| format!("{} errors above {threshold}", watched_rate(alert)));
            let eased = alert.easing.as_ref().map(|easing| eased(alert, easing));
            eased.or(above).into_iter().collect()
        }
        Kind::ErrorRateResolved => vec![format!("back to normal{}", after(alert))],
        Kind::NoLongerWatched => vec![format!("no longer watched{}", after(alert))],
        Kind::SilenceBegan => vec![format!("began, {}", silence_ends(alert))],
        Kind::SilenceEnded => {
            let during = Some(during(alert).join("; ")).filter(|during| !during.is_empty());
            let during = during.map(|during| format!("during it {during}"));
            [format!("is over{}", after(alert))].into_iter().chain(during).collect()
        }
        Kind::Test => vec!["asked for".to_owned()],
    };
    if alert.worsened {
        facts.push("it reaches clients now".to_owned());
    }
    if alert.flapping {
        facts.push(format!("{} in 10 minutes, now {}", counted(alert.changes, "change"), serving(alert)));
    }
    facts.extend(comment(alert).map(|comment| format!("\"{comment}\"")));
    facts.extend(reasons(&alert.reasons));
    if alert.rates.upstream.requests > 0 {
        facts.push(format!("upstream errors {}", out_of(alert.rates.upstream)));
        facts.push(format!("client errors {}", out_of(alert.rates.client)));
    }
    format!("{}: {}", subject(alert), facts.join(", "))
}

/// What the alert is about, for the middle of a sentence: `failover of upstream "app"`.
pub fn subject(alert: &Alert) -> String {
    let what = match alert.kind {
        Kind::Failover => "failover",
        Kind::Recovery => "recovery",
        Kind::PlannedSwitch => "planned switch",
        Kind::Down => "outage",
        Kind::Mixed => "mixed traffic",
        Kind::Flapping => "flapping",
        Kind::ErrorRateFiring | Kind::ErrorRateResolved | Kind::ErrorRateNoData => "error rate",
        Kind::NoLongerWatched => "incident",
        Kind::SilenceBegan | Kind::SilenceEnded => "silence",
        Kind::Test => return "test message".to_owned(),
    };
    match alert.upstream.as_slice() {
        [] => format!("{what} of {}", several(alert)),
        upstream => format!("{what} of upstream \"{}\"", clean(upstream, UPSTREAM)),
    }
}

/// The link to the runbook's section about this kind: a URL without a fragment gets one. A URL that ends with `#`
/// therefore leads to the page as a whole.
pub fn runbook(url: &str, kind: Kind) -> String {
    if url.is_empty() || url.contains('#') { url.to_owned() } else { format!("{url}#{}", section(kind)) }
}

/// The section of `runbook.md` about this kind: the anchor that GitHub makes of the heading.
const fn section(kind: Kind) -> &'static str {
    match kind {
        Kind::Failover => "failover",
        Kind::Recovery => "recovery",
        Kind::PlannedSwitch => "planned-switch",
        Kind::Down => "outage",
        Kind::Mixed => "mixed-traffic",
        Kind::Flapping => "flapping",
        Kind::ErrorRateFiring | Kind::ErrorRateResolved | Kind::ErrorRateNoData => "error-rate",
        Kind::NoLongerWatched => "no-longer-watched",
        Kind::SilenceBegan | Kind::SilenceEnded => "silence",
        Kind::Test => "test-message",
    }
}

/// When a silence ends: `until 2026-11-24T10:57:31Z`.
pub fn silence_ends(alert: &Alert) -> String {
    match alert.silence.as_ref().and_then(|silence| silence.ends_unix) {
        Some(ends) => format!("until {}", rfc3339(ends)),
        None => "until the configuration says otherwise".to_owned(),
    }
}

/// What happened during a silence that is over, for the first few upstreams: `60 of 200 requests to "app" failed`.
pub fn during(alert: &Alert) -> Vec<String> {
    let all = alert.silence.as_ref().map_or(&[][..], |silence| &silence.during);
    let more = all.len().saturating_sub(DURING);
    let rest = (more > 0).then(|| format!("something of {} as well", counted(more as u64, "more upstream")));
    all.iter().take(DURING).map(happened).chain(rest).collect()
}

fn happened(during: &During) -> String {
    let Rate { errors, requests } = during.rate;
    let failed = format!("{errors} of {} to \"{}\" failed", counted(requests, "request"), name(&during.upstream));
    let quiet = (errors > 0).then(|| format!("none for {}", duration(during.quiet)));
    let changes = (during.changes > 0).then(|| counted(during.changes, "change") + " of the serving pool");
    [Some(failed), quiet, changes].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// For a firing rate: how many requests failed, and what the threshold is.
fn above(alert: &Alert) -> String {
    let threshold = threshold(alert).map_or_else(String::new, |threshold| format!(" (threshold {threshold})"));
    format!("{}{threshold}", failed_requests(alert))
}

/// For a firing rate that is below its threshold: its peak, since when it is below, and what is missing for its end.
fn eased(alert: &Alert, easing: &Easing) -> String {
    let threshold = alert.threshold.map_or_else(String::new, |threshold| threshold.ratio.to_string());
    let since = rfc3339(easing.below_since_unix);
    let clock = since.get(11..16).unwrap_or_default();
    let missing = match easing.missing {
        Missing::Share(resolve) => format!("is over when it stays below {resolve}"),
        Missing::Requests(requests) => format!("over after {}", counted(requests, "more request")),
        Missing::Time(time) => format!("over in {}", duration(time)),
    };
    format!("peak {}, below {threshold} since {clock} UTC, {missing}", to_a_hundredth(easing.peak))
}

/// The operator's comment on a silence, if there is one.
fn comment(alert: &Alert) -> Option<String> {
    let comment = &alert.silence.as_ref()?.comment;
    (!comment.is_empty()).then(|| clean(comment, COMMENT))
}

fn silenced(alert: &Alert) -> String {
    if alert.upstream.is_empty() { several(alert).to_owned() } else { format!("\"{}\"", name(&alert.upstream)) }
}

/// The upstreams that a silence covers if it names none.
fn several(alert: &Alert) -> &'static str {
    let is_configured = alert.silence.as_ref().is_some_and(|silence| silence.ends_unix.is_none());
    if is_configured { "the upstreams with poolwatch_silence" } else { "all upstreams" }
}

fn serving(alert: &Alert) -> String {
    alert.to.as_ref().map_or_else(|| "no pool alone".to_owned(), located)
}

/// Which pool serves now, for a notification: `Serves now: green, release v2.`
pub fn serves_now(alert: &Alert) -> Option<String> {
    let is_told = !matches!(
        alert.kind,
        Kind::Down | Kind::NoLongerWatched | Kind::SilenceBegan | Kind::SilenceEnded | Kind::Test
    );
    let pool = alert.to.as_ref().filter(|_| is_told)?;
    let release = match pool.release.as_slice() {
        [] => String::new(),
        release => format!(", release {}", name(release)),
    };
    Some(format!("Serves now: {}{release}.", called(pool, TITLE_ADDRESS)))
}

/// The word for a severity: `Critical`.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "Info",
        Severity::Warning => "Warning",
        Severity::Critical => "Critical",
    }
}

/// Why attempts failed, one phrase for each reason that occurred: `3 attempts refused`.
pub fn reasons(reasons: &Reasons) -> Vec<String> {
    let all = [
        (reasons.refused, "attempt", "refused"),
        (reasons.no_answer, "attempt", "without a usable answer"),
        (reasons.connect_timed_out, "attempt", "timed out connecting"),
        (reasons.timed_out, "attempt", "timed out"),
        (reasons.server_errors, "attempt", "answered 5xx"),
        (reasons.rejected, "attempt", "answered 4xx and retried"),
        (reasons.no_live_upstreams, "request", "found no live upstream"),
    ];
    let given = all.into_iter().filter(|(count, ..)| *count > 0);
    given.map(|(count, what, how)| format!("{} {how}", counted(count, what))).collect()
}

/// A rate in words: `5 of 200 (2.5%)`; without the percentage if there were no requests.
pub fn rate(rate: Rate) -> String {
    let Rate { errors, requests } = rate;
    if requests == 0 {
        return out_of(rate);
    }
    let share = (u64::from(errors) * 1_000_000 + u64::from(requests) / 2) / u64::from(requests);
    format!("{} ({})", out_of(rate), to_a_hundredth(Ratio::from_millionths(share.min(1_000_000) as u32)))
}

/// The share, rounded to a hundredth of a percent.
fn to_a_hundredth(share: Ratio) -> Ratio {
    Ratio::from_millionths((share.millionths() + 50) / 100 * 100)
}

/// The threshold in words: `2% of 200 requests`.
pub fn threshold(alert: &Alert) -> Option<String> {
    let Threshold { ratio, window, period } = alert.threshold?;
    let window = (window > 0).then(|| format!("of {}", counted(window, "request")));
    let period = (period > Millis::ZERO).then(|| format!("in {}", duration(period)));
    let windows: Vec<String> = window.into_iter().chain(period).collect();
    Some(format!("{ratio} {}", windows.join(" or ")))
}

/// Which rate is compared with the threshold: `upstream`.
pub fn watched_rate(alert: &Alert) -> &'static str {
    match alert.rate_of {
        RateOf::Upstream => "upstream",
        RateOf::Client => "client",
    }
}

/// What was held back meanwhile; `None`: nothing that a reader needs to know.
pub fn waited(suppressed: &Suppressed) -> Option<String> {
    let Suppressed { changes, delayed } = *suppressed;
    let more = counted(changes, "more change");
    match (changes, delayed > LATE) {
        (0, false) => None,
        (0, true) => Some(format!("delayed {}", duration(delayed))),
        (_, false) if delayed < Millis::from_secs(1) => Some(format!("{more} meanwhile")),
        (_, false) => Some(format!("while waiting {}: {more}", duration(delayed))),
        (_, true) => Some(format!("delayed {}, meanwhile {more}", duration(delayed))),
    }
}

/// From one pool to another, as far as they are known. If no pool served before: only the pool that serves now.
fn movement(alert: &Alert, arrow: &str, show: impl Fn(&PoolFacts) -> String) -> String {
    let to = alert.to.as_ref().map_or_else(|| "several pools".to_owned(), &show);
    match &alert.from {
        Some(from) => format!("{} {arrow} {to}", show(from)),
        None => format!("now {to}"),
    }
}

fn after(alert: &Alert) -> String {
    alert.lasted.map_or_else(String::new, |lasted| format!(" after {}", duration(lasted)))
}

/// Failed requests over the window, by the rate that is compared with the threshold.
fn failed_requests(alert: &Alert) -> String {
    let (Rate { errors, requests }, whose) = match alert.rate_of {
        RateOf::Upstream => (alert.window_rates.upstream, "upstream"),
        RateOf::Client => (alert.window_rates.client, "for clients"),
    };
    format!("{errors} of {} failed {whose}", counted(requests, "request"))
}

fn located(pool: &PoolFacts) -> String {
    match pool.addresses.as_slice() {
        [_, ..] if !pool.is_unknown => format!("{} ({})", name(&pool.name), addresses(&pool.addresses, ADDRESS)),
        _ => called(pool, ADDRESS),
    }
}

/// A pool by its name or, if nobody knows it, by the role and the addresses of its servers.
fn called(pool: &PoolFacts, budget: usize) -> String {
    let name = name(&pool.name);
    match pool.addresses.as_slice() {
        _ if !pool.is_unknown => name,
        [] => format!("{name} ({NOT_KNOWN})"),
        all => format!("{name} ({}, {NOT_KNOWN})", addresses(all, budget)),
    }
}

/// The first address, and how many more there are.
fn addresses(all: &[Vec<u8>], budget: usize) -> String {
    match all {
        [] => String::new(),
        [only] => clean(only, budget),
        [first, rest @ ..] => format!("{} and {} more", clean(first, budget), rest.len()),
    }
}

fn name(bytes: &[u8]) -> String {
    clean(bytes, NAME)
}

fn out_of(rate: Rate) -> String {
    format!("{} of {}", rate.errors, rate.requests)
}

fn counted(count: impl Into<u64>, what: &str) -> String {
    match count.into() {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests;
