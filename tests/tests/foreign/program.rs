//! A program from elsewhere: where it is, whether it is there, and a run of it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use tokio::process::Command;

/// How long a program may run: no measure of speed, the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a test needs of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    /// What it is called when `variable` does not say.
    pub(crate) name: &'static str,
    /// The variable that names it.
    pub(crate) variable: &'static str,
    /// Arguments with which it succeeds where everything needed is there.
    pub(crate) probe: &'static [&'static str],
    /// What brings it.
    pub(crate) package: &'static str,
}

impl Program {
    pub(crate) fn path(&self) -> OsString {
        std::env::var_os(self.variable).unwrap_or_else(|| self.name.into())
    }

    fn is_there(&self) -> bool {
        let mut command = std::process::Command::new(self.path());
        command.args(self.probe).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Prepares a run in the folder of the scripts; the program ends with the test.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.path());
        command.current_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("foreign"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs the program to its end and returns what it printed.
    ///
    /// # Errors
    /// When it fails or does not end; the error holds everything it printed.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String, Failed> {
        let mut command = self.command();
        command.args(arguments);
        let ended = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = ended.map_err(|_| format!("{} {arguments:?} did not end", self.name))??;
        let (said, complained) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            return Ok(said.into_owned());
        }
        Err(format!("{} {arguments:?}: {}\n{said}\n{complained}", self.name, output.status).into())
    }
}

/// Makes a test that needs a program.
pub(crate) fn trial<F>(name: &str, needs: Program, test: F) -> Trial
where
    F: AsyncFnOnce() -> Result<(), Failed> + Send + 'static,
{
    let there = needs.is_there();
    let required = std::env::var_os("MICRO_REQUIRE_SERVERS").is_some_and(|value| value == "1");
    let run = move || {
        if !there {
            return Err(format!("{} is missing: install {}", needs.name, needs.package).into());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        runtime.block_on(test())
    };
    let trial = Trial::test(name, run).with_ignored_flag(!there && !required);
    if there { trial } else { trial.with_kind(format!("needs {}", needs.package)) }
}
