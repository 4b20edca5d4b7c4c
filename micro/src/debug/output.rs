//! Takes what the process writes to its standard output and error into the log, too.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{dup2_stderr, dup2_stdout};

use crate::core::error::{Error, Result};
use crate::debug::record::{Level, Record};
use crate::debug::{ERROR_ID, Recorder};

/// Whether the output of this process is taken already.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// How long the end waits for lines under way; a child process that has inherited the output may
/// write for ever.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The first number of a copied descriptor, past those with a meaning of their own.
const COPY_FROM: i32 = 3;

/// Hands each line of the standard output and error to a recorder, as long as it lives.
///
/// The lines still go where they went. They are records of the target `stdout`, or `stderr` and
/// then of level `warn`. A `tracing` subscriber that shows the log on either of them has each
/// record twice in the recorder if it is also wrapped by `Capture`.
///
/// For Unix. Child processes inherit the taken output, so that their lines are taken too.
pub struct Output {
    pipes: Vec<Pipe>,
}

struct Pipe {
    side: Side,
    saved: OwnedFd,
    over: mpsc::Receiver<()>,
}

#[derive(Clone, Copy)]
enum Side {
    Out,
    Err,
}

impl Output {
    /// Begins to take the output.
    ///
    /// # Errors
    /// 409 when it is taken already; 500 when the system does not allow it.
    pub fn take(recorder: &Arc<dyn Recorder>, line_bytes_max: usize) -> Result<Self> {
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Err(Error::conflict(ERROR_ID, "the output of the process is taken already"));
        }
        // From here on a drop gives back what was taken.
        let mut output = Self { pipes: Vec::new() };
        for side in [Side::Out, Side::Err] {
            let pipe = Pipe::lay(side, Arc::clone(recorder), line_bytes_max).map_err(|error| {
                let detail = "the system does not let the process take its output";
                Error::internal(ERROR_ID, detail).with_source(error)
            })?;
            output.pipes.push(pipe);
        }
        Ok(output)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        for pipe in self.pipes.drain(..) {
            pipe.end();
        }
        TAKEN.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Output")
    }
}

impl Pipe {
    fn lay(side: Side, recorder: Arc<dyn Recorder>, max: usize) -> io::Result<Self> {
        side.flush();
        let saved = side.copy()?;
        let shown = File::from(saved.try_clone()?);
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (end, over) = mpsc::sync_channel(1);
        // A thread of its own: whoever prints waits for it when the pipe is full, and may hold the
        // only worker of a runtime.
        std::thread::Builder::new().name(side.name().to_owned()).spawn(move || {
            copy(File::from(read), shown, |line| recorder.log(side.record(line)), max);
            // Whoever waited may have gone.
            let _heard = end.send(());
        })?;
        side.point_to(&write)?;
        Ok(Self { side, saved, over })
    }

    /// Gives the output back; the thread ends when nobody writes into the pipe any more.
    fn end(self) {
        self.side.flush();
        if let Err(error) = self.side.point_to(&self.saved) {
            tracing::warn!(%error, "the output of the process was not given back");
            return;
        }
        let _over = self.over.recv_timeout(LAST_LINES);
    }
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Out => "stdout",
            Self::Err => "stderr",
        }
    }

    fn copy(self) -> io::Result<OwnedFd> {
        Ok(match self {
            Self::Out => fcntl_dupfd_cloexec(io::stdout().as_fd(), COPY_FROM)?,
            Self::Err => fcntl_dupfd_cloexec(io::stderr().as_fd(), COPY_FROM)?,
        })
    }

    fn point_to(self, end: &OwnedFd) -> io::Result<()> {
        match self {
            Self::Out => dup2_stdout(end)?,
            Self::Err => dup2_stderr(end)?,
        }
        Ok(())
    }

    /// Writes out what the standard library holds back; what fails is lost anyway.
    fn flush(self) {
        let _flushed = match self {
            Self::Out => io::stdout().flush(),
            Self::Err => io::stderr().flush(),
        };
    }

    fn record(self, line: &[u8]) -> Record {
        let text = String::from_utf8_lossy(line);
        let level = match self {
            Self::Out => Level::Info,
            Self::Err => Level::Warn,
        };
        Record::new(self.name(), text.trim_end_matches(['\n', '\r'])).with_level(level)
    }
}

/// Copies everything to `shown`, and each line, in pieces of at most `max` bytes, to `log`.
fn copy(from: impl Read, mut shown: impl Write, mut log: impl FnMut(&[u8]), max: usize) {
    let (mut from, mut line) = (BufReader::new(from), Vec::new());
    let max = u64::try_from(max.max(1)).unwrap_or(u64::MAX);
    // Progress: each turn reads at least a byte, or ends.
    loop {
        line.clear();
        match from.by_ref().take(max).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        }
        // Nobody reads it there any more; the log still takes it.
        let _shown = shown.write_all(&line).and_then(|()| shown.flush());
        if line.as_slice() != b"\n" {
            log(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_at_the_limit_above_it_and_far_above_it() {
        for (length, pieces) in [(9, 1), (10, 2), (100, 11)] {
            let text = format!("{}\n", "x".repeat(length));
            let (mut shown, mut lines) = (Vec::new(), Vec::new());
            copy(text.as_bytes(), &mut shown, |line| lines.push(line.to_vec()), 10);
            assert_eq!(shown, text.as_bytes(), "what is shown is whole");
            assert!(lines.iter().all(|line| line.len() <= 10));
            let blank = usize::from(length % 10 == 0);
            assert_eq!(lines.len() + blank, pieces, "{length}");
        }
    }
}
