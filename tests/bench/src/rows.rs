//! The rows on standard output: medians as plain numbers, one contender in one cell a line.

use std::io::Write as _;

use crate::bounds;
use crate::cell::Cell;
use crate::contender::Contender;
use crate::machine;
use crate::options::Options;
use crate::outcome::Outcome;
use crate::results::{Results, Row};
use crate::summary::Summary;

/// Prints what the rows mean and under which settings they come about.
pub(crate) fn print_head(options: &Options) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    for line in head(options) {
        writeln!(out, "# {line}")?;
    }
    writeln!(out, "# CELL CONTENDER calls/s p50-us p99-us cpu-s/100k-both-sides ratio-to-raw")?;
    Ok(out.flush()?)
}

/// Prints all rows, and how much the machine was disturbed.
pub(crate) fn print(options: &Options, results: &Results) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    for cell in &options.cells {
        for contender in &options.contenders {
            if let Some(row) = results.row(*cell, *contender) {
                writeln!(out, "{}", line(*cell, *contender, &row))?;
            }
        }
    }
    for bound in bounds::bounds(results) {
        writeln!(out, "# {bound}")?;
    }
    writeln!(out, "# {}", disturbance(results))?;
    Ok(out.flush()?)
}

/// How far the figures can be trusted: what else ran on the machine.
pub(crate) fn disturbance(results: &Results) -> String {
    results.foreign_cores().map_or_else(String::new, |Summary { lower, median, upper }| {
        format!(
            "other processes kept {median:.2} cores busy while measuring (quartiles {lower:.2} \
             and {upper:.2}); above 0.1 trust ratios and cpu-s rather than calls/s"
        )
    })
}

/// Circumstances and settings, a sentence a line.
pub(crate) fn head(options: &Options) -> Vec<String> {
    let mut lines = vec![
        machine::describe(),
        format!(
            "{} rounds, interleaved between contenders; windows of {} ms after {} ms of warm-up; \
             medians; ratios are medians of the rounds' ratios",
            options.rounds,
            options.measured.as_millis(),
            options.warm_up.as_millis()
        ),
        "latency: of every call with one in flight or of 64 KiB, else of every sixteenth"
            .to_owned(),
        "without suffix: current-thread runtimes, server and client each pinned to a core of its \
         own; @mt: tokio's multi-thread runtime with 2 workers each, unpinned"
            .to_owned(),
    ];
    for contender in &options.contenders {
        let versions: Vec<_> = contender.crates().iter().map(|one| machine::version(one)).collect();
        let (name, settings) = (contender.name(), contender.settings());
        lines.push(format!("{name} ({}): {settings}", versions.join(", ")));
    }
    lines
}

fn line(cell: Cell, contender: Contender, row: &Row) -> String {
    let optional = |summary: Option<Summary>, digits: usize| match summary {
        Some(summary) => format!("{:.digits$}", summary.median),
        None => "-".to_owned(),
    };
    format!(
        "{cell} {} {:.0} {} {} {:.3} {}",
        contender.name(),
        row.calls.median,
        optional(row.p50, 1),
        optional(row.p99, 1),
        row.cpu.median,
        optional(row.ratio, 3),
    )
}
