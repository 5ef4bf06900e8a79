//! The status page: the state, for people.
//!
//! It is drawn from the values whose JSON `api/v1/state` answers, so both say the same, and it is drawn here alone: its script
//! fetches the page again and takes over what differs. So it says the same without scripts.

mod attention;
mod card;
mod chart;
mod controls;
mod faults;
mod history;
mod palette;
mod receivers;
mod timeline;
mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::status::view::StateView;
use crate::status::view::serving::ServingState;
use crate::status::view::upstream::UpstreamView;
use attention::Attention;
use card::card;
use palette::Palette;
use words::{counted, grouped, moment};

/// The value of the header Content-Security-Policy that belongs to the page: this style and this script, and nothing else.
pub const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-BmvocGsnMs3tOnbXRuFyWVbNoDK+S/TrSSXgquInoUQ='; \
    script-src 'sha256-gDxSE4nVbOkbv7x1OjGrYExvbPV1IpW6tgeZ0R2bDJ8='; \
    img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Upstreams that are shown as cards; of more, those in an incident. The others have a tile that leads to them.
const CARDS: usize = 12;

/// Cards that are open when there are several: of those in an incident.
const OPEN: usize = 3;

/// Seconds between two looks of a reader without scripts.
const REFRESH: u32 = 10;

/// The page of a state, with controls if its location takes writes. `query` is what stands behind the `?` of the request, raw:
/// `upstream=` shows this one alone.
pub fn page(state: &StateView, query: &str) -> String {
    let mut upstreams: Vec<&UpstreamView> = state.upstreams.iter().collect();
    // By need, then by name.
    upstreams.sort_by_cached_key(|upstream| (Attention::of(upstream), upstream.name.as_str()));
    let chosen = upstreams.iter().copied().find(|upstream| query == link(upstream).trim_start_matches('?'));
    document(state, &upstreams, chosen).into_string()
}

fn document(state: &StateView, upstreams: &[&UpstreamView], chosen: Option<&UpstreamView>) -> Markup {
    let all_watch = faults::all_watch(state);
    let verdict = verdict(upstreams, all_watch);
    let worst = upstreams.first().map_or(Attention::Calm, |upstream| Attention::of(upstream));
    let worst = if all_watch { worst } else { worst.min(Attention::Warning) };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title(upstreams, worst)) }
                link #icon rel="icon" href=(icon(worst));
                noscript { meta http-equiv="refresh" content=(REFRESH); }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Poolwatch" span.soft { " on " bdi { (state.host) } } }
                    p #live role="status" { "As of " (moment(state.now, state.now)) }
                }
                main #main {
                    p #verdict role="status" .alone[upstreams.len() == 1] { (verdict) }
                    (faults::faults(state))
                    @if upstreams.len() > 1 { (overview(upstreams, chosen)) }
                    @if upstreams.is_empty() && all_watch {
                        section.card { p { "No upstream is watched: " code { "poolwatch on" } " stands in none." } }
                    }
                    @for (index, upstream) in shown(upstreams, chosen).into_iter().enumerate() {
                        @let is_alone = upstreams.len() == 1 || chosen.is_some();
                        @let is_open = is_alone || index < OPEN && Attention::of(upstream) < Attention::Calm;
                        (card(state, upstream, is_open))
                    }
                    (receivers::silences(state))
                    (receivers::receivers(state))
                    (history::history(state))
                    @if state.write { (controls::shared()) }
                }
                (footer(state))
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// Those with a card: the chosen one, or as many as there is room for, and those in an incident first.
fn shown<'a>(upstreams: &[&'a UpstreamView], chosen: Option<&'a UpstreamView>) -> Vec<&'a UpstreamView> {
    match chosen {
        Some(chosen) => vec![chosen],
        None if upstreams.len() <= CARDS => upstreams.to_vec(),
        None => {
            let in_need = upstreams.iter().filter(|upstream| Attention::of(upstream) < Attention::Calm);
            in_need.take(CARDS).copied().collect()
        }
    }
}

/// All upstreams at a glance.
fn overview(upstreams: &[&UpstreamView], chosen: Option<&UpstreamView>) -> Markup {
    let cards = shown(upstreams, chosen);
    html! {
        nav #overview aria-label="Upstreams" {
            @if chosen.is_some() { a.all href="./" { "all upstreams" } }
            @for upstream in upstreams.iter().copied() {
                @let palette = Palette::of(upstream.pool_names());
                @let has_card = cards.iter().any(|card| std::ptr::eq(*card, upstream));
                @let target = if has_card { format!("#{}", card::id(upstream)) } else { link(upstream) };
                a href=(target) class={ "tile " (Attention::of(upstream).name()) " " (card::look(&palette, upstream)) } {
                    span.emblem aria-hidden="true" { (card::emblem(&palette, upstream)) }
                    bdi { (upstream.name) }
                    span.soft { bdi { (serving(upstream)) } @if upstream.silenced { ", silenced" } }
                }
            }
        }
    }
}

fn footer(state: &StateView) -> Markup {
    let module = &state.module;
    html! {
        footer {
            p #module {
                span { "Poolwatch " (module.version) }
                span { "nginx " (module.nginx_version) }
                span { (counted(module.worker_processes, "worker")) }
                span { (counted(module.configurations, "configuration")) " loaded" }
                span {
                    "zone " (module.zone.upstreams_used) " of " (counted(module.zone.upstreams_max, "upstream"))
                    " in " (grouped(module.zone.size_bytes / 1024)) " KiB"
                }
                span { (counted(module.observations_dropped, "observation")) " dropped" }
            }
            p { a href="api/v1/state" { "JSON" } a href="metrics" { "Metrics" } }
        }
    }
}

/// All in a sentence, without anything that changes by itself: it is read aloud when it changes.
fn verdict(upstreams: &[&UpstreamView], all_watch: bool) -> String {
    let in_need: Vec<_> = upstreams.iter().filter(|upstream| Attention::of(upstream) < Attention::Calm).collect();
    let what = |upstream: &UpstreamView| format!("{}: {}", upstream.name, serving(upstream));
    let said = match (upstreams, in_need.as_slice()) {
        ([], _) => "No upstream is watched.".to_owned(),
        ([only], []) => format!("{}.", what(only)),
        (all, []) => format!("All {} upstreams are as expected.", all.len()),
        ([_], [only]) => format!("Needs attention: {}.", what(only)),
        (all, some) => {
            let first: Vec<String> = some.iter().take(3).map(|upstream| what(upstream)).collect();
            let more = if some.len() > 3 { ", …" } else { "" };
            format!("{} of {} upstreams need attention: {}{more}", some.len(), all.len(), first.join(", "))
        }
    };
    if all_watch { said } else { format!("Not all requests are watched. {said}") }
}

fn title(upstreams: &[&UpstreamView], worst: Attention) -> String {
    let sign = if worst == Attention::Calm { "" } else { "⚠ " };
    match upstreams {
        [] => format!("{sign}Poolwatch"),
        [first, ..] if Attention::of(first) < Attention::Calm || upstreams.len() == 1 => {
            format!("{sign}{}: {} – Poolwatch", first.name, serving(first))
        }
        all => format!("{sign}{} upstreams as expected – Poolwatch", all.len()),
    }
}

/// `green serves instead of blue`
fn serving(upstream: &UpstreamView) -> String {
    let words = words::state(upstream.serving.state);
    let expected = upstream.expected_pool.as_ref().filter(|_| !upstream.as_expected);
    match (upstream.serving.state, &upstream.serving.pool, expected) {
        (ServingState::Pool, Some(pool), None) => format!("{pool} {words}"),
        (ServingState::Pool, Some(pool), Some(expected)) => format!("{pool} {words} instead of {expected}"),
        _ => words.to_owned(),
    }
}

/// The page of one upstream.
fn link(upstream: &UpstreamView) -> String {
    let encoded = upstream.name.as_str().bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    format!("?upstream={}", encoded.collect::<String>())
}

/// The tab's icon: a shape and a colour by what is wrong.
fn icon(worst: Attention) -> String {
    let shape = match worst {
        Attention::Critical => "<path fill='%23dc2626' d='M5 1h6l4 4v6l-4 4H5l-4-4V5z'/>",
        Attention::Warning => "<path fill='%23d97706' d='M8 1l7.5 14H.5z'/>",
        Attention::Calm => "<circle fill='%236b7280' cx='8' cy='8' r='7'/>",
    };
    format!("data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>{shape}</svg>")
}

#[cfg(test)]
mod tests;
