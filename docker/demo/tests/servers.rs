//! Both servers over real sockets on loopback, each on a port of its own.

use axum::Router;
use poolwatch_demo::{app, slack};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A server in the background, and a client for which an answer with any status is no error.
struct Server {
    address: String,
    agent: ureq::Agent,
}

impl Server {
    fn start(router: Router) -> Self {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                send.send(listener.local_addr().expect("bound")).expect("the test waits");
                axum::serve(listener, router).await.expect("serves");
            });
        });
        let address = receive.recv().expect("it starts").to_string();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        Self { address, agent: agent.into() }
    }

    fn get(&self, path: &str) -> ureq::http::Response<ureq::Body> {
        self.agent.get(format!("http://{}{path}", self.address)).call().expect("an answer")
    }

    fn post(&self, path: &str, body: &str) -> ureq::http::Response<ureq::Body> {
        let url = format!("http://{}{path}", self.address);
        self.agent.post(url).header("content-type", "application/json").send(body).expect("an answer")
    }

    fn control(&self, path: &str, behaviour: &Value) -> u16 {
        let url = format!("http://{}{path}", self.address);
        self.agent.put(url).send_json(behaviour).expect("an answer").status().as_u16()
    }

    fn json(&self, path: &str) -> Value {
        self.get(path).body_mut().read_json().expect("JSON")
    }
}

fn status(response: &ureq::http::Response<ureq::Body>) -> u16 {
    response.status().as_u16()
}

const HOOK: &str = "/services/T/B/x";

#[test]
fn the_application_says_who_it_is_and_breaks_when_told() {
    let app = Server::start(app::router("blue", "v1.2.3").expect("good values"));
    let response = app.get("/version");
    assert_eq!(response.headers()["x-app-pool"], "blue");
    assert_eq!(response.headers()["x-release-id"], "v1.2.3");
    assert_eq!(status(&app.post("/chaos/start?mode=error", "")), 200);
    let broken = app.get("/anything");
    assert_eq!((status(&broken), &broken.headers()["x-app-pool"]), (500, &"blue".parse().expect("a value")));
    assert_eq!(status(&app.get("/healthz")), 200);
    assert_eq!(status(&app.post("/chaos/stop", "")), 200);
    assert_eq!(status(&app.get("/anything")), 200);
    assert_eq!(status(&app.post("/chaos/start?mode=dance", "")), 400);
    assert_eq!(status(&app.get("/chaos/start")), 405);
    assert_eq!(status(&app.get("/status/404")), 404);
}

#[test]
fn a_request_that_hangs_is_answered_when_the_chaos_stops() {
    let app = Server::start(app::router("green", "v1").expect("good values"));
    app.post("/chaos/start?mode=timeout", "");
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| status(&app.get("/")));
        app.post("/chaos/stop", "");
        assert_eq!(hanging.join().expect("no panic"), 200);
    });
}

#[test]
fn the_application_sends_any_header_bytes_it_is_asked_for() {
    let app = Server::start(app::router("blue", "v1").expect("good values"));
    let response = app.get("/header?pool=%253C!channel%253E%25FF");
    assert_eq!(response.headers()["x-app-pool"].as_bytes(), b"<!channel>\xff");
    assert_eq!(status(&app.get("/header?pool=%250A")), 400);
    assert!(app::router("a\nb", "v1").is_err());
}

#[test]
fn the_mock_takes_refuses_and_remembers() {
    let mock = Server::start(slack::router());
    assert_eq!(mock.post(HOOK, r#"{"text": "hello"}"#).body_mut().read_to_string().expect("text"), "ok");
    assert_eq!(status(&mock.post(HOOK, r#"{"text": ""}"#)), 400);
    assert_eq!(status(&mock.post(HOOK, "no json")), 400);
    let messages = mock.json("/messages");
    let accepted: Vec<_> =
        messages.as_array().expect("a list").iter().map(|message| message["accepted"].clone()).collect();
    assert_eq!(accepted, [true, false, false]);
    assert_eq!(mock.json("/messages?accepted=true&count=1&wait_ms=60000").as_array().map(Vec::len), Some(1));
    assert_eq!(mock.json("/messages?after=2").as_array().map(Vec::len), Some(1));
    assert_eq!(mock.json("/messages?path=/services/other").as_array().map(Vec::len), Some(0));
    assert!(mock.get("/").body_mut().read_to_string().expect("a page").contains("hello"));
    assert!(mock.get("/text").body_mut().read_to_string().expect("text").contains("hello"));
}

#[test]
fn the_mock_behaves_as_it_is_told() {
    let mock = Server::start(slack::router());
    let message = r#"{"text": "hello"}"#;
    assert_eq!(mock.control("/control", &json!({"mode": "rate_limited", "retry_after": "2", "times": 1})), 200);
    let limited = mock.post(HOOK, message);
    assert_eq!((status(&limited), limited.headers()["retry-after"].as_bytes()), (429, &b"2"[..]));
    assert_eq!(status(&mock.post(HOOK, message)), 200);
    mock.control("/control", &json!({"mode": "refuse", "status": 404, "body": "no_service"}));
    assert_eq!(status(&mock.post(HOOK, message)), 404);
    mock.control("/control?path=/services/other", &json!({"mode": "html"}));
    assert!(mock.post("/services/other", message).body_mut().read_to_string().expect("text").contains("Sign in"));
    mock.control("/control", &json!({"mode": "redirect", "location": "http://127.0.0.1:1/"}));
    assert_eq!(status(&mock.post(HOOK, message)), 302);
    mock.control("/control", &json!({"mode": "refuse_blocks"}));
    assert_eq!(status(&mock.post(HOOK, r#"{"text": "t", "blocks": [{"type": "divider"}]}"#)), 400);
    assert_eq!(status(&mock.post(HOOK, message)), 200);
    assert_eq!(mock.control("/control", &json!({"mode": "dance"})), 400);
}

#[test]
fn the_mock_enforces_a_message_a_second_where_it_should() {
    let mock = Server::start(slack::router());
    mock.control("/control", &json!({"mode": "ok", "enforce_rate": true}));
    let message = r#"{"text": "hello"}"#;
    assert_eq!(status(&mock.post(HOOK, message)), 200);
    assert_eq!(status(&mock.post(HOOK, message)), 429);
    assert_eq!(status(&mock.post("/services/other", message)), 200);
}

#[test]
fn a_request_that_the_mock_holds_ends_when_it_is_told_to_behave() {
    let mock = Server::start(slack::router());
    mock.control("/control", &json!({"mode": "posted_no_answer"}));
    std::thread::scope(|scope| {
        let held = scope.spawn(|| status(&mock.post(HOOK, r#"{"text": "hello"}"#)));
        assert_eq!(mock.json("/messages?accepted=true&count=1&wait_ms=60000").as_array().map(Vec::len), Some(1));
        mock.control("/control", &json!({"mode": "ok"}));
        assert_eq!(held.join().expect("no panic"), 503);
    });
}
