//! The status page of a document of the API, to be looked at without nginx:
//! `cargo run --no-default-features --example page < docs/api/example.json > page.html`

use std::io::{self, Write};

use ngx_http_poolwatch_module::status::html;
use ngx_http_poolwatch_module::status::view::StateView;

fn main() -> io::Result<()> {
    let state: StateView = serde_json::from_reader(io::stdin())?;
    io::stdout().write_all(html::page(&state, "").as_bytes())
}
