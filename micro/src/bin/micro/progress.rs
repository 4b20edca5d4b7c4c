//! Signs of life during long work: on standard error, and only if it is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Pause between two signs.
const TICK: Duration = Duration::from_millis(120);

/// Work that somebody may be waiting for; dropping it clears the line.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Shows that something is waited for.
    pub(crate) fn waiting(what: &str) -> Self {
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Shows how many of several pieces of work are done.
    pub(crate) fn counting(what: &str, all: usize) -> Self {
        let bar = ProgressBar::new(u64::try_from(all).unwrap_or(u64::MAX));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {pos} of {len}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Counts one more piece of work as done.
    pub(crate) fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
