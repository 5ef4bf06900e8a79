//! What a visitor sees: blue breaks, green serves, clients notice nothing, and the operator gets an alert.

use std::time::Instant;

use serde_json::Value;

use super::host::{Answer, Host, Settings};
use super::load::Load;
use crate::text::as_text;

const SETTINGS: Settings = Settings {
    workers: 4,
    // The two classic alerts: which pool serves, and how many errors clients get.
    http: "poolwatch_error_rate 2% window=200 of=client;
    poolwatch_runbook https://example.com/runbook;",
    upstream: "zone app 64k;",
    fail_timeout: "2s",
};

/// Requests per second while the drill runs.
const RATE: u32 = 50;

struct Drill {
    host: Host,
    begin: Instant,
    /// Messages about the serving pool for which the drill has waited.
    seen: usize,
    to_mock: bool,
}

/// Runs the drill, prints its timeline, and fails if anything is not as it should be.
///
/// # Errors
/// The first thing that was not as it should be.
pub fn run() -> Result<(), String> {
    let webhook = std::env::var("SLACK_WEBHOOK_URL").ok().filter(|url| !url.is_empty());
    let host = Host::start(&SETTINGS, webhook.as_deref())?;
    let mut drill = Drill { host, begin: Instant::now(), seen: 0, to_mock: webhook.is_none() };
    let receiver = if drill.to_mock { "a mock Slack" } else { "your Slack (SLACK_WEBHOOK_URL is set)" };
    drill.say(&format!("nginx with 4 workers in front of blue and green, alerts go to {receiver}"));
    drill.baseline()?;
    drill.failover()?;
    drill.recovery()?;
    drill.outage()?;
    drill.say("the drill is over: no alert was missing, and none was too many");
    Ok(())
}

impl Drill {
    fn baseline(&mut self) -> Result<(), String> {
        let answers = (0..50).map(|_| self.host.get("/")).collect::<Result<Vec<_>, _>>()?;
        let all_blue =
            answers.iter().all(|answer| answer.status == 200 && answer.pool == "blue" && answer.release == "v1.2.3");
        self.check(all_blue, "50 requests: 50 answered 200 by blue (release v1.2.3)")
    }

    fn failover(&mut self) -> Result<(), String> {
        let load = Load::start(self.host.port, RATE, 4);
        self.host.chaos(self.host.blue_port, Some("error"))?;
        self.say("blue is broken now: it answers 500");
        let message = self.expect("Failover")?;
        let first = load.first_of("green").ok_or("green never answered")?;
        let answers = load.answers();
        let failed = answers.iter().filter(|answer| !is_ok(answer)).count();
        let text = format!("{} requests since, {failed} of them failed for the client", answers.len());
        self.check(failed == 0, &text)?;
        self.show(&message, Some(first));
        Ok(())
    }

    fn recovery(&mut self) -> Result<(), String> {
        let load = Load::start(self.host.port, RATE, 4);
        self.host.chaos(self.host.blue_port, None)?;
        self.say("blue is mended; it must prove itself for 10 s, since nginx's probes are no recovery");
        let message = self.expect("serving traffic again")?;
        let failed = load.answers().iter().filter(|answer| !is_ok(answer)).count();
        self.check(failed == 0, &format!("{failed} requests failed for the client meanwhile"))?;
        self.show(&message, None);
        Ok(())
    }

    fn outage(&mut self) -> Result<(), String> {
        let load = Load::start(self.host.port, RATE, 4);
        // The idle pool first, so that there is no failover in between.
        self.host.chaos(self.host.green_port, Some("error"))?;
        self.host.chaos(self.host.blue_port, Some("error"))?;
        self.say("blue and green are broken now");
        let down = self.expect("no pool answers")?;
        self.show(&down, None);
        self.host.chaos(self.host.blue_port, None)?;
        self.host.chaos(self.host.green_port, None)?;
        self.say("both are mended");
        let message = self.expect("serving traffic again")?;
        drop(load);
        self.show(&message, None);
        Ok(())
    }

    /// Waits for the next message about the serving pool. With the mock, checks that it has these words.
    fn expect(&mut self, words: &str) -> Result<Value, String> {
        const ID: &str = "app/serving/";
        let (to_mock, seen) = (self.to_mock, self.seen);
        let message = self.host.wait_for(&format!("a message about {ID} that says \"{words}\""), |host| {
            if !to_mock {
                let lines = host.accepted().into_iter().filter(|line| line.contains(ID));
                return Ok(lines.map(Value::String).nth(seen));
            }
            let messages = host.messages()?;
            let message = messages.iter().filter(|message| message["raw"].to_string().contains(ID)).nth(seen);
            match message {
                Some(message) if !message["body"]["text"].to_string().contains(words) => {
                    Err(format!("\"{words}\" was expected, but it was {}", message["body"]["text"]))
                }
                other => Ok(other.cloned()),
            }
        })?;
        self.seen += 1;
        Ok(message)
    }

    /// Prints a message as a person would read it, and how long it took since `first`.
    fn show(&self, message: &Value, first: Option<u64>) {
        let received = message["received_unix_ms"].as_f64();
        match (first, received) {
            (Some(first), Some(received)) => {
                let took = received - first as f64;
                self.say(&format!("Slack has it, {took:.0} ms after the first failed-over response:"));
            }
            _ => self.say("Slack has it:"),
        }
        let text =
            if self.to_mock { as_text(&message["body"]) } else { message.as_str().unwrap_or_default().to_owned() };
        for line in text.lines() {
            println!("            | {line}");
        }
    }

    fn check(&self, good: bool, text: &str) -> Result<(), String> {
        if good {
            self.say(text);
            return Ok(());
        }
        Err(format!("not as it should be: {text}"))
    }

    fn say(&self, text: &str) {
        println!("{:>8.3} s  {text}", self.begin.elapsed().as_secs_f64());
    }
}

fn is_ok(answer: &Result<Answer, String>) -> bool {
    answer.as_ref().is_ok_and(|answer| answer.status == 200)
}
