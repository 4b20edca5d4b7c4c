//! The same results as Markdown, with quartiles.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::bounds;
use crate::machine;
use crate::options::Options;
use crate::outcome::Outcome;
use crate::results::Results;
use crate::rows;
use crate::summary::Summary;

/// Writes the file and returns where it is.
pub(crate) fn write(options: &Options, results: &Results) -> Outcome<PathBuf> {
    let file = options.markdown.clone().unwrap_or_else(default_file);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&file, render(options, results)?)?;
    Ok(file)
}

fn default_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join("bench.md")
}

fn render(options: &Options, results: &Results) -> Outcome<String> {
    let mut text = "# Benchmark\n\n".to_owned();
    for line in rows::head(options) {
        writeln!(text, "- {line}")?;
    }
    writeln!(text, "- at the end: {}", machine::describe())?;
    writeln!(text, "- {}", rows::disturbance(results))?;
    for bound in bounds::bounds(results) {
        writeln!(text, "- {bound}")?;
    }
    writeln!(text, "\nMedian [lower quartile, upper quartile] of the rounds.")?;
    for cell in &options.cells {
        writeln!(text, "\n## {cell}\n")?;
        let columns = "calls/s | p50 us | p99 us | cpu s / 100k, both sides | ratio to raw";
        writeln!(text, "| contender | {columns} |\n|---|---|---|---|---|---|")?;
        for contender in &options.contenders {
            let Some(row) = results.row(*cell, *contender) else {
                continue;
            };
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                contender.name(),
                entry(Some(row.calls), 0),
                entry(row.p50, 1),
                entry(row.p99, 1),
                entry(Some(row.cpu), 3),
                entry(row.ratio, 3),
            )?;
        }
    }
    Ok(text)
}

fn entry(summary: Option<Summary>, digits: usize) -> String {
    summary.map_or_else(String::new, |Summary { lower, median, upper }| {
        format!("{median:.digits$} [{lower:.digits$}, {upper:.digits$}]")
    })
}
