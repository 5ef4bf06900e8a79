//! Any answer of a receiver gives a short clean line for error.log, and no pause beyond the longest one.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ngx_http_poolwatch_module::deliver::{PostError, Reply, slack};
use ngx_http_poolwatch_module::outbox::backoff::LONGEST_PAUSE;
use ngx_http_poolwatch_module::outbox::outcome::Outcome;
use ngx_http_poolwatch_module::units::Millis;

#[derive(Arbitrary, Debug)]
enum Input {
    Reply { status: u16, body: String, retry_after: Option<String> },
    Connect(String),
    Tls(String),
    Other(String),
}

fuzz_target!(|input: Input| {
    let accepts = match &input {
        Input::Reply { status: 200, body, .. } => {
            let is_true = || serde_json::from_str(body.trim()).is_ok_and(|json: serde_json::Value| json["ok"] == true);
            body.trim() == "ok" || is_true()
        }
        _ => false,
    };
    let answer = match input {
        Input::Reply { status, body, retry_after } => Ok(Reply { status, body, retry_after }),
        Input::Connect(why) => Err(PostError::Connect(why)),
        Input::Tls(why) => Err(PostError::Tls(why)),
        Input::Other(why) => Err(PostError::Other(why)),
    };
    match slack::classify(answer) {
        Outcome::Accepted => assert!(accepts),
        Outcome::RateLimited(pause) => {
            assert!(pause.is_none_or(|pause| (Millis::from_secs(1)..=LONGEST_PAUSE).contains(&pause)));
        }
        Outcome::Retry(why) | Outcome::Rejected(why) | Outcome::Broken(why) => {
            assert!(!accepts);
            assert!(why.len() < 300 && !why.chars().any(char::is_control), "{why}");
        }
        Outcome::CutShort => panic!("nobody exits"),
    }
});
