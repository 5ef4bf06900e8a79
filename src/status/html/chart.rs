//! The charts of the last hour: errors, response times, requests.

use std::fmt::Write;

use super::words::{counted, grouped, last, latency, percent, span, whole};
use crate::config::rules::RateOf;
use crate::status::view::names::Named;
use crate::status::view::traffic::SeriesView;
use crate::status::view::upstream::{ErrorRateView, RateView, UpstreamView};
use crate::status::view::values::Timestamp;
use maud::{Markup, html};

/// The height of a drawing in its own units.
const HEIGHT: f64 = 100.0;

/// The charts of one upstream. `now`: when the document was made.
pub(super) fn charts(upstream: &UpstreamView, now: Timestamp) -> Markup {
    let series = &upstream.series;
    let shown = last(series.step_seconds * series.requests.len() as f64);
    html! {
        h3 { "Traffic" span.soft { ", last " (shown) } }
        div.charts {
            (errors(upstream.error_rate.as_ref(), series))
            (latencies(series))
            (requests(series, now))
        }
    }
}

fn errors(rate: Option<&ErrorRateView>, series: &SeriesView) -> Markup {
    let shares = |errors: &[u32]| -> Vec<Option<f64>> {
        let of = |(&errors, &requests)| Some(f64::from(errors) / f64::from(requests)).filter(|share| *share > 0.0);
        errors.iter().zip(&series.requests).map(of).collect()
    };
    let (upstream, client) = (shares(&series.upstream_errors), shares(&series.client_errors));
    let threshold = rate.map(|rate| rate.threshold);
    let top = highest([&upstream, &client]).max(threshold.unwrap_or_default() * 2.5).clamp(0.001, 1.0);
    let limit = html! {
        @if let Some(threshold) = threshold {
            @let y = format!("{:.1}%", 100.0 - threshold / top * 100.0);
            line.limit x1="0" x2="100%" y1=(y) y2=(y) {}
            text x="0" y=(y) dy="-4" { "limit " (percent(threshold)) }
        }
    };
    let label = format!("Share of failed requests, at most {}", percent(highest([&upstream, &client])));
    html! {
        figure class={ "chart " (rate.map_or("", |rate| rate.level.name())) } {
            figcaption {
                span.what { "Errors" }
                @if let Some(rate) = rate {
                    @let (watched, other) = rates(rate);
                    strong { (ratio(watched.1)) }
                    span.soft { (watched.0.name()) ", of " (counted(watched.1.requests.into(), "request")) }
                    span.soft { (other.0.name()) " " (ratio(other.1)) }
                } @else {
                    strong { "–" }
                    span.soft { "not watched" }
                }
            }
            (plot(&label, upstream.len(), &[("warning", bars(&upstream, top)), ("critical", bars(&client, top))], &limit))
            p.legend { span.warning { "hidden from clients" } span.critical { "seen by clients" } }
        }
    }
}

/// The rate that is watched, and the other one.
fn rates(rate: &ErrorRateView) -> ((RateOf, &RateView), (RateOf, &RateView)) {
    let (upstream, client) = ((RateOf::Upstream, &rate.upstream), (RateOf::Client, &rate.client));
    match rate.of {
        RateOf::Upstream => (upstream, client),
        RateOf::Client => (client, upstream),
    }
}

fn latencies(series: &SeriesView) -> Markup {
    let (p50, p95) = (&series.p50_seconds, &series.p95_seconds);
    let top = highest([p50, p95]);
    let slowest = latency(Some(top).filter(|top| *top > 0.0));
    let label = format!("Response time, 95% within at most {slowest}");
    // The step that is going on may have no answer yet.
    let latest = |times: &[Option<f64>]| times.iter().rev().take(2).find_map(|time| *time);
    let of = match p50.as_slice() {
        [.., Some(_)] => ", this minute",
        [.., Some(_), None] => ", last minute",
        _ => "",
    };
    html! {
        figure.chart {
            figcaption {
                span.what { "Response time" }
                strong { (latency(latest(p50))) }
                span.soft { "median" (of) }
                span.soft { "95% within " (latency(latest(p95))) }
            }
            (plot(&label, p50.len().saturating_sub(1), &[("p95", line(p95, top * 1.15)), ("p50", line(p50, top * 1.15))], &html! {}))
            p.legend { span.p50 { "median" } span.p95 { "95%" } span.top { "top " (slowest) } }
        }
    }
}

fn requests(series: &SeriesView, now: Timestamp) -> Markup {
    let requests: Vec<Option<f64>> = series.requests.iter().map(|&count| Some(count.into())).collect();
    let step = series.step_seconds.max(1.0);
    let top = highest([&requests]);
    let (rate, seconds) = latest_rate(&requests, step, series.end.seconds_since(now));
    let total = grouped(whole(requests.iter().flatten().sum()));
    let label = format!("Requests: {total}");
    html! {
        figure.chart {
            figcaption {
                span.what { "Requests" }
                strong { (per_second(rate)) }
                span.soft { "per second, last " (span(seconds)) }
                span.soft { (total) " in all" }
            }
            (plot(&label, requests.len(), &[("count", bars(&requests, top * 1.15))], &html! {}))
            p.legend { span.top { "top " (per_second(top / step)) } }
        }
    }
}

/// Requests per second, and over how many seconds that is: of the step that is going on and has `left` seconds to go, if half of it
/// is over, else of the one before as well.
fn latest_rate(requests: &[Option<f64>], step: f64, left: f64) -> (f64, f64) {
    let over = (step - left).clamp(1.0, step);
    let (steps, seconds) = if over * 2.0 < step { (2, step + over) } else { (1, over) };
    let counted = requests.iter().rev().take(steps).flatten().sum::<f64>();
    (counted / seconds, seconds)
}

/// Paths over `width` units, stretched to the width of the page, and `over`, which is not stretched.
fn plot(label: &str, width: usize, paths: &[(&str, String)], over: &Markup) -> Markup {
    html! {
        svg.plot role="img" aria-label=(label) {
            svg viewBox={ "0 0 " (width.max(1)) " 100" } preserveAspectRatio="none" width="100%" height="100%" {
                @for (class, path) in paths { path class=(class) d=(path) {} }
            }
            (over)
        }
    }
}

fn ratio(rate: &RateView) -> String {
    rate.ratio.map_or_else(|| "–".to_owned(), percent)
}

fn per_second(rate: f64) -> String {
    if rate >= 10.0 || rate == 0.0 { grouped(whole(rate)) } else { format!("{rate:.1}") }
}

fn highest<const N: usize>(columns: [&Vec<Option<f64>>; N]) -> f64 {
    columns.into_iter().flatten().flatten().copied().fold(0.0, f64::max)
}

/// A bar for each value above 0, at least 2 units high.
fn bars(values: &[Option<f64>], top: f64) -> String {
    let mut path = String::new();
    for (index, value) in values.iter().enumerate() {
        if let Some(value) = value.filter(|value| *value > 0.0) {
            let height = (value / top * HEIGHT).clamp(2.0, HEIGHT);
            // Writing to a String does not fail.
            let _ = write!(path, "M{index}.1 100v-{height:.0}h.8v{height:.0}z");
        }
    }
    path
}

/// A line through the values, with gaps where there are none.
fn line(values: &[Option<f64>], top: f64) -> String {
    let mut path = String::new();
    let mut pen = 'M';
    for (index, value) in values.iter().enumerate() {
        let Some(value) = value else {
            pen = 'M';
            continue;
        };
        let y = HEIGHT - (value / top.max(f64::MIN_POSITIVE) * HEIGHT).clamp(0.0, HEIGHT);
        // A value between two gaps is a dot.
        let dot = if pen == 'M' { "h0" } else { "" };
        let _ = write!(path, "{pen}{index} {y:.0}{dot}");
        pen = 'L';
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_last_moments_and_says_of_which() {
        let requests = [Some(6000.0), Some(60.0), Some(960.0)];
        assert_eq!(latest_rate(&requests, 60.0, 0.0), (16.0, 60.0));
        assert_eq!(latest_rate(&requests, 60.0, 30.0), (32.0, 30.0));
        assert_eq!(latest_rate(&requests, 60.0, 45.0), (13.6, 75.0));
        assert_eq!(latest_rate(&[], 60.0, 61.0), (0.0, 61.0));
        let shown = |seconds_left: u64| {
            let requests = vec![6000, 60, 960];
            let series =
                SeriesView { step_seconds: 60.0, end: Timestamp::from_unix(60_000), requests, ..SeriesView::default() };
            super::requests(&series, Timestamp::from_unix((60 - seconds_left) * 1000)).into_string()
        };
        assert!(shown(15).contains(r#"<strong>21</strong><span class="soft">per second, last 45 s"#));
        assert!(shown(45).contains(r#"<strong>14</strong><span class="soft">per second, last 1 min 15 s"#));
    }

    #[test]
    fn a_response_time_says_of_which_minute_it_is() {
        let shown = |p50: &[Option<f64>]| {
            let (p50_seconds, p95_seconds) = (p50.to_vec(), p50.to_vec());
            latencies(&SeriesView { p50_seconds, p95_seconds, ..SeriesView::default() }).into_string()
        };
        let (fast, slow) = (Some(0.001), Some(0.002));
        assert!(shown(&[fast, slow]).contains(r#"<strong>2 ms</strong><span class="soft">median, this minute<"#));
        assert!(shown(&[fast, None]).contains(r#"<strong>1 ms</strong><span class="soft">median, last minute<"#));
        assert!(shown(&[fast, None, None]).contains(r#"<strong>–</strong><span class="soft">median<"#));
    }

    #[test]
    fn bars_stand_on_the_ground_and_small_ones_can_be_seen() {
        assert_eq!(bars(&[None, Some(0.0), Some(0.5), Some(0.0001)], 1.0), "M2.1 100v-50h.8v50zM3.1 100v-2h.8v2z");
    }

    #[test]
    fn a_line_has_gaps_where_nothing_was_seen() {
        assert_eq!(line(&[Some(0.0), Some(1.0), None, Some(0.5)], 1.0), "M0 100h0L1 0M3 50h0");
        assert_eq!(line(&[Some(0.0)], 0.0), "M0 100h0");
    }
}
