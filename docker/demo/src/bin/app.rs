//! The blue/green application: `APP_POOL`, `RELEASE_ID`, `PORT` and `HOST` in the environment.

use std::process::ExitCode;

use poolwatch_demo::serve::setting;
use poolwatch_demo::{app, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("app: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let pool = setting("APP_POOL", "blue".to_owned())?;
    let release = setting("RELEASE_ID", "dev".to_owned())?;
    let host = setting("HOST", "0.0.0.0".to_owned())?;
    let router = app::router(&pool, &release)?;
    serve::run(format_args!("app {pool}"), &host, setting("PORT", 3000)?, router).await
}
