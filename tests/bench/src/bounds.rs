//! What `raw` must be worth beside tarpc: below that the limit is not one, and ratios to it say
//! nothing.

use std::fmt;

use crate::cell::Cell;
use crate::contender::Contender;
use crate::outcome::{Outcome, ensure};
use crate::results::Results;
use crate::summary::Summary;

/// How many times as many calls as tarpc `raw` does at least, by cell. Both are well below what it
/// did where it was made.
const LEAST: [(&str, f64); 2] = [("small/256x1", 3.0), ("small/256x1@mt", 6.0)];

/// The ratio of one cell.
#[derive(Debug)]
pub(crate) struct Bound {
    cell: Cell,
    found: Summary,
    least: f64,
}

impl fmt::Display for Bound {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { lower, median, upper } = self.found;
        write!(to, "{} raw/tarpc {median:.2} (quartiles {lower:.2} and {upper:.2}), ", self.cell)?;
        write!(to, "at least {:.0}", self.least)
    }
}

/// The ratios of the cells that both ran.
pub(crate) fn bounds(results: &Results) -> Vec<Bound> {
    let bound = |(name, least): (&str, f64)| {
        let cell = name.parse().ok()?;
        let found = results.rates(cell, Contender::Raw, Contender::Tarpc)?;
        Some(Bound { cell, found, least })
    };
    LEAST.into_iter().filter_map(bound).collect()
}

/// Fails where a median is below its bound.
pub(crate) fn check(results: &Results) -> Outcome<()> {
    let mut below = bounds(results);
    below.retain(|bound| bound.found.median < bound.least);
    let why: Vec<String> = below.iter().map(ToString::to_string).collect();
    ensure(why.is_empty(), &why.join("; "))
}

#[cfg(test)]
mod tests {
    use super::{LEAST, bounds, check};
    use crate::cell::Cell;
    use crate::contender::Contender;
    use crate::results::Results;
    use crate::workload::Sample;

    fn results(raw: u64, tarpc: u64) -> Results {
        let mut results = Results::default();
        for (name, _) in LEAST {
            for (contender, calls) in [(Contender::Raw, raw), (Contender::Tarpc, tarpc)] {
                let sample = Sample {
                    calls,
                    seconds: 1.0,
                    cpu_seconds: 1.0,
                    foreign_cores: 0.0,
                    latency_us: None,
                };
                results.add(name.parse().unwrap(), contender, 0, sample);
            }
        }
        results
    }

    #[test]
    fn a_limit_that_is_none_fails_the_run() {
        assert!(check(&results(600, 100)).is_ok());
        let fault = check(&results(599, 100)).unwrap_err().to_string();
        assert!(fault.contains("small/256x1@mt raw/tarpc 5.99"), "{fault}");
        assert!(!fault.contains("small/256x1 raw"), "{fault}");
        assert!(check(&results(200, 100)).unwrap_err().to_string().contains("small/256x1 raw"));
    }

    #[test]
    fn what_did_not_run_has_no_bound() {
        assert!(bounds(&Results::default()).is_empty());
        let cells = Cell::quick();
        assert!(LEAST.iter().all(|(name, _)| cells.contains(&name.parse().unwrap())));
    }
}
