//! The values of nginx's variables about an upstream.

use super::view::names::Named;
use super::view::serving::ServingView;
use super::view::values::name;
use crate::detect::serving::Serving;
use crate::state::snapshot::Upstream;
use crate::units::Millis;

/// `$poolwatch_state`
pub fn state(upstream: &Upstream) -> &'static str {
    ServingView::now(upstream).state.name()
}

/// `$poolwatch_pool`: the pool that serves. `None`: none does, or several do.
pub fn pool(upstream: &Upstream) -> Option<String> {
    ServingView::now(upstream).pool.map(|pool| pool.to_string())
}

/// `$poolwatch_release`: the last release that the serving pool named. `None`: it named none, or several pools serve.
pub fn release(upstream: &Upstream) -> Option<String> {
    let Serving::Pool(id) = upstream.detection.failover.serving() else { return None };
    let is_alone = !upstream.view().is_several(Serving::Pool(id));
    let release = Some(&upstream.detection.releases[id]).filter(|release| is_alone && !release.is_empty());
    release.map(|release| name(release.as_bytes()))
}

/// `$poolwatch_error_rate`: the rate that is watched, as a ratio: `0.0250`. `None`: no rate is watched, or there were no requests.
pub fn error_rate(upstream: &Upstream, now: Millis) -> Option<String> {
    let rules = upstream.setup.rules.error_rate?;
    upstream.view().counts(now).ratio(rules.of).map(|ratio| format!("{ratio:.4}"))
}
