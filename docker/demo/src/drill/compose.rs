//! The stack as Compose runs it, from a copy of this repository, with ports and a network of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::host::{Answer, free_ports, get};
use super::load::Load;

/// The longest time to wait for anything.
const PATIENCE: Duration = Duration::from_secs(45);

/// A stack, which is taken down when this is dropped.
pub(super) struct Stack {
    directory: PathBuf,
    /// The command for Compose: `docker-compose`, or `docker compose`.
    compose: Vec<String>,
    /// The variables of `.env`. Variables of this process would override the file, so they are removed for Compose.
    variables: Vec<String>,
    /// Ports on 127.0.0.1.
    pub(super) port: u16,
    pub(super) blue_port: u16,
    pub(super) green_port: u16,
    pub(super) status_port: u16,
    pub(super) slack_port: u16,
    agent: ureq::Agent,
}

/// The result of a command.
pub(super) struct Said {
    pub(super) success: bool,
    /// Standard output, then standard error.
    pub(super) text: String,
}

impl Stack {
    /// Writes `.env` as a person would: the example with some values changed. Starts nothing.
    pub(super) fn new(directory: &Path, compose: &str, changes: &[(&str, &str)]) -> Result<Self, String> {
        let ports: Vec<u16> = free_ports().take(5).collect();
        let &[port, blue_port, green_port, status_port, slack_port] = ports.as_slice() else {
            return Err("no five free ports".to_owned());
        };
        let names = ["NGINX_PORT", "BLUE_PORT", "GREEN_PORT", "STATUS_PORT", "MOCK_SLACK_PORT"];
        let mut stack = Self {
            directory: directory.to_owned(),
            compose: compose.split_whitespace().map(str::to_owned).collect(),
            variables: Vec::new(),
            port,
            blue_port,
            green_port,
            status_port,
            slack_port,
            agent: ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(Duration::from_secs(15)))
                .max_idle_connections(0)
                .build()
                .into(),
        };
        let example = stack.read(".env.example")?;
        stack.variables = example.lines().filter_map(variable).map(str::to_owned).collect();
        fs::write(directory.join(".env"), example).map_err(|error| error.to_string())?;
        for (name, port) in names.iter().zip(&ports) {
            stack.set(name, &port.to_string())?;
        }
        for (name, value) in changes {
            stack.set(name, value)?;
        }
        Ok(stack)
    }

    /// Changes a value in `.env`. A variable that the example does not have is an error.
    pub(super) fn set(&self, name: &str, value: &str) -> Result<(), String> {
        let path = self.directory.join(".env");
        let text = self.read(".env")?;
        if !text.lines().any(|line| variable(line) == Some(name)) {
            return Err(format!("{name} is not in .env.example"));
        }
        let line =
            |line: &str| if variable(line) == Some(name) { format!("{name}={value}\n") } else { format!("{line}\n") };
        fs::write(path, text.lines().map(line).collect::<String>()).map_err(|error| error.to_string())
    }

    /// Runs Compose with these arguments; if it fails, its output is the error.
    pub(super) fn compose(&self, arguments: &[&str]) -> Result<String, String> {
        let said = self.try_compose(arguments)?;
        if said.success { Ok(said.text) } else { Err(format!("{}: {}", arguments.join(" "), said.text)) }
    }

    /// Runs Compose with these arguments.
    pub(super) fn try_compose(&self, arguments: &[&str]) -> Result<Said, String> {
        let (program, first) = self.compose.split_first().ok_or("no Compose was named")?;
        let mut command = Command::new(program);
        command.args(first).args(arguments).current_dir(&self.directory);
        for variable in &self.variables {
            command.env_remove(variable);
        }
        said(&mut command)
    }

    /// Takes the stack down, with its volumes.
    pub(super) fn down(&self) -> Result<(), String> {
        self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "2"]).map(drop)
    }

    /// Runs a command in nginx's container.
    pub(super) fn in_nginx(&self, arguments: &[&str]) -> Result<Said, String> {
        self.try_compose(&[&["exec", "-T", "nginx"], arguments].concat())
    }

    /// The full id of a service's container.
    pub(super) fn container(&self, service: &str) -> Result<String, String> {
        let id = self.compose(&["ps", "-q", service])?.trim().to_owned();
        if id.is_empty() { Err(format!("{service} has no container")) } else { Ok(id) }
    }

    /// The prefix of all names that Compose gives to parts of the stack.
    pub(super) fn project(&self) -> String {
        self.directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Reads a file of the stack's directory.
    pub(super) fn read(&self, path: &str) -> Result<String, String> {
        fs::read_to_string(self.directory.join(path)).map_err(|error| format!("{path}: {error}"))
    }

    /// Writes a file of the stack's directory, and creates its folder.
    pub(super) fn write(&self, path: &str, text: &str) -> Result<(), String> {
        let path = self.directory.join(path);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        written.map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Everything that nginx has logged.
    pub(super) fn log(&self) -> String {
        self.compose(&["logs", "--no-color", "nginx"]).unwrap_or_default()
    }

    /// Sends a request through nginx.
    pub(super) fn get(&self, path: &str) -> Result<Answer, String> {
        get(&self.agent, self.port, path)
    }

    /// Starts traffic through nginx, with a new connection for each request.
    pub(super) fn load(&self) -> Load {
        Load::start_anew(self.port, 20, 4)
    }

    /// Sends a POST and returns the status of the answer.
    pub(super) fn post(&self, port: u16, path: &str, body: &str) -> Result<u16, String> {
        let request =
            self.agent.post(format!("http://127.0.0.1:{port}{path}")).header("content-type", "application/json");
        request.send(body).map(|response| response.status().as_u16()).map_err(|error| error.to_string())
    }

    /// The status with which the status port answers a request for this host name.
    pub(super) fn status_as(&self, host: &str) -> Result<u16, String> {
        let url = format!("http://127.0.0.1:{}/api/v1/state", self.status_port);
        let request = self.agent.get(url).header("host", format!("{host}:{}", self.status_port));
        request.call().map(|response| response.status().as_u16()).map_err(|error| error.to_string())
    }

    /// Breaks an application (`error`, `timeout`), or repairs it.
    pub(super) fn chaos(&self, port: u16, mode: Option<&str>) -> Result<(), String> {
        let path = mode.map_or("/chaos/stop".to_owned(), |mode| format!("/chaos/start?mode={mode}"));
        match self.post(port, &path, "")? {
            200 => Ok(()),
            status => Err(format!("{path} was answered {status}")),
        }
    }

    /// The messages about this incident key (`app/serving/`, `app/error-rate/`) that the mock Slack accepted, in order.
    pub(super) fn messages(&self, key: &str) -> Result<Vec<Value>, String> {
        let url = format!("http://127.0.0.1:{}/messages?accepted=true", self.slack_port);
        let mut response = self.agent.get(&url).call().map_err(|error| error.to_string())?;
        let all: Vec<Value> = response.body_mut().read_json().map_err(|error| error.to_string())?;
        Ok(all.into_iter().filter(|message| message["raw"].to_string().contains(key)).collect())
    }

    /// The page at one of the stack's ports.
    pub(super) fn page(&self, port: u16, path: &str) -> Result<String, String> {
        let mut response =
            self.agent.get(format!("http://127.0.0.1:{port}{path}")).call().map_err(|error| error.to_string())?;
        response.body_mut().read_to_string().map_err(|error| error.to_string())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            eprintln!("drill: {error}");
        }
    }
}

/// Repeats a check until it returns a value.
pub(super) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>, String>) -> Result<T, String> {
    let until = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(Some(found)) => return Ok(found),
            Err(error) if Instant::now() > until => return Err(format!("waited in vain for {what}: {error}")),
            Ok(None) if Instant::now() > until => return Err(format!("waited in vain for {what}")),
            Ok(None) | Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Runs `docker` with these arguments; if it fails, its output is the error.
pub(super) fn docker(arguments: &[&str]) -> Result<String, String> {
    let said = try_docker(arguments)?;
    if said.success { Ok(said.text.trim().to_owned()) } else { Err(format!("{}: {}", arguments.join(" "), said.text)) }
}

/// Runs `docker` with these arguments.
pub(super) fn try_docker(arguments: &[&str]) -> Result<Said, String> {
    said(Command::new("docker").args(arguments))
}

fn said(command: &mut Command) -> Result<Said, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok(Said { success: output.status.success(), text })
}

/// The name in a line `NAME=value`; `None`: the line is a comment or has no `=`.
fn variable(line: &str) -> Option<&str> {
    line.split_once('=').map(|(name, _)| name).filter(|name| !name.starts_with('#'))
}
