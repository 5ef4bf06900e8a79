//! The acceptance drill of the stack, on the real containers: `drill stack DIRECTORY`, where the directory holds a copy
//! of this repository. `tools/stack` prepares that copy, and takes down what a killed drill leaves.
//!
//! A check that fails is printed and counted, and the drill goes on. A check named D18 or the like is about a defect of
//! the log watchers that Poolwatch replaces.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::compose::{Stack, docker, try_docker, wait_for};
use super::host::Answer;

/// Values that are not the defaults, so that the drill can see whether they arrive.
const CHANGES: [(&str, &str); 7] = [
    ("ERROR_RATE_THRESHOLD", "2.5%"),
    ("WINDOW_SIZE", "240"),
    ("ALERT_COOLDOWN_SEC", "90"),
    ("PORT", "3100"),
    ("NGINX_HOST", "web-7.example"),
    ("SLACK_CA_FILE", "ca.pem"),
    ("STATUS_HOST", "ops.example"),
];

/// Enough of a certificate for nginx, which does not read it before it is needed.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

/// nginx must refuse each of these values instead of using a default.
const BAD_VALUES: [(&str, &str); 14] = [
    ("SLACK_WEBHOOK_URL", "hooks.slack.com/services/T0/B0/canary"),
    ("ACTIVE_POOL", "purple"),
    ("ERROR_RATE_THRESHOLD", "two"),
    ("ERROR_RATE_THRESHOLD", "101"),
    ("ERROR_RATE_THRESHOLD", "0.02"),
    ("WINDOW_SIZE", "0"),
    ("ALERT_COOLDOWN_SEC", "5m"),
    ("MAINTENANCE_MODE", "maybe"),
    ("MAINTENANCE_DURATION", "25h"),
    ("RUNBOOK_URL", "runbook; include /etc/passwd"),
    ("PORT", "99999"),
    ("SLACK_PROXY", "socks5://user:canary@proxy"),
    ("SLACK_CA_FILE", "missing.pem"),
    ("STATUS_HOST", "*.example"),
];

/// No client may wait longer than this.
const LONGEST: Duration = Duration::from_secs(10);

const SERVING: &str = "app/serving/";
const ERROR_RATE: &str = "app/error-rate/";

struct Drill {
    stack: Stack,
    /// The first three numbers of the network's addresses.
    network: String,
    /// nginx's image.
    image: String,
    begin: Instant,
    passed: u32,
    failed: u32,
}

/// Runs the drill and prints its checks; the last line is the count.
///
/// # Errors
/// A check failed, or the stack could not be started.
pub fn run(directory: &Path) -> Result<(), String> {
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let (base, network) = (setting("BASE_IMAGE", "debian:trixie-slim"), setting("STACK_NETWORK", "172.16.84"));
    let mut changes = CHANGES.to_vec();
    changes.extend([("BASE_IMAGE", base.as_str()), ("STACK_NETWORK", network.as_str())]);
    let stack = Stack::new(directory, &setting("COMPOSE", "docker-compose"), &changes)?;
    stack.write("secrets/ca.pem", CERTIFICATE)?;
    let image = setting("STACK_IMAGE", "poolwatch");
    let mut drill = Drill { stack, network, image, begin: Instant::now(), passed: 0, failed: 0 };
    if let Err(error) = drill.scenes() {
        drill.check(false, &error);
    }
    if drill.failed > 0 {
        let log = drill.stack.log();
        let remarks: Vec<_> = log.lines().filter(|line| !line.contains(", client: ")).collect();
        println!("nginx's log:\n{}", remarks.join("\n"));
    }
    println!("stack: {} passed, {} failed, 0 skipped", drill.passed, drill.failed);
    if drill.failed == 0 { Ok(()) } else { Err(format!("{} checks failed", drill.failed)) }
}

impl Drill {
    fn scenes(&mut self) -> Result<(), String> {
        self.start()?;
        self.settings()?;
        self.strangers()?;
        self.baseline()?;
        self.one_url()?;
        self.begin_again(&[])?;
        self.errors()?;
        self.timeouts()?;
        // Six changes in ten minutes are flapping, and then single changes are not sent.
        self.begin_again(&[])?;
        self.kill()?;
        self.cut_off()?;
        self.begin_again(&[])?;
        self.planned_switch()?;
        self.outage()?;
        self.begin_again(&[])?;
        self.first_minutes()?;
        self.begin_again(&[("ALERT_COOLDOWN_SEC", "0")])?;
        self.maintenance()?;
        self.silent_death()?;
        self.begin_again(&[("MAINTENANCE_MODE", "true"), ("MAINTENANCE_DURATION", "25s")])?;
        self.maintenance_at_start()?;
        self.bad_values()
    }

    fn start(&mut self) -> Result<(), String> {
        self.stack.compose(&["up", "-d"])?;
        let id = self.stack.container("nginx")?;
        let health = || docker(&["inspect", "-f", "{{.State.Health.Status}}", &id]);
        let healthy = wait_for("nginx to be healthy", || Ok((health()? == "healthy").then_some(())));
        self.check(healthy.is_ok(), "up from a copy of .env.example, and healthy");
        self.wait_for_blue()?;
        let running = self.stack.compose(&["ps", "--services", "--filter", "status=running"])?;
        self.check(running.contains("mock-slack"), "without a webhook URL the mock Slack runs");
        // The worker's user is in its status file; the files of all nginx processes belong to root.
        let users = "grep -h ^Uid $(grep -l '[n]ginx: worker' /proc/[0-9]*/cmdline | sed s/cmdline/status/)";
        let users = self.stack.in_nginx(&["sh", "-c", users])?.text;
        let workers = users.lines().count() > 0 && users.lines().all(|line| !line.contains("\t0"));
        self.check(workers, "workers are not root");
        let log = self.stack.log();
        let warnings: Vec<_> = log.lines().filter(|line| line.contains("[warn]")).collect();
        self.check(warnings.is_empty(), &format!("nginx starts without a warning {warnings:?}"));
        let said = log.contains("alerts when more than 2.5% of the last 240 requests fail");
        self.check(said, "it says when it alerts");
        Ok(())
    }

    /// Starts the stack again without anything remembered, with these changes of `.env`.
    fn begin_again(&mut self, changes: &[(&str, &str)]) -> Result<(), String> {
        self.stack.down()?;
        for (name, value) in changes {
            self.stack.set(name, value)?;
        }
        self.stack.compose(&["up", "-d"])?;
        self.wait_for_blue()
    }

    fn wait_for_blue(&self) -> Result<(), String> {
        wait_for("an answer of blue", || Ok((self.stack.get("/")?.pool == "blue").then_some(())))
    }

    /// nginx must read what Compose passes on.
    fn settings(&mut self) -> Result<(), String> {
        let conf = self.stack.in_nginx(&["nginx", "-T"])?.text;
        let arrived = [
            "poolwatch_error_rate 2.5% window=240;",
            "poolwatch_cooldown   90s;",
            "poolwatch_active blue;",
            "ca_file=/run/secrets/ca.pem",
        ];
        let missing: Vec<_> = arrived.iter().filter(|line| !conf.contains(**line)).collect();
        self.check(missing.is_empty(), &format!("D28: settings of .env are nginx's ({missing:?} missing)"));
        self.stack.set("ALERT_COOLDOWN_SEC", "91")?;
        self.stack.compose(&["up", "-d"])?;
        let conf = self.stack.in_nginx(&["nginx", "-T"])?.text;
        self.check(conf.contains("poolwatch_cooldown   91s;"), "D19: `up -d`, as documented, applies a changed .env");
        wait_for("nginx", || self.stack.get("/").map(Some))?;
        Ok(())
    }

    /// Requests from others than the operator.
    fn strangers(&mut self) -> Result<(), String> {
        let refused = self.stack.post(self.stack.port, "/chaos/start?mode=error", "")?;
        let served = self.stack.get("/")?;
        self.check(refused == 403 && served.pool == "blue", "D27: clients cannot break an application through nginx");
        let request = "exec 3<>/dev/tcp/nginx/8090 && printf 'GET /runbook.md HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && head -n 1 <&3";
        let answer = self.stack.compose(&["exec", "-T", "app_blue", "bash", "-c", request])?;
        self.check(answer.contains("403"), "D27: an application cannot reach the operator's port");
        let silence = "{\"upstream\":\"app\",\"duration\":\"1h\"}";
        let refused = self.stack.post(self.stack.status_port, "/api/v1/silences", silence)?;
        self.check(refused == 403, "D27: what does not say that it is no browser sets no silence");
        let rebound = self.stack.status_as("evil.example")?;
        self.check(rebound == 421, "D27: a name that is not the operator's leads to no status page");
        let known = (self.stack.status_as("localhost")?, self.stack.status_as("ops.example")?);
        self.check(known == (200, 200), "D27: localhost does, and the name in STATUS_HOST");
        for service in ["app_blue", "app_green", "mock-slack"] {
            let ports = docker(&["port", &self.stack.container(service)?])?;
            let loopback = ports.lines().all(|line| line.contains("-> 127.0.0.1:"));
            self.check(loopback, &format!("D27: {service} is published on loopback only"));
        }
        Ok(())
    }

    fn baseline(&mut self) -> Result<(), String> {
        let answers = (0..50).map(|_| self.stack.get("/")).collect::<Result<Vec<_>, _>>()?;
        let all = answers.iter().all(|answer| is(answer, "blue", "v1.0.0"));
        self.check(all, "50 requests: all answered 200 by blue, release v1.0.0");
        let line = "pool=blue release=v1.0.0 upstream_status=\"200\" upstream_addr=\"";
        let log = self.stack.read("logs/nginx/access.log")?;
        self.check(
            log.matches(line).count() >= 50,
            "./logs/nginx/access.log has them, with pool, release and upstream",
        );
        Ok(())
    }

    /// Both applications work except for one URL: requests for other URLs are not affected, whichever pool is active.
    fn one_url(&mut self) -> Result<(), String> {
        for active in ["green", "blue"] {
            let switch = self.stack.in_nginx(&["poolwatch-switch", active])?;
            self.check(switch.success, &format!("poolwatch-switch {active}: {}", switch.text.trim()));
            let failing = (0..6).map(|_| self.stack.get("/status/500")).collect::<Result<Vec<_>, _>>()?;
            let failing: Vec<u16> = failing.iter().map(|answer| answer.status).collect();
            let others: Vec<_> = (0..40).map(|_| self.stack.get("/")).collect();
            let good = others.iter().filter(|answer| is_ok(answer)).count();
            let text =
                format!("{active} is active, one URL is answered {failing:?}: {good} of 40 others are answered 200");
            self.check(failing.iter().all(|status| *status >= 500) && good == others.len(), &text);
        }
        Ok(())
    }

    fn errors(&mut self) -> Result<(), String> {
        self.stack.chaos(self.stack.blue_port, Some("error"))?;
        let next = self.stack.get("/")?;
        self.check(is(&next, "green", "v1.1.0"), "blue answers 500: the very next request is answered 200 by green");
        self.green_serves("error");
        let message = self.expect(SERVING, 1, "Failover");
        let raw = message.map(|message| message["raw"].to_string()).unwrap_or_default();
        self.check(raw.contains("web-7.example"), "the alert names the host as NGINX_HOST does");
        let linked = raw.contains("/runbook.md#failover");
        let runbook = self.stack.page(self.stack.status_port, "/runbook.md")?;
        self.check(linked && runbook.contains("## Failover"), "the alert links to its section of the runbook");
        let logged = self.stack.log().contains("failover");
        self.check(logged, "`logs nginx` shows the alert");
        let shown = self.stack.page(self.stack.slack_port, "/")?.contains("Failover on");
        self.check(shown, "the mock Slack's page shows the alert");
        self.stack.chaos(self.stack.blue_port, None)?;
        let load = self.stack.load();
        self.expect(SERVING, 2, "serving traffic again");
        let answers = load.finish();
        self.check(all_ok(&answers), "no request failed while blue came back");
        Ok(())
    }

    fn outage(&mut self) -> Result<(), String> {
        let load = self.stack.load();
        // The idle pool first, so that there is no failover in between.
        self.stack.chaos(self.stack.green_port, Some("error"))?;
        self.stack.chaos(self.stack.blue_port, Some("error"))?;
        self.expect(SERVING, 3, "no pool answers");
        self.stack.chaos(self.stack.blue_port, None)?;
        self.expect(SERVING, 4, "serving traffic again");
        // Green is repaired only now: nginx might otherwise try it first.
        self.stack.chaos(self.stack.green_port, None)?;
        let rates = self.stack.messages(ERROR_RATE)?.len();
        self.check(rates == 0, "an outage and its errors are one message");
        drop(load);
        Ok(())
    }

    /// A failover by timeouts, within the cooldown of the first failover.
    fn timeouts(&mut self) -> Result<(), String> {
        self.stack.chaos(self.stack.blue_port, Some("timeout"))?;
        let next = self.stack.get("/")?;
        self.check(
            is(&next, "green", "v1.1.0"),
            "blue does not answer: the very next request is answered 200 by green",
        );
        self.green_serves("timeout");
        self.stack.chaos(self.stack.blue_port, None)?;
        let load = self.stack.load();
        let back = wait_for("blue", || {
            Ok((self.stack.log().matches("primary is serving traffic again").count() >= 2).then_some(()))
        });
        self.check(back.is_ok(), "blue serves again, says the log");
        drop(load);
        let sent = self.stack.messages(SERVING)?.len();
        self.check(sent == 2, &format!("no duplicate within the cooldown ({sent} messages of 2)"));
        Ok(())
    }

    fn planned_switch(&mut self) -> Result<(), String> {
        let load = self.stack.load();
        let switch = self.stack.in_nginx(&["poolwatch-switch", "green"])?;
        self.check(switch.success, &format!("poolwatch-switch green: {}", switch.text.trim()));
        self.expect(SERVING, 1, "Planned switch");
        let next = self.stack.get("/")?;
        self.check(is(&next, "green", "v1.1.0"), "D29: green serves after the switch");
        let refused = self.stack.in_nginx(&["poolwatch-switch", "purple"])?;
        self.check(!refused.success && refused.text.contains("\"purple\""), "a pool that does not exist is refused");
        let compose = ["exec", "-T", "-e", "WINDOW_SIZE=many", "nginx", "poolwatch-switch", "blue"];
        let refused = self.stack.try_compose(&compose)?;
        let named = !refused.success && refused.text.contains("WINDOW_SIZE");
        self.check(named, &format!("a bad value at a switch is refused: {}", refused.text.trim()));
        let next = self.stack.get("/")?;
        self.check(is(&next, "green", "v1.1.0"), "and the old configuration stays");
        let answers = load.finish();
        self.check(all_ok(&answers), &format!("the switch lost none of {} requests", answers.len()));
        self.stack.compose(&["restart", "nginx"])?;
        let next = wait_for("nginx", || self.stack.get("/").map(Some))?;
        self.check(is(&next, "green", "v1.1.0"), "a restart keeps what was chosen");
        let load = self.stack.load();
        let switch = self.stack.in_nginx(&["poolwatch-switch", "blue"])?;
        self.check(switch.success, &format!("poolwatch-switch blue: {}", switch.text.trim()));
        self.expect(SERVING, 2, "Planned switch");
        self.check(all_ok(&load.finish()), "nor does the way back lose a request");
        let next = self.stack.get("/")?;
        self.check(is(&next, "blue", "v1.0.0"), "blue serves again");
        Ok(())
    }

    /// What someone tries who has just started the stack. Each switch is sent, none counts as flapping, and the outage
    /// after them is sent too.
    fn first_minutes(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        let load = self.stack.load();
        self.stack.chaos(self.stack.blue_port, Some("error"))?;
        self.expect(SERVING, 1, "Failover");
        self.stack.chaos(self.stack.blue_port, None)?;
        self.expect(SERVING, 2, "serving traffic again");
        for (count, pool) in (3..).zip(["green", "blue", "green", "blue"]) {
            let switch = self.stack.in_nginx(&["poolwatch-switch", pool])?;
            self.check(switch.success, &format!("poolwatch-switch {pool}: {}", switch.text.trim()));
            self.expect(SERVING, count, "Planned switch");
        }
        let took = begin.elapsed();
        self.check(
            took < Duration::from_secs(300),
            &format!("all of that took {took:?}, within which changes could flap"),
        );
        // The idle pool first, so that there is no failover in between.
        self.stack.chaos(self.stack.green_port, Some("error"))?;
        self.stack.chaos(self.stack.blue_port, Some("error"))?;
        self.expect(SERVING, 7, "no pool answers");
        self.stack.chaos(self.stack.blue_port, None)?;
        self.expect(SERVING, 8, "serving traffic again");
        let flapping = self.stack.messages(SERVING)?.iter().any(|message| message.to_string().contains("Flapping"));
        self.check(!flapping && !self.stack.log().contains("flapping of"), "nothing of that is called flapping");
        drop(load);
        Ok(())
    }

    fn kill(&mut self) -> Result<(), String> {
        let load = self.stack.load();
        wait_for("traffic", || Ok(load.first_of("blue")))?;
        docker(&["kill", &self.stack.container("app_blue")?])?;
        self.expect(SERVING, 1, "Failover");
        self.check(all_ok(&load.finish()), "blue is killed: no request failed");
        self.stack.compose(&["up", "-d"])?;
        let load = self.stack.load();
        self.expect(SERVING, 2, "serving traffic again");
        self.check(all_ok(&load.finish()), "blue is started again: no request failed");
        Ok(())
    }

    /// Neither pool has an address that answers: the log watchers saw no pool then, and sent nothing.
    fn cut_off(&mut self) -> Result<(), String> {
        let network = format!("{}_default", self.stack.project());
        let containers = [("app_blue", "11"), ("app_green", "12")];
        let load = self.stack.load();
        for (service, _) in containers.iter().rev() {
            docker(&["network", "disconnect", &network, &self.stack.container(service)?])?;
        }
        self.expect(SERVING, 3, "no pool answers");
        let slowest = load.answers().iter().flatten().map(|answer| answer.took).max();
        self.check(
            slowest < Some(LONGEST),
            &format!("D1: both pools are cut off: no request took longer than {slowest:?}"),
        );
        for (service, number) in containers {
            let address = format!("{}.{number}", self.network);
            docker(&["network", "connect", "--ip", &address, &network, &self.stack.container(service)?])?;
            // Green must come back later: nginx asks the backup first, as soon as it answers.
            if service == "app_blue" {
                self.expect(SERVING, 4, "serving traffic again");
            }
        }
        drop(load);
        Ok(())
    }

    /// A killed nginx, during the failover that `maintenance` leaves. nginx itself watches, so it cannot be dead while
    /// nginx answers, and Docker starts it again.
    fn silent_death(&mut self) -> Result<(), String> {
        let id = self.stack.container("nginx")?;
        let inspect = |what: &str| docker(&["inspect", "-f", what, &id]);
        let pid = inspect("{{.State.Pid}}")?;
        let killed = Command::new("kill").args(["-KILL", &pid]).status().map_err(|error| error.to_string())?;
        if !killed.success() {
            return Err(format!("cannot kill {pid}"));
        }
        let back = wait_for("nginx to be healthy again", || {
            let healthy = inspect("{{.State.Health.Status}} {{.RestartCount}}")? == "healthy 1";
            Ok(healthy.then_some(()))
        });
        self.check(back.is_ok(), "D26: nginx is killed, and is back and healthy by itself");
        let load = self.stack.load();
        wait_for("green to serve", || Ok(load.first_of("green")))?;
        self.stack.chaos(self.stack.blue_port, None)?;
        // The next message: the failover was sent before the restart, and is not sent again.
        self.expect(SERVING, 2, "serving traffic again");
        self.check(all_ok(&load.finish()), "and no request failed since");
        Ok(())
    }

    /// The flag of the log watchers had no end: an operator who forgot it received no more alerts.
    fn maintenance_at_start(&mut self) -> Result<(), String> {
        let load = self.stack.load();
        self.stack.chaos(self.stack.blue_port, Some("error"))?;
        let decided = wait_for("a failover", || Ok(self.stack.log().contains("poolwatch: failover").then_some(())));
        let sent = self.stack.messages(SERVING)?.len();
        self.check(decided.is_ok() && sent == 0, "MAINTENANCE_MODE=true: a failover is logged, and not sent");
        self.expect(SERVING, 1, "Failover");
        self.check(self.stack.log().contains("silence"), "D18: when its time is over, what is still true is sent");
        self.check(all_ok(&load.finish()), "and no request failed");
        Ok(())
    }

    fn maintenance(&mut self) -> Result<(), String> {
        let begun = self.stack.in_nginx(&["poolwatch-maintenance", "1h", "new \"disk\""])?;
        self.check(begun.success, &format!("poolwatch-maintenance 1h: {}", begun.text.trim()));
        let listed = || self.stack.in_nginx(&["poolwatch-maintenance"]).map(|said| said.text);
        let there = wait_for("the silence", || Ok(listed()?.contains("\"app\"").then_some(())));
        self.check(there.is_ok(), "D19: a maintenance begins at run time, and is listed");
        let page = self.stack.page(self.stack.status_port, "/api/v1/silences")?;
        self.check(page.contains("new \\\"disk\\\""), "the operator's port shows its comment");
        let load = self.stack.load();
        self.stack.chaos(self.stack.blue_port, Some("error"))?;
        let decided = || Ok(self.stack.log().contains("poolwatch: failover").then_some(()));
        let decided = wait_for("a failover", decided);
        let sent = self.stack.messages(SERVING)?.len();
        self.check(decided.is_ok() && sent == 0, "a failover meanwhile is logged, and not sent");
        let ended = self.stack.in_nginx(&["poolwatch-maintenance", "end"])?;
        self.check(ended.success, &format!("poolwatch-maintenance end: {}", ended.text.trim()));
        self.expect(SERVING, 1, "Failover");
        self.check(all_ok(&load.finish()), "and no request failed");
        let refused = self.stack.in_nginx(&["poolwatch-maintenance", "25h"])?;
        self.check(!refused.success, &format!("more than a day is refused: {}", refused.text.trim()));
        Ok(())
    }

    /// Each bad value keeps nginx from starting, with one line that names the variable.
    fn bad_values(&mut self) -> Result<(), String> {
        let url = "SLACK_WEBHOOK_URL=https://hooks.slack.com/services/T0/B0/canary";
        for (name, value) in BAD_VALUES {
            let bad = format!("{name}={value}");
            let servers = ["-e", "BLUE_SERVER=127.0.0.1:3001", "-e", "GREEN_SERVER=127.0.0.1:3002"];
            let arguments = [&["run", "--rm", "-e", url], &servers[..], &["-e", &bad, &self.image]].concat();
            let said = try_docker(&arguments)?;
            let line = said.text.trim();
            let refused = !said.success && line.lines().count() == 1 && line.contains(name) && !line.contains("canary");
            self.check(refused, &format!("{bad}: {line}"));
        }
        Ok(())
    }

    /// Sends requests for ten seconds, which green must answer.
    fn green_serves(&mut self, mode: &str) {
        let load = self.stack.load();
        thread::sleep(Duration::from_secs(10));
        let answers = load.finish();
        let all = answers.len();
        let failed = answers.iter().filter(|answer| !is_ok(answer)).count();
        let green = answers.iter().flatten().filter(|answer| answer.pool == "green").count();
        let slowest = answers.iter().flatten().map(|answer| answer.took).max().unwrap_or_default();
        let good = all > 0 && failed == 0 && green * 100 >= all * 95 && slowest < LONGEST;
        let text = format!(
            "10 s, mode={mode}: {all} requests, {failed} not 200, {green} by green, the slowest took {slowest:?}"
        );
        self.check(good, &text);
    }

    /// Waits for this many messages about an incident key; the last one must have these words.
    fn expect(&mut self, key: &str, count: usize, words: &str) -> Option<Value> {
        let what = format!("message {count} about {key}: {words}");
        let message = wait_for(&what, || Ok(self.stack.messages(key)?.into_iter().nth(count - 1)));
        // The error text for a missing message contains these words too.
        let text = message.as_ref().map_or_else(Clone::clone, |message| message["body"]["text"].to_string());
        self.check(message.is_ok() && text.contains(words), &format!("Slack has message {count} about {key}: {text}"));
        message.ok()
    }

    fn check(&mut self, good: bool, text: &str) {
        let verdict = if good { "ok" } else { "NOT OK" };
        *(if good { &mut self.passed } else { &mut self.failed }) += 1;
        println!("{:>8.3} s  {verdict}  {text}", self.begin.elapsed().as_secs_f64());
    }
}

fn is(answer: &Answer, pool: &str, release: &str) -> bool {
    answer.status == 200 && answer.pool == pool && answer.release == release
}

fn is_ok(answer: &Result<Answer, String>) -> bool {
    answer.as_ref().is_ok_and(|answer| answer.status == 200)
}

fn all_ok(answers: &[Result<Answer, String>]) -> bool {
    !answers.is_empty() && answers.iter().all(is_ok)
}
