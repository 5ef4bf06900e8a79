//! Where a request goes: its method and its path below the location of `poolwatch_status`.

use crate::status::json::Part;

/// What is asked for.
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

/// Why nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// There is no such path.
    NotFound,
    /// The location's own name without the slash after it.
    SlashMissing,
    /// There is, for these methods, as `Allow` lists them.
    NotAllowed(&'static str),
}

const READ: &str = "GET, HEAD";

/// Finds the way. `path` is what follows the location's name, `method` as the client sent it.
///
/// # Errors
/// There is nothing there, or not for this method.
pub fn route(method: &[u8], path: &[u8]) -> Result<Route, Lost> {
    let is_read = method == b"GET" || method == b"HEAD";
    let read = |route| if is_read { Ok(route) } else { Err(Lost::NotAllowed(READ)) };
    let silence = path.strip_prefix(b"/api/v1/silences/").and_then(number);
    match (path, silence) {
        (b"", _) => read(Route::Page).and(Err(Lost::SlashMissing)),
        (b"/", _) => read(Route::Page),
        (b"/metrics", _) => read(Route::Metrics),
        (b"/api/v1/silences", _) if method == b"POST" => Ok(Route::Silence),
        (b"/api/v1/silences", _) if !is_read => Err(Lost::NotAllowed("GET, HEAD, POST")),
        (b"/api/v1/test", _) if method == b"POST" => Ok(Route::Test),
        (b"/api/v1/test", _) => Err(Lost::NotAllowed("POST")),
        (_, Some(id)) if method == b"DELETE" => Ok(Route::EndSilence(id)),
        (_, Some(_)) => Err(Lost::NotAllowed("DELETE")),
        _ => part(path).ok_or(Lost::NotFound).and_then(|part| read(Route::Json(part))),
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

    fn get(path: &str) -> Result<Route, Lost> {
        route(b"GET", path.as_bytes())
    }

    #[test]
    fn each_path_has_its_route() {
        assert_eq!(get("/"), Ok(Route::Page));
        assert_eq!(get(""), Err(Lost::SlashMissing));
        assert_eq!(get("/metrics"), Ok(Route::Metrics));
        assert_eq!(route(b"HEAD", b"/metrics"), Ok(Route::Metrics));
        assert_eq!(get("/api/v1/state"), Ok(Route::Json(Part::State)));
        assert_eq!(get("/api/v1/silences"), Ok(Route::Json(Part::Silences)));
        assert_eq!(route(b"POST", b"/api/v1/silences"), Ok(Route::Silence));
        assert_eq!(route(b"DELETE", b"/api/v1/silences/17"), Ok(Route::EndSilence(17)));
        assert_eq!(route(b"POST", b"/api/v1/test"), Ok(Route::Test));
    }

    #[test]
    fn other_paths_are_not_found_and_other_methods_are_told_which_would_do() {
        for path in ["/api", "/api/v1", "/api/v1/", "/api/v2/state", "/api/v1/state/", "/metrics/", "//", "/index.html"]
        {
            assert_eq!(get(path), Err(Lost::NotFound), "{path}");
        }
        for id in ["", "x", "+1", "-1", "01", "1/", "18446744073709551616"] {
            assert_eq!(route(b"DELETE", format!("/api/v1/silences/{id}").as_bytes()), Err(Lost::NotFound), "{id}");
        }
        assert_eq!(route(b"POST", b"/"), Err(Lost::NotAllowed(READ)));
        assert_eq!(route(b"POST", b""), Err(Lost::NotAllowed(READ)));
        assert_eq!(route(b"DELETE", b"/metrics"), Err(Lost::NotAllowed(READ)));
        assert_eq!(route(b"PUT", b"/api/v1/silences"), Err(Lost::NotAllowed("GET, HEAD, POST")));
        assert_eq!(get("/api/v1/silences/1"), Err(Lost::NotAllowed("DELETE")));
        assert_eq!(get("/api/v1/test"), Err(Lost::NotAllowed("POST")));
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
