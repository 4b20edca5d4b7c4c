//! Python's own HTTP client, which shows that the ground is firm.

use libtest_mimic::{Failed, Trial};
use micro::prelude::*;

use crate::program::{Program, trial};

/// Python with nothing beside its own library.
const PYTHON: Program = Program {
    name: "python3",
    variable: "MICRO_TEST_PYTHON_BIN",
    probe: &["-c", "import urllib.request"],
    package: "python3 (Debian)",
};

struct Echo;

#[service(name = "echo")]
impl Echo {
    #[handler]
    async fn say(&self, text: String) -> Result<String> {
        Ok(text)
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("urllib_calls_an_endpoint", PYTHON, calls)]
}

async fn calls() -> Result<(), Failed> {
    let service = Service::new("echo").no_env().registry(micro::registry::Memory::new());
    let running = service.mount(Echo).start().await?;
    let address = running.address().to_string();
    let said = PYTHON.run(&["urllib_call.py", &format!("http://{address}")]).await?;
    running.stop().await;
    if said.trim() == "\"there\"" { Ok(()) } else { Err(said.into()) }
}
