//! Child processes: this program or another build of it, pinned if need be, killed however the parent leaves.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use crate::outcome::Outcome;

/// A running child. Its standard input stays open as long as this lives, and closing it ends the
/// child even when the orchestrator had no chance to kill it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    _input: Option<ChildStdin>,
    lines: Receiver<std::io::Result<String>>,
}

impl Process {
    /// Starts a program with `arguments`, on `core` alone if one is given.
    pub(crate) fn start(program: &Path, arguments: &[&str], core: Option<u32>) -> Outcome<Self> {
        let mut command = match core {
            None => Command::new(program),
            Some(core) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(core.to_string()).arg(program);
                command
            }
        };
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match core {
            Some(_) => format!("cannot run taskset, which pins processes to cores: {error}"),
            None => format!("cannot run {}: {error}", program.display()),
        })?;
        let input = child.stdin.take();
        let (found, lines) = sync_channel(1);
        let process = Self { child, _input: input, lines };
        process.watch(found)
    }

    /// The process id; `taskset` replaces itself by the program, so it is the program's.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that the child prints.
    pub(crate) fn line(&self, within: Duration) -> Outcome<String> {
        match self.lines.recv_timeout(within) {
            Ok(line) => Ok(line?),
            Err(_) => Err("a child process ended or hung without an answer".into()),
        }
    }

    /// Reads the child's lines on a thread that ends with the child.
    fn watch(
        mut self,
        found: std::sync::mpsc::SyncSender<std::io::Result<String>>,
    ) -> Outcome<Self> {
        let output = self.child.stdout.take().ok_or("a child process has no output")?;
        std::thread::Builder::new().name("lines".to_owned()).spawn(move || {
            for line in BufReader::new(output).lines() {
                if found.send(line).is_err() {
                    return;
                }
            }
        })?;
        Ok(self)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the child has ended, which is the aim.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
