//! Where a request goes: its method and its path below the location of `poolwatch_status`.

use crate::status::json::Part;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The page for people.
    Page,
    /// A document of the API.
    Json(Part),
    /// Prometheus' text.
    Metrics,
    /// Begin a silence.
    Silence,
    /// End the silence of this number.
    EndSilence(u64),
    /// Send a test message.
    Test,
}

/// Why no route matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// There is no such path.
    NotFound,
    /// The location's own name without the slash after it.
    SlashMissing,
    /// The path takes other methods alone, listed as the header `Allow` does.
    NotAllowed(&'static str),
}

const READ: &str = "GET, HEAD";

/// Finds the route of a request. `path` is what follows the location's name, `method` as the client sent it.
///
/// # Errors
/// There is no such path, or it does not take this method.
pub fn route(method: &[u8], path: &[u8]) -> Result<Route, RouteError> {
    let is_read = method == b"GET" || method == b"HEAD";
    let read = |route| if is_read { Ok(route) } else { Err(RouteError::NotAllowed(READ)) };
    let silence = path.strip_prefix(b"/api/v1/silences/").and_then(number);
    match (path, silence) {
        (b"", _) => read(Route::Page).and(Err(RouteError::SlashMissing)),
        (b"/", _) => read(Route::Page),
        (b"/metrics", _) => read(Route::Metrics),
        (b"/api/v1/silences", _) if method == b"POST" => Ok(Route::Silence),
        (b"/api/v1/silences", _) if !is_read => Err(RouteError::NotAllowed("GET, HEAD, POST")),
        (b"/api/v1/test", _) if method == b"POST" => Ok(Route::Test),
        (b"/api/v1/test", _) => Err(RouteError::NotAllowed("POST")),
        (_, Some(id)) if method == b"DELETE" => Ok(Route::EndSilence(id)),
        (_, Some(_)) => Err(RouteError::NotAllowed("DELETE")),
        _ => part(path).ok_or(RouteError::NotFound).and_then(|part| read(Route::Json(part))),
    }
}

fn part(path: &[u8]) -> Option<Part> {
    match path.strip_prefix(b"/api/v1/")? {
        b"state" => Some(Part::State),
        b"upstreams" => Some(Part::Upstreams),
        b"receivers" => Some(Part::Receivers),
        b"silences" => Some(Part::Silences),
        b"history" => Some(Part::History),
        b"module" => Some(Part::Module),
        _ => None,
    }
}

/// As the API writes it: digits, and no sign or zero in front.
fn number(text: &[u8]) -> Option<u64> {
    let id: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (id.to_string().as_bytes() == text).then_some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(path: &str) -> Result<Route, RouteError> {
        route(b"GET", path.as_bytes())
    }

    #[test]
    fn each_path_has_its_route() {
        assert_eq!(get("/"), Ok(Route::Page));
        assert_eq!(get(""), Err(RouteError::SlashMissing));
        assert_eq!(get("/metrics"), Ok(Route::Metrics));
        assert_eq!(route(b"HEAD", b"/metrics"), Ok(Route::Metrics));
        assert_eq!(get("/api/v1/state"), Ok(Route::Json(Part::State)));
        assert_eq!(get("/api/v1/silences"), Ok(Route::Json(Part::Silences)));
        assert_eq!(route(b"POST", b"/api/v1/silences"), Ok(Route::Silence));
        assert_eq!(route(b"DELETE", b"/api/v1/silences/17"), Ok(Route::EndSilence(17)));
        assert_eq!(route(b"POST", b"/api/v1/test"), Ok(Route::Test));
    }

    #[test]
    fn other_paths_are_not_found_and_for_other_methods_the_answer_names_the_right_ones() {
        for path in ["/api", "/api/v1", "/api/v1/", "/api/v2/state", "/api/v1/state/", "/metrics/", "//", "/index.html"]
        {
            assert_eq!(get(path), Err(RouteError::NotFound), "{path}");
        }
        for id in ["", "x", "+1", "-1", "01", "1/", "18446744073709551616"] {
            assert_eq!(
                route(b"DELETE", format!("/api/v1/silences/{id}").as_bytes()),
                Err(RouteError::NotFound),
                "{id}"
            );
        }
        assert_eq!(route(b"POST", b"/"), Err(RouteError::NotAllowed(READ)));
        assert_eq!(route(b"POST", b""), Err(RouteError::NotAllowed(READ)));
        assert_eq!(route(b"DELETE", b"/metrics"), Err(RouteError::NotAllowed(READ)));
        assert_eq!(route(b"PUT", b"/api/v1/silences"), Err(RouteError::NotAllowed("GET, HEAD, POST")));
        assert_eq!(get("/api/v1/silences/1"), Err(RouteError::NotAllowed("DELETE")));
        assert_eq!(get("/api/v1/test"), Err(RouteError::NotAllowed("POST")));
    }

    proptest! {
        #[test]
        fn only_get_and_head_read(method in "[A-Z]{1,8}", path in "(/|/metrics|/api/v1/[a-z]{1,9})") {
            if let Ok(Route::Page | Route::Json(_) | Route::Metrics) = route(method.as_bytes(), path.as_bytes()) {
                prop_assert!(method == "GET" || method == "HEAD");
            }
        }
    }
}
