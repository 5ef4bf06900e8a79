//! A Slack that accepts or refuses messages as the real one does: `PORT` and `HOST` in the environment.

use std::process::ExitCode;

use poolwatch_demo::serve::setting;
use poolwatch_demo::{serve, slack};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mock-slack: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let host = setting("HOST", "127.0.0.1".to_owned())?;
    serve::run("mock-slack", &host, setting("PORT", 9000)?, slack::router()).await
}
