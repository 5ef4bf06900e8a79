//! Who served when, one lane for each pool, and what happened, over the last hours.

use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use super::palette::Palette;
use super::words::{last, list, number, percent, span, text, unix};

/// Hours that may be shown: the fewest that have all changes, else the most.
const HOURS: [u32; 4] = [1, 3, 6, 12];

/// A stretch of time in one state.
struct Stretch<'a> {
    serving: &'a Value,
    begin: f64,
    end: f64,
}

/// What is shown of time.
#[derive(Clone, Copy)]
struct Window {
    hours: u32,
    now: f64,
}

/// The lanes, from an upstream's own changes, newest first.
pub(super) fn timeline(palette: &Palette, upstream: &Value, changes: &[&Value], now: &str) -> Markup {
    let Some(now) = unix(now) else { return html! {} };
    let window = Window::of(changes, now);
    let stretches = stretches(upstream, changes, now);
    let others = [("several", "several"), ("mixed", "mixed"), ("down", "nobody")];
    let in_state = |key, value| -> Vec<&Stretch> {
        stretches.iter().filter(|stretch| text(stretch.serving, key) == value).collect()
    };
    html! {
        section.timeline aria-label={ "Who served in the last " (last(window.seconds())) } {
            h3 { "Who served" span.soft { ", last " (last(window.seconds())) } }
            div.lanes {
                @for pool in list(upstream, "pools") {
                    @let name = text(pool, "name");
                    (lane(&palette.pool(name), &palette.look(name).to_string(), name, &in_state("pool", name), window))
                }
                @for (state, label) in others {
                    @let its = in_state("state", state);
                    @if its.iter().any(|stretch| window.share(stretch) > 0.0) {
                        (lane(&html! { span.pool { (label) } }, state, label, &its, window))
                    }
                }
                (incidents(changes, window))
            }
            p.axis aria-hidden="true" {
                span { (span(window.seconds())) " ago" }
                span { (span(window.seconds() / 2.0)) }
                span { "now" }
            }
        }
    }
}

fn lane(label: &Markup, look: &str, name: &str, stretches: &[&Stretch], window: Window) -> Markup {
    let share: f64 = stretches.iter().map(|stretch| window.share(stretch)).sum();
    html! {
        div.lane {
            div.who { (label) }
            svg class={ "bar p" (look) } role="img" aria-label={ (name) ": " (rounded(share)) } {
                @for stretch in stretches.iter().filter(|stretch| window.share(stretch) > 0.0) {
                    rect x=(window.x(stretch.begin)) y="1" width=(window.width(stretch.begin, stretch.end)) height="14" {
                        title { (name) " for " (window.at_least(stretch)) }
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
fn incidents(changes: &[&Value], window: Window) -> Markup {
    let shown = |change: &&&Value| unix(text(change, "at")).is_some_and(|at| at >= window.begin());
    let told: Vec<_> = changes.iter().filter(|change| text(change, "kind") != "untold").filter(shown).collect();
    html! {
        @if !told.is_empty() {
            div.lane {
                div.who { "incidents" }
                svg.bar.marks role="img" aria-label={ "incidents: " (told.len()) } {
                    @for change in told.iter().rev() {
                        @let at = unix(text(change, "at")).unwrap_or_default();
                        @let began = at - number(change, "lasted_seconds");
                        @if began < at {
                            rect.lasted x=(window.x(began)) y="7" width=(window.width(began, at)) height="2" {}
                        }
                        svg class=(text(change, "severity")) x=(window.x(at)) y="8" overflow="visible" {
                            (PreEscaped(shape(text(change, "severity"))))
                            title { (super::history::what(change)) ", " (text(change, "at")) }
                        }
                    }
                }
                div.share { (told.len()) }
            }
        }
    }
}

/// By severity, around the origin.
fn shape(severity: &str) -> &'static str {
    match severity {
        "critical" => r#"<path d="M-3-6h6l3 3v6l-3 3h-6l-3-3v-6z"/>"#,
        "warning" => r#"<path d="M0-6 6.5 5.5h-13z"/>"#,
        _ => r#"<circle r="4"/>"#,
    }
}

/// The states that followed one another, oldest first. What served before the first change is known from the change
/// itself, since when is not.
fn stretches<'a>(upstream: &'a Value, changes: &[&'a Value], now: f64) -> Vec<Stretch<'a>> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut enter = |serving: &'a Value, at: f64| match stretches.last_mut() {
        Some(last) if last.serving == serving => {}
        last => {
            if let Some(last) = last {
                last.end = at;
            }
            stretches.push(Stretch { serving, begin: at, end: now });
        }
    };
    if let Some(first) = changes.last() {
        enter(&first["from"], f64::NEG_INFINITY);
    }
    for change in changes.iter().rev() {
        enter(&change["to"], unix(text(change, "at")).unwrap_or(now));
    }
    enter(&upstream["serving"], unix(text(upstream, "since")).unwrap_or(now));
    stretches
}

impl Window {
    fn of(changes: &[&Value], now: f64) -> Self {
        let oldest = changes.last().and_then(|change| unix(text(change, "at"))).unwrap_or(now);
        let fits = |hours: &&u32| now - f64::from(**hours) * 3600.0 <= oldest;
        let most = HOURS[HOURS.len() - 1];
        Self { hours: HOURS.iter().find(fits).copied().unwrap_or(most), now }
    }

    fn begin(self) -> f64 {
        self.now - self.seconds()
    }

    fn seconds(self) -> f64 {
        f64::from(self.hours) * 3600.0
    }

    /// The part of the window that a stretch takes.
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
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn serving(pool: &str) -> Value {
        match pool {
            "unknown" | "mixed" | "down" => json!({ "state": pool, "pool": null }),
            _ => json!({ "state": "pool", "pool": pool }),
        }
    }

    fn change(at: &str, from: &str, to: &str) -> Value {
        let (kind, at) = ("failover", format!("2026-11-24T{at}Z"));
        json!({ "kind": kind, "severity": "warning", "at": at, "from": serving(from), "to": serving(to) })
    }

    /// The lanes as `name share`, with blue and green as pools and green serving since 11:45.
    fn lanes(changes: &[Value]) -> Vec<String> {
        let pools = json!([{ "name": "blue" }, { "name": "green" }]);
        let upstream = json!({ "pools": pools, "serving": serving("green"), "since": "2026-11-24T11:45:00Z" });
        let changes: Vec<&Value> = changes.iter().collect();
        let markup = timeline(&Palette::of(&upstream), &upstream, &changes, NOW).into_string();
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
        let rate = json!({ "kind": "error_rate_firing", "severity": "warning", "at": "2026-11-24T11:50:00Z",
            "from": serving("green"), "to": serving("green") });
        let moved = [rate, change("11:45:00", "down", "green"), change("11:30:00", "blue", "down")];
        assert_eq!(lanes(&moved), ["blue: 50%", "green: 25%", "nobody: 25%", "incidents: 3"]);
    }

    #[test]
    fn older_changes_widen_the_window_up_to_its_most() {
        let begin = |at| lanes(&[change("11:45:00", "blue", "green"), change(at, "unknown", "blue")]);
        assert_eq!(begin("09:00:00")[1], "green: 8.3%");
        assert_eq!(begin("00:00:01")[1], "green: 2.1%");
        let at = "2026-11-20T00:00:00Z";
        let yesterday = json!({ "kind": "untold", "at": at, "from": serving("unknown"), "to": serving("blue") });
        assert_eq!(
            lanes(&[change("11:45:00", "blue", "green"), yesterday]),
            ["blue: 97.9%", "green: 2.1%", "incidents: 1"]
        );
    }
}
