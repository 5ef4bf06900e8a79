//! The settings of the stack stand in three places, which must agree: a variable that is documented and passed on but
//! never read would silently have no effect (D28).

use std::collections::BTreeSet;
use std::fs;

fn read(path: &str) -> String {
    fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).expect(path)
}

/// The variables of the lines `NAME=value` that are not comments.
fn documented() -> BTreeSet<String> {
    let names = read(".env.example");
    names
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The variables in `${NAME:-default}`.
fn used_by_compose() -> BTreeSet<String> {
    let name = |rest: &str| rest.split_once([':', '}']).map(|(name, _)| name.to_owned());
    read("docker-compose.yml").split("${").skip(1).filter_map(name).collect()
}

/// The variables of the lines `NAME: ${NAME:-}` and the like, below `environment:` of nginx.
fn passed_to_nginx() -> Vec<String> {
    let file = read("docker-compose.yml");
    let lines = file.lines().skip_while(|line| *line != "    environment:").skip(1);
    lines
        .take_while(|line| line.starts_with("      "))
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn the_example_has_every_variable_of_compose_and_no_other() {
    let mut documented = documented();
    assert!(documented.remove("COMPOSE_PROFILES"), "Compose itself reads that");
    assert_eq!(documented, used_by_compose());
}

/// In the public stacks `PORT` is the application's port. A user who knows those expects nginx at 8080, whatever `PORT`
/// says.
#[test]
fn the_port_of_the_application_is_not_the_port_for_clients() {
    let file = read("docker-compose.yml");
    let ports: Vec<&str> = file.lines().map(str::trim).filter(|line| line.contains("}:")).collect();
    assert!(ports.contains(&"- \"${NGINX_PORT:-8080}:8080\""), "{ports:?}");
    for pool in ["BLUE_PORT:-8081", "GREEN_PORT:-8082"] {
        let published = format!("ports: [\"127.0.0.1:${{{pool}}}:${{PORT:-3000}}\"]");
        assert!(ports.contains(&published.as_str()), "{published} is not in {ports:?}");
    }
    assert_eq!(file.matches("PORT: \"${PORT:-3000}\"").count(), 2, "both applications agree");
}

#[test]
fn d28_what_compose_passes_to_nginx_is_read_there() {
    let passed = passed_to_nginx();
    assert!(passed.len() >= 10, "{passed:?}");
    let configure = read("docker/bin/configure");
    for name in passed {
        assert!(configure.contains(&name), "{name} is passed to nginx, and nobody reads it");
    }
}

#[test]
fn every_value_of_a_template_is_filled_in() {
    let configure = read("docker/bin/configure");
    let filled = configure.split_once("envsubst '").and_then(|(_, rest)| rest.split_once('\'')).expect("envsubst").0;
    let filled: BTreeSet<&str> = filled.split_whitespace().map(|name| name.trim_start_matches('$')).collect();
    let templates = ["app", "status"].map(|name| read(&format!("nginx/templates/{name}.conf.template"))).concat();
    let used: BTreeSet<&str> = templates
        .split("${")
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name)
        .filter(|name| *name != "NAME")
        .collect();
    assert_eq!(used, filled);
}
