//! The run: servers stay up, clients come and go, contenders take turns within each round.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::cell::Cell;
use crate::contender::Contender;
use crate::options::Options;
use crate::outcome::Outcome;
use crate::results::Results;
use crate::{bounds, markdown, rows};

/// Measures everything, reports, and fails where a full run's figures cannot be right.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let started = Instant::now();
    rows::print_head(options)?;
    let bench = Bench::start(&std::env::current_exe()?, options)?;
    let mut results = Results::default();
    let mut longest = Duration::ZERO;
    for round in 0..options.rounds {
        let began = Instant::now();
        if options.limit.is_some_and(|limit| began - started + longest > limit) {
            note(&format!("out of time after {round} of {} rounds", options.rounds));
            break;
        }
        for cell in &options.cells {
            measure(&bench, options, (*cell, round), &mut results)?;
        }
        longest = longest.max(began.elapsed());
        note(&format!("round {} of {}: {:.1?}", round + 1, options.rounds, began.elapsed()));
    }
    drop(bench);
    rows::print(options, &results)?;
    if !options.quick || options.markdown.is_some() {
        let file = markdown::write(options, &results)?;
        writeln!(std::io::stdout(), "# Markdown: {}", file.display())?;
    }
    if options.quick { Ok(()) } else { bounds::check(&results) }
}

/// Lets every contender run the cell once, beginning with another one each round so that none
/// always follows the same neighbour.
fn measure(
    bench: &Bench<'_>,
    options: &Options,
    (cell, round): (Cell, u32),
    results: &mut Results,
) -> Outcome<()> {
    let able = options.contenders.iter().filter(|contender| contender.runs(&cell));
    let able: Vec<Contender> = able.copied().collect();
    let first = usize::try_from(round)?.checked_rem(able.len()).unwrap_or(0);
    for contender in able.iter().cycle().skip(first).take(able.len()) {
        let sample = bench.sample(*contender, cell).map_err(|fault| {
            format!("{cell} {} in round {}: {fault}", contender.name(), round + 1)
        })?;
        results.add(cell, *contender, round, sample);
    }
    Ok(())
}

/// Progress, on standard error so that standard output has nothing but the report.
pub(crate) fn note(text: &str) {
    // Progress that nobody can see needs no handling.
    writeln!(std::io::stderr(), "bench: {text}").ok();
}
