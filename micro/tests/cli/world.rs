//! A registry of a test, the processes in it, and the command beside them.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::served::VARIABLE;

/// Where a test's processes meet.
pub(crate) struct World {
    dir: TempDir,
    _processes: Vec<Process>,
}

/// A process that never outlives its test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended is left as it is.
        let _killed = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Returns the output of a command that did what it was asked for.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Returns the output as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.done()).unwrap()
    }

    /// Returns what a command said that failed with a code.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.out, "", "nothing but results goes to standard output");
        self.err
    }
}

/// Prepares a process that sees no settings but those of its test.
pub(crate) fn program(path: impl AsRef<Path>) -> Command {
    let mut command = Command::new(path.as_ref());
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("MICRO_") {
            command.env_remove(variable);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl World {
    /// Begins with an empty registry.
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), _processes: Vec::new() }
    }

    /// Begins with a process that serves `shop` and `numbers`, and one that serves `stock`.
    pub(crate) fn served() -> Self {
        let mut world = Self::empty();
        world._processes = ["stock", "shop"].map(|name| world.serve(name)).into();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn registry(&self) -> String {
        format!("local://{}", self.path("registry").display())
    }

    fn serve(&self, name: &str) -> Process {
        let mut command = program(std::env::current_exe().unwrap());
        command.args(["serves_for_the_other_tests", "--exact", "--nocapture"]);
        command.env(VARIABLE, name).env("MICRO_REGISTRY", self.registry());
        command.env("MICRO_BROKER", "http");
        serving(command)
    }

    /// Prepares the command.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program(env!("CARGO_BIN_EXE_micro"));
        command.args(args).env("MICRO_REGISTRY", self.registry()).current_dir(self.dir.path());
        command
    }

    /// Runs the command to its end.
    pub(crate) fn micro(&self, args: &[&str]) -> Said {
        self.micro_reading(args, "")
    }

    /// Runs the command to its end with lines on its standard input.
    pub(crate) fn micro_reading(&self, args: &[&str], input: &str) -> Said {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that reads nothing may be gone.
        let _written = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Starts a server and waits until it serves and is registered.
pub(crate) fn serving(mut command: Command) -> Process {
    let mut process = Process(command.spawn().unwrap());
    let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("serves on")));
    assert!(line.is_some(), "it ended before it served");
    // What it says on is read, so that it is never held up.
    std::thread::spawn(move || lines.for_each(drop));
    if let Some(mut out) = process.0.stdout.take() {
        std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
    }
    process
}
