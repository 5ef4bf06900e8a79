//! The processes of a drill. Each is a child of this process and ends with the host.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// The longest time to wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The settings of nginx.
pub(super) struct Settings {
    /// Worker processes.
    pub(super) workers: u32,
    /// Lines for the `http` block.
    pub(super) http: &'static str,
    /// Lines for the `upstream` block.
    pub(super) upstream: &'static str,
    /// `fail_timeout` of both servers.
    pub(super) fail_timeout: &'static str,
}

/// A child process that is killed when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // The child may have ended already, and if it cannot be killed, nothing more can be done.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running set-up.
pub(super) struct Host {
    nginx: Process,
    _blue: Process,
    _green: Process,
    _slack: Option<Process>,
    directory: PathBuf,
    /// Ports on 127.0.0.1.
    pub(super) port: u16,
    pub(super) blue_port: u16,
    pub(super) green_port: u16,
    slack_port: Option<u16>,
    agent: ureq::Agent,
}

/// One answer that came through nginx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) pool: String,
    pub(super) release: String,
    /// When the answer had arrived, milliseconds since the epoch.
    pub(super) at: u64,
    /// How long the answer took.
    pub(super) took: Duration,
}

impl Host {
    /// Starts everything, and returns when nginx answers. With `webhook`, alerts are sent there, else to a mock.
    pub(super) fn start(settings: &Settings, webhook: Option<&str>) -> Result<Self, String> {
        let root = std::env::current_dir().map_err(|error| error.to_string())?;
        let module = root.join("target/ngx_http_poolwatch_module.so");
        if !module.is_file() {
            return Err(format!("{} is missing, run `make module`", module.display()));
        }
        let (blue, blue_port) = server("app", &[("APP_POOL", "blue"), ("RELEASE_ID", "v1.2.3")])?;
        let (green, green_port) = server("app", &[("APP_POOL", "green"), ("RELEASE_ID", "v1.3.0")])?;
        let (slack, slack_port) = match webhook {
            Some(_) => (None, None),
            None => server("mock-slack", &[]).map(|(process, port)| (Some(process), Some(port)))?,
        };
        let mock = || format!("http://127.0.0.1:{}/services/T000/B000/drill", slack_port.unwrap_or_default());
        let port = free_port()?;
        let directory = root.join(format!("target/drill-{}-{port}", std::process::id()));
        fs::create_dir_all(directory.join("logs")).map_err(|error| error.to_string())?;
        let conf = configuration(settings, &module, port, blue_port, green_port);
        fs::write(directory.join("nginx.conf"), conf).map_err(|error| error.to_string())?;
        let nginx = Command::new(std::env::var("NGINX").unwrap_or_else(|_| "/usr/sbin/nginx".to_owned()))
            .args(["-e", "logs/error.log", "-c", "nginx.conf", "-g", "daemon off;", "-p"])
            .arg(format!("{}/", directory.display()))
            .env("SLACK_WEBHOOK_URL", webhook.map_or_else(mock, str::to_owned))
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start nginx: {error}"))?;
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(15)))
            .build()
            .into();
        let mut host = Self {
            nginx: Process(nginx),
            _blue: blue,
            _green: green,
            _slack: slack,
            directory,
            port,
            blue_port,
            green_port,
            slack_port,
            agent,
        };
        host.wait_for("nginx to answer", |host| Ok(host.get("/healthz").is_ok().then_some(())))?;
        Ok(host)
    }

    /// Sends a request through nginx.
    pub(super) fn get(&self, path: &str) -> Result<Answer, String> {
        get(&self.agent, self.port, path)
    }

    /// Breaks an application (`error`, `timeout`), or repairs it.
    pub(super) fn chaos(&self, port: u16, mode: Option<&str>) -> Result<(), String> {
        let path = mode.map_or("stop".to_owned(), |mode| format!("start?mode={mode}"));
        let url = format!("http://127.0.0.1:{port}/chaos/{path}");
        self.agent.post(&url).send_empty().map(drop).map_err(|error| error.to_string())
    }

    /// The messages that the mock accepted, in order; empty with a real Slack.
    pub(super) fn messages(&self) -> Result<Vec<Value>, String> {
        let Some(port) = self.slack_port else { return Ok(Vec::new()) };
        let url = format!("http://127.0.0.1:{port}/messages?accepted=true");
        let mut response = self.agent.get(&url).call().map_err(|error| error.to_string())?;
        response.body_mut().read_json().map_err(|error| error.to_string())
    }

    /// The lines of error.log about an accepted message.
    pub(super) fn accepted(&self) -> Vec<String> {
        self.log().lines().filter(|line| line.contains("accepted message ")).map(str::to_owned).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("logs/error.log")).unwrap_or_default()
    }

    /// The lines of error.log that are not about a single request.
    fn remarks(&self) -> String {
        self.log().lines().filter(|line| !line.contains(", client: ")).collect::<Vec<_>>().join("\n")
    }

    /// Repeats a check until it returns a value.
    pub(super) fn wait_for<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&Self) -> Result<Option<T>, String>,
    ) -> Result<T, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if let Ok(Some(status)) = self.nginx.0.try_wait() {
                return Err(format!("nginx ended ({status}):\n{}", self.remarks()));
            }
            if Instant::now() > until {
                return Err(format!("waited in vain for {what}; nginx's log:\n{}", self.remarks()));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // nginx's master ends its workers when it receives SIGQUIT, not when it is killed.
        let asked = Command::new("kill").args(["-QUIT", &self.nginx.0.id().to_string()]).status();
        if asked.is_ok_and(|status| status.success()) {
            let _ = self.nginx.0.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Sends a request to nginx; an answer with any status is no error.
pub(super) fn get(agent: &ureq::Agent, port: u16, path: &str) -> Result<Answer, String> {
    let url = format!("http://127.0.0.1:{port}{path}");
    let begin = Instant::now();
    let mut response = agent.get(&url).call().map_err(|error| error.to_string())?;
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    let (pool, release) = (header("x-app-pool"), header("x-release-id"));
    let status = response.status().as_u16();
    response.body_mut().read_to_vec().map_err(|error| error.to_string())?;
    Ok(Answer { status, pool, release, at: unix_millis(), took: begin.elapsed() })
}

/// Milliseconds since the epoch.
pub(super) fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}

/// Starts one of the demo's servers on a free port of loopback.
fn server(name: &str, environment: &[(&str, &str)]) -> Result<(Process, u16), String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(own.with_file_name(name))
        .envs(environment.iter().copied())
        .envs([("HOST", "127.0.0.1"), ("PORT", "0")])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {name}: {error}"))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
    }
    let process = Process(child);
    let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
    port.map(|port| (process, port)).ok_or_else(|| format!("{name} did not start"))
}

fn free_port() -> Result<u16, String> {
    free_ports().next().ok_or_else(|| "no free port".to_owned())
}

/// Below the ports that the kernel gives to clients: one of those could be taken before the server binds it.
pub(super) fn free_ports() -> impl Iterator<Item = u16> {
    let first = std::process::id() as u16 % 20_000;
    let ports = (first..20_000).chain(0..first).map(|port| 10_000 + port);
    ports.filter(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
}

fn configuration(settings: &Settings, module: &Path, port: u16, blue: u16, green: u16) -> String {
    let Settings { workers, http, upstream, fail_timeout } = settings;
    let module = module.display();
    format!(
        "load_module {module};
worker_processes {workers};
error_log logs/error.log info;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path client_temp; proxy_temp_path proxy_temp; fastcgi_temp_path fastcgi_temp;
    uwsgi_temp_path uwsgi_temp; scgi_temp_path scgi_temp;
    poolwatch_receiver slack env:SLACK_WEBHOOK_URL;
    {http}
    upstream app {{
        {upstream}
        server 127.0.0.1:{blue} max_fails=1 fail_timeout={fail_timeout};
        server 127.0.0.1:{green} backup max_fails=1 fail_timeout={fail_timeout};
        poolwatch on;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app;
            proxy_connect_timeout 1s;
            proxy_read_timeout 2s;
            proxy_next_upstream error timeout http_500 http_502 http_503 http_504;
        }}
    }}
}}
"
    )
}
