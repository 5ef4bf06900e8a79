//! The timeline of the last hours: a lane for each pool and state, and one for incidents.

use super::history::what;
use super::palette::Palette;
use super::words::{last, percent, span};
use crate::alert::Severity;
use crate::status::view::deliveries::{ChangeKind, ChangeView};
use crate::status::view::names::Named;
use crate::status::view::serving::{ServingState, ServingView};
use crate::status::view::upstream::UpstreamView;
use crate::status::view::values::Timestamp;
use maud::{Markup, PreEscaped, html};

/// Hours that may be shown: the fewest that have all changes, else the most.
const HOURS: [u32; 4] = [1, 3, 6, MOST_HOURS];
/// See [`HOURS`].
const MOST_HOURS: u32 = 12;

/// A stretch of time in one state.
struct Stretch<'a> {
    serving: &'a ServingView,
    begin: f64,
    end: f64,
}

/// The hours that are shown.
#[derive(Clone, Copy)]
struct Hours {
    count: u32,
    now: f64,
}

/// The lanes, from an upstream's own changes, newest first.
pub(super) fn timeline(palette: &Palette, upstream: &UpstreamView, changes: &[&ChangeView], now: Timestamp) -> Markup {
    let now = now.seconds();
    let hours = Hours::of(changes, now);
    let stretches = stretches(upstream, changes, now);
    let others = [(ServingState::Several, "several"), (ServingState::Mixed, "mixed"), (ServingState::Down, "nobody")];
    let those = |is_one: &dyn Fn(&ServingView) -> bool| -> Vec<&Stretch> {
        stretches.iter().filter(|stretch| is_one(stretch.serving)).collect()
    };
    html! {
        section.timeline aria-label={ "Who served in the last " (last(hours.seconds())) } {
            h3 { "Who served" span.soft { ", last " (last(hours.seconds())) } }
            div.lanes {
                @for pool in &upstream.pools {
                    @let its = those(&|serving| serving.pool.as_ref() == Some(&pool.name));
                    @let name = pool.name.as_str();
                    (lane(&palette.pool(name), &palette.look(name).to_string(), name, &its, hours))
                }
                @for (state, label) in others {
                    @let its = those(&|serving| serving.state == state);
                    @if its.iter().any(|stretch| hours.share(stretch) > 0.0) {
                        (lane(&html! { span.pool { (label) } }, state.name(), label, &its, hours))
                    }
                }
                (incidents(changes, hours))
            }
            p.axis aria-hidden="true" {
                span { (span(hours.seconds())) " ago" }
                span { (span(hours.seconds() / 2.0)) }
                span { "now" }
            }
        }
    }
}

fn lane(label: &Markup, look: &str, name: &str, stretches: &[&Stretch], hours: Hours) -> Markup {
    let share: f64 = stretches.iter().map(|stretch| hours.share(stretch)).sum();
    html! {
        div.lane {
            div.who { (label) }
            svg class={ "bar p" (look) } role="img" aria-label={ (name) ": " (rounded(share)) } {
                @for stretch in stretches.iter().filter(|stretch| hours.share(stretch) > 0.0) {
                    rect x=(hours.x(stretch.begin)) y="1" width=(hours.width(stretch.begin, stretch.end)) height="14" {
                        title { (name) " for " (hours.at_least(stretch)) }
                    }
                }
            }
            div.share { (rounded(share)) }
        }
    }
}

/// To a tenth of a percent: the lanes tell no more.
fn rounded(share: f64) -> String {
    percent((share * 1000.0).round() / 1000.0)
}

/// Marks of what happened, and how long error rates were too high.
fn incidents(changes: &[&ChangeView], hours: Hours) -> Markup {
    let is_shown = |change: &&&ChangeView| change.at.seconds() >= hours.begin();
    let announced: Vec<_> = changes.iter().filter(|change| change.kind != ChangeKind::Quiet).filter(is_shown).collect();
    html! {
        @if !announced.is_empty() {
            div.lane {
                div.who { "incidents" }
                svg.bar.marks role="img" aria-label={ "incidents: " (announced.len()) } {
                    @for change in announced.iter().rev() {
                        @let at = change.at.seconds();
                        @let began = at - change.lasted_seconds.unwrap_or_default();
                        @if began < at {
                            rect.lasted x=(hours.x(began)) y="7" width=(hours.width(began, at)) height="2" {}
                        }
                        svg class=(change.severity.name()) x=(hours.x(at)) y="8" overflow="visible" {
                            (PreEscaped(shape(change.severity)))
                            title { (what(change)) ", " (change.at) }
                        }
                    }
                }
                div.share { (announced.len()) }
            }
        }
    }
}

/// By severity, around the origin.
fn shape(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => r#"<path d="M-3-6h6l3 3v6l-3 3h-6l-3-3v-6z"/>"#,
        Severity::Warning => r#"<path d="M0-6 6.5 5.5h-13z"/>"#,
        Severity::Info => r#"<circle r="4"/>"#,
    }
}

/// The states that followed one another, oldest first. What served before the first change is known from the change
/// itself, since when is not.
fn stretches<'a>(upstream: &'a UpstreamView, changes: &[&'a ChangeView], now: f64) -> Vec<Stretch<'a>> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut enter = |serving: &'a ServingView, at: f64| match stretches.last_mut() {
        Some(last) if last.serving == serving => {}
        last => {
            if let Some(last) = last {
                last.end = at;
            }
            stretches.push(Stretch { serving, begin: at, end: now });
        }
    };
    if let Some(first) = changes.last() {
        enter(&first.from, f64::NEG_INFINITY);
    }
    for change in changes.iter().rev() {
        enter(&change.to, change.at.seconds());
    }
    enter(&upstream.serving, upstream.since.map_or(now, Timestamp::seconds));
    stretches
}

impl Hours {
    fn of(changes: &[&ChangeView], now: f64) -> Self {
        let oldest = changes.last().map_or(now, |change| change.at.seconds());
        let fits = |hours: &u32| now - f64::from(*hours) * 3600.0 <= oldest;
        Self { count: HOURS.into_iter().find(fits).unwrap_or(MOST_HOURS), now }
    }

    fn begin(self) -> f64 {
        self.now - self.seconds()
    }

    fn seconds(self) -> f64 {
        f64::from(self.count) * 3600.0
    }

    /// The part of the hours that a stretch takes, from 0 to 1.
    fn share(self, stretch: &Stretch) -> f64 {
        ((stretch.end - stretch.begin.max(self.begin())) / self.seconds()).clamp(0.0, 1.0)
    }

    fn x(self, at: f64) -> String {
        format!("{:.2}%", ((at - self.begin()) / self.seconds() * 100.0).clamp(0.0, 100.0))
    }

    fn width(self, begin: f64, end: f64) -> String {
        format!("{:.2}%", ((end - begin.max(self.begin())) / self.seconds() * 100.0).clamp(0.0, 100.0))
    }

    /// How long a stretch lasted, as far as it is known.
    fn at_least(self, stretch: &Stretch) -> String {
        let known = span(stretch.end - stretch.begin.max(self.begin()));
        if stretch.begin < self.begin() { format!("at least {known}") } else { known }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::status::html::tests::example;

    fn read<T: for<'a> serde::Deserialize<'a>>(value: Value) -> T {
        serde_json::from_value(value).expect("a part of a document")
    }

    fn serving(pool: &str) -> Value {
        match pool {
            "unknown" | "mixed" | "down" => json!({ "state": pool, "pool": null }),
            _ => json!({ "state": "pool", "pool": pool }),
        }
    }

    fn change(at: &str, from: &str, to: &str) -> ChangeView {
        change_of("failover", &format!("2026-11-24T{at}Z"), from, to)
    }

    fn change_of(kind: &str, at: &str, from: &str, to: &str) -> ChangeView {
        let (from, to) = (serving(from), serving(to));
        let (upstream, severity) = ("app", "warning");
        read(json!({ "upstream": upstream, "kind": kind, "severity": severity, "at": at, "from": from, "to": to,
            "deliveries": [] }))
    }

    /// The lanes as `name share`, with blue and green as pools and green serving since 11:45.
    fn lanes(changes: &[ChangeView]) -> Vec<String> {
        let mut upstream = example().upstreams.swap_remove(0);
        (upstream.serving, upstream.since) = (read(serving("green")), read(json!("2026-11-24T11:45:00Z")));
        let changes: Vec<&ChangeView> = changes.iter().collect();
        let now = read(json!("2026-11-24T12:00:00Z"));
        let markup = timeline(&Palette::of(upstream.pool_names()), &upstream, &changes, now).into_string();
        let labels = markup.split("aria-label=\"").skip(2).map(|rest| rest.split('"').next().unwrap_or_default());
        labels.map(str::to_owned).collect()
    }

    #[test]
    fn each_pool_has_the_share_of_time_that_it_served() {
        let moved = [change("11:45:00", "blue", "green"), change("11:15:00", "unknown", "blue")];
        assert_eq!(lanes(&moved), ["blue: 50%", "green: 25%", "incidents: 2"]);
    }

    #[test]
    fn what_served_before_the_oldest_change_served_since_ever() {
        assert_eq!(lanes(&[change("11:45:00", "blue", "green")]), ["blue: 75%", "green: 25%", "incidents: 1"]);
    }

    #[test]
    fn an_outage_has_a_lane_and_a_change_of_anything_else_ends_nothing() {
        let rate = change_of("error_rate_firing", "2026-11-24T11:50:00Z", "green", "green");
        let moved = [rate, change("11:45:00", "down", "green"), change("11:30:00", "blue", "down")];
        assert_eq!(lanes(&moved), ["blue: 50%", "green: 25%", "nobody: 25%", "incidents: 3"]);
    }

    #[test]
    fn older_changes_widen_the_window_up_to_its_most() {
        let begin = |at| lanes(&[change("11:45:00", "blue", "green"), change(at, "unknown", "blue")]);
        assert_eq!(begin("09:00:00")[1], "green: 8.3%");
        assert_eq!(begin("00:00:01")[1], "green: 2.1%");
        let yesterday = change_of("untold", "2026-11-20T00:00:00Z", "unknown", "blue");
        assert_eq!(
            lanes(&[change("11:45:00", "blue", "green"), yesterday]),
            ["blue: 97.9%", "green: 2.1%", "incidents: 1"]
        );
    }
}
