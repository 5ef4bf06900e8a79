//! Any arguments of any directive are accepted, or give one clean line that says why not.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ngx_http_poolwatch_module::directives::DIRECTIVES;
use ngx_http_poolwatch_module::directives::block::{Block, Http, Location};
use ngx_http_poolwatch_module::directives::directive::Context;
use ngx_http_poolwatch_module::directives::place::{DirectiveLine, Place};

fuzz_target!(|input: (u8, Vec<Vec<u8>>)| {
    let (which, args) = input;
    let directive = &DIRECTIVES[usize::from(which) % DIRECTIVES.len()];
    // nginx's own parser never passes zero arguments.
    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).chain([&b"on"[..]]).collect();
    let place = Place { file: "nginx.conf".into(), line: 1 };
    let line = DirectiveLine { args: &args, place: &place };
    let (mut http, mut block, mut location) = (Http::default(), Block::default(), Location::default());
    let read = match directive.context {
        Context::Http(read) => read(&mut http, &line),
        Context::HttpAndUpstream(setting) | Context::Upstream(setting) => block.read(directive.name, setting, &line),
        Context::Location(read) => read(&mut location, &line),
    };
    if let Err(mistake) = read {
        let text = mistake.in_directive(directive.name());
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
});
