//! curl, by the command that a service prints when it starts.

use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::curl::CURL;
use crate::program::trial;

/// How long a service may take to say that it serves.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("curl_runs_the_command_of_the_start_line", CURL, runs)]
}

async fn runs() -> Result<(), Failed> {
    let place = tempfile::tempdir()?;
    let socket = format!("unix:{}", place.path().join("socket").display());
    let registry = format!("local://{}", place.path().join("registry").display());
    for address in ["127.0.0.1:0", &socket] {
        let (_server, line) = serve(address, &registry).await?;
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let curl = CURL.path().to_string_lossy().into_owned();
            let command = line.replacen("curl ", &format!("{curl} -sS {version} "), 1);
            let output = Command::new("sh").args(["-c", &command]).output().await?;
            if !output.status.success() || output.stdout != br#"{"message":"Hello Ada"}"# {
                return Err(format!("{command}: {output:?}").into());
            }
        }
    }
    Ok(())
}

/// Starts a service, which ends with what is returned, and finds the command that it prints.
async fn serve(address: &str, registry: &str) -> Result<(Child, String), Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("MICRO_") {
            command.env_remove(variable);
        }
    }
    command.env("MICRO_SERVER_ADDRESS", address).env("MICRO_REGISTRY", registry);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut server = command.spawn()?;
    let said = server.stderr.as_mut().ok_or("it has no output")?;
    let mut lines = BufReader::new(said).lines();
    let find = async {
        while let Some(line) = lines.next_line().await? {
            if let Some((_, command)) = line.split_once("try: ") {
                return Ok(command.to_owned());
            }
        }
        Err(Failed::from("it ended and named no command"))
    };
    let line = tokio::time::timeout(PATIENCE, find).await.map_err(|_| "it says nothing")??;
    Ok((server, line))
}
