//! A process that serves, as the tests of several processes start it.
//!
//! `node [front|middle|back]`: one service of the chain, or everything else. Settings come from
//! `MICRO_*` variables; `MICRO_SERVER_ID` names the process. With `TEST_HOLD_STOP=path` a stop
//! waits in its first hook until the path exists. With `TEST_RUN_WIRED` it is the front of the chain
//! as a program of one line.

use std::path::PathBuf;
use std::time::Duration;

use micro::prelude::*;
use micro_tests::chain::{Back, Front, Middle};
use micro_tests::greeter::Greeter;
use micro_tests::probe::Probe;

/// Pause between looks for a path.
const LOOK: Duration = Duration::from_millis(5);

/// Is linked in; only a program of one line mounts it without being told.
#[subscriber(topic = "entered")]
async fn note(who: String) -> Result<()> {
    eprintln!("{who} entered");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    if std::env::var_os("TEST_RUN_WIRED").is_some() {
        return micro::run_wired::<Front>().await;
    }
    let role = std::env::args().nth(1).unwrap_or_default();
    let node = std::env::var("MICRO_SERVER_ID").unwrap_or_default();
    let service = Service::new("node").no_args();
    let service = match role.as_str() {
        "front" => service.wire::<Front>(),
        "middle" => service.wire::<Middle>(),
        "back" => service.mount(Back),
        _ => service.mount(Probe { node }).mount(Greeter),
    };
    service.before_stop(hold).run().await
}

async fn hold(_: Running) -> Result<()> {
    let Some(path) = std::env::var_os("TEST_HOLD_STOP").map(PathBuf::from) else {
        return Ok(());
    };
    eprintln!("stop is held");
    while !path.exists() {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
