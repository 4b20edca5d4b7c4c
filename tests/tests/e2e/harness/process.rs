//! A process that never outlives its test, and what it said.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::PATIENCE;

/// Lines of a process that are kept.
const LINES_MAX: usize = 10_000;

/// A process to be started.
pub(crate) struct Start(Command);

impl Start {
    pub(crate) fn new(program: &str) -> Self {
        // The kernel kills the process when the test dies without unwinding.
        let setpriv = Path::new("/usr/bin/setpriv");
        let mut command = if setpriv.exists() {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", program]);
            command
        } else {
            Command::new(program)
        };
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("MICRO_") {
                command.env_remove(variable);
            }
        }
        command
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.kill_on_drop(true);
        Self(command)
    }

    pub(crate) fn env(mut self, variable: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(variable, value);
        self
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.arg(arg);
        self
    }

    pub(crate) fn spawn(mut self) -> Process {
        let mut child = self.0.spawn().unwrap();
        let lines = watch::Sender::new(Vec::new());
        let mut readers = JoinSet::new();
        readers.spawn(read(child.stdout.take().unwrap(), lines.clone()));
        readers.spawn(read(child.stderr.take().unwrap(), lines.clone()));
        Process { child, lines, readers }
    }

    /// Starts a server and waits until it serves and is registered.
    pub(crate) async fn serving(self) -> Process {
        let process = self.spawn();
        process.line("serves on").await;
        process
    }
}

async fn read(pipe: impl AsyncRead + Unpin, lines: watch::Sender<Vec<String>>) {
    let mut text = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = text.next_line().await {
        lines.send_modify(|lines| {
            if lines.len() < LINES_MAX {
                lines.push(line);
            }
        });
    }
}

/// A running process; killed when dropped, and what it said is shown if the test failed.
pub(crate) struct Process {
    child: Child,
    lines: watch::Sender<Vec<String>>,
    readers: JoinSet<()>,
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Returns what the process has said so far, on both outputs.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Waits for a line with a text in it.
    pub(crate) async fn line(&self, part: &str) -> String {
        let mut lines = self.lines.subscribe();
        let found = |lines: &Vec<String>| lines.iter().find(|line| line.contains(part)).cloned();
        let said = lines.wait_for(|lines| found(lines).is_some());
        let said = tokio::time::timeout(PATIENCE, said).await;
        let said = said.unwrap_or_else(|_| panic!("never said `{part}`"));
        found(&said.unwrap()).unwrap()
    }

    /// Returns the address that the process says it serves on.
    pub(crate) async fn address(&self) -> String {
        let line = self.line("serves on").await;
        line.split("serves on ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    }

    /// Sends a signal such as `TERM`.
    pub(crate) async fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.id());
        let status = Command::new("sh").args(["-c", &command]).status().await.unwrap();
        assert!(status.success(), "{command}");
    }

    /// Waits for the end of the process and of its outputs.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.expect("the process does not end").unwrap();
        while self.readers.join_next().await.is_some() {}
        status
    }

    /// Kills the process in the middle of whatever it does.
    pub(crate) async fn kill(&mut self) {
        self.child.start_kill().unwrap();
        self.end().await;
    }

    /// Asks the process to stop and checks that it says nothing was cut.
    pub(crate) async fn stop(&mut self) {
        self.signal("TERM").await;
        let status = self.end().await;
        assert_eq!(status.code(), Some(0), "{:?}", self.lines());
    }

    /// Returns the resident memory of the process in KiB.
    pub(crate) fn resident_kib(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- process {:?}", self.child.id());
            self.lines.borrow().iter().for_each(|line| eprintln!("{line}"));
        }
        // A stopped process takes this signal too; it may have ended already.
        let _sent = self.child.start_kill();
    }
}

/// Lets a duration pass that is part of what is tested.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
