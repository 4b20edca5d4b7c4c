//! Two builds of this program side by side, in turns within each round: what a change costs or
//! saves, told apart from what the machine does meanwhile.

use std::io::Write as _;
use std::path::Path;

use crate::bench::Bench;
use crate::machine;
use crate::options::Options;
use crate::orchestrate::note;
use crate::outcome::{Outcome, ensure};
use crate::results::Results;
use crate::rows;
use crate::summary::Summary;

/// What the upper quartile of the ratios of processor time may be: a twentieth is what remains of
/// the machine's own noise when two equal builds are compared.
const CPU_RATIO_MAX: f64 = 1.05;

/// Measures this build and another one, prints the quartiles of this one's figures by the other's,
/// and fails where this one takes more of the processor.
pub(crate) fn run(options: &Options, other: &Path) -> Outcome<()> {
    let mut out = std::io::stdout();
    writeln!(out, "# {}", machine::describe())?;
    writeln!(
        out,
        "# this build by {}: {} rounds in turns, windows of {} ms after {} ms of warm-up",
        other.display(),
        options.rounds,
        options.measured.as_millis(),
        options.warm_up.as_millis()
    )?;
    let builds = (Bench::start(&std::env::current_exe()?, options)?, Bench::start(other, options)?);
    let mut results = (Results::default(), Results::default());
    for round in 0..options.rounds {
        take_turns(&builds, options, round, &mut results)?;
        note(&format!("round {} of {}", round + 1, options.rounds));
    }
    drop(builds);
    report(options, &results)
}

/// Measures every cell by both, each time beginning with the one that came second before.
fn take_turns(
    (this, other): &(Bench<'_>, Bench<'_>),
    options: &Options,
    round: u32,
    results: &mut (Results, Results),
) -> Outcome<()> {
    for cell in &options.cells {
        for contender in options.contenders.iter().filter(|contender| contender.runs(cell)) {
            let (ours, theirs) = if round.is_multiple_of(2) {
                let ours = this.sample(*contender, *cell)?;
                (ours, other.sample(*contender, *cell)?)
            } else {
                let theirs = other.sample(*contender, *cell)?;
                (this.sample(*contender, *cell)?, theirs)
            };
            results.0.add(*cell, *contender, round, ours);
            results.1.add(*cell, *contender, round, theirs);
        }
    }
    Ok(())
}

fn report(options: &Options, (this, other): &(Results, Results)) -> Outcome<()> {
    let mut out = std::io::stdout();
    writeln!(out, "# CELL CONTENDER cpu-s/100k-ratio: lower median upper calls/s-ratio: same")?;
    let mut slower = Vec::new();
    for cell in &options.cells {
        for contender in &options.contenders {
            let cpu = this.cpu_by(other, *cell, *contender);
            let rate = this.rates_by(other, *cell, *contender);
            let (Some(cpu), Some(rate)) = (cpu, rate) else { continue };
            let name = contender.name();
            writeln!(out, "{cell} {name} {} {}", quartiles(cpu), quartiles(rate))?;
            if cpu.upper > CPU_RATIO_MAX {
                slower.push(format!("{cell} {name}: {:.3}", cpu.upper));
            }
        }
    }
    writeln!(out, "# {}", rows::disturbance(this))?;
    let why = format!("upper quartiles above {CPU_RATIO_MAX}: {}", slower.join(", "));
    ensure(slower.is_empty(), &why)
}

fn quartiles(Summary { lower, median, upper }: Summary) -> String {
    format!("{lower:.3} {median:.3} {upper:.3}")
}
