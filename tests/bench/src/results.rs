//! All samples, by cell, contender and round.

use crate::cell::Cell;
use crate::contender::Contender;
use crate::summary::Summary;
use crate::workload::Sample;

/// Samples in the order they were taken.
#[derive(Debug, Default)]
pub(crate) struct Results {
    samples: Vec<(Cell, Contender, u32, Sample)>,
}

/// One row of the report: what a contender did in a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) calls: Summary,
    /// Microseconds; absent for streams.
    pub(crate) p50: Option<Summary>,
    /// Microseconds; absent for streams.
    pub(crate) p99: Option<Summary>,
    /// Processor seconds of both processes for 100 000 calls.
    pub(crate) cpu: Summary,
    /// Calls per second by those of `raw` in the same round; absent without `raw`.
    pub(crate) ratio: Option<Summary>,
}

impl Results {
    /// Adds a sample.
    pub(crate) fn add(&mut self, cell: Cell, contender: Contender, round: u32, sample: Sample) {
        self.samples.push((cell, contender, round, sample));
    }

    /// The row of a contender in a cell, if it ran there.
    pub(crate) fn row(&self, cell: Cell, contender: Contender) -> Option<Row> {
        let mine: Vec<(u32, Sample)> = self.of(cell, contender).collect();
        let over = |value: &dyn Fn(&Sample) -> Option<f64>| {
            Summary::of(mine.iter().filter_map(|(_, sample)| value(sample)).collect())
        };
        Some(Row {
            calls: over(&|sample| Some(sample.rate()))?,
            p50: over(&|sample| sample.latency_us.map(|(p50, _)| p50)),
            p99: over(&|sample| sample.latency_us.map(|(_, p99)| p99)),
            cpu: over(&|sample| Some(sample.cpu_for_100k()))?,
            ratio: self.rates(cell, contender, Contender::Raw),
        })
    }

    /// Calls per second of a contender by those of another, in the same rounds.
    pub(crate) fn rates(&self, cell: Cell, of: Contender, by: Contender) -> Option<Summary> {
        ratio(self.of(cell, of), self.of(cell, by), Sample::rate)
    }

    /// Calls per second by those of other results, in the same rounds.
    pub(crate) fn rates_by(&self, other: &Self, cell: Cell, of: Contender) -> Option<Summary> {
        ratio(self.of(cell, of), other.of(cell, of), Sample::rate)
    }

    /// Processor seconds for 100 000 calls by those of other results, in the same rounds.
    pub(crate) fn cpu_by(&self, other: &Self, cell: Cell, of: Contender) -> Option<Summary> {
        ratio(self.of(cell, of), other.of(cell, of), Sample::cpu_for_100k)
    }

    /// Cores that other processes kept busy during the samples.
    pub(crate) fn foreign_cores(&self) -> Option<Summary> {
        Summary::of(self.samples.iter().map(|(.., sample)| sample.foreign_cores).collect())
    }

    fn of(&self, cell: Cell, contender: Contender) -> impl Iterator<Item = (u32, Sample)> {
        let mine =
            self.samples.iter().filter(move |(at, who, ..)| (*at, *who) == (cell, contender));
        mine.map(|(.., round, sample)| (*round, *sample))
    }
}

/// What one row has of something by what another has of it, round by round.
fn ratio(
    mine: impl Iterator<Item = (u32, Sample)>,
    other: impl Iterator<Item = (u32, Sample)>,
    value: fn(&Sample) -> f64,
) -> Option<Summary> {
    let other: Vec<(u32, Sample)> = other.collect();
    let paired = mine.filter_map(|(round, sample)| {
        let (_, base) = other.iter().find(|(there, _)| *there == round)?;
        Some(value(&sample) / value(base))
    });
    Summary::of(paired.collect())
}

#[cfg(test)]
mod tests {
    use super::Results;
    use crate::contender::Contender;
    use crate::workload::Sample;

    fn sample(calls: u64, cpu_seconds: f64) -> Sample {
        Sample { calls, seconds: 1.0, cpu_seconds, foreign_cores: 0.0, latency_us: None }
    }

    #[test]
    fn only_the_same_rounds_are_compared() {
        let cell = "small/1x1".parse().unwrap();
        let (mut this, mut other) = (Results::default(), Results::default());
        this.add(cell, Contender::Native, 0, sample(100, 3.0));
        this.add(cell, Contender::Native, 1, sample(900, 1.0));
        other.add(cell, Contender::Native, 0, sample(100, 2.0));
        let cpu = this.cpu_by(&other, cell, Contender::Native).unwrap();
        assert_eq!((cpu.lower, cpu.median, cpu.upper), (1.5, 1.5, 1.5));
        assert_eq!(this.rates_by(&other, cell, Contender::Native).unwrap().median, 1.0);
        assert!(this.rates_by(&other, cell, Contender::Tarpc).is_none());
    }
}
