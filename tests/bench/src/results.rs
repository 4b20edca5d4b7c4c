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
        let raw: Vec<(u32, Sample)> = self.of(cell, Contender::Raw).collect();
        let paired = mine.iter().filter_map(|(round, sample)| {
            let (_, limit) = raw.iter().find(|(other, _)| other == round)?;
            Some(sample.rate() / limit.rate())
        });
        Some(Row {
            calls: over(&|sample| Some(sample.rate()))?,
            p50: over(&|sample| sample.latency_us.map(|(p50, _)| p50)),
            p99: over(&|sample| sample.latency_us.map(|(_, p99)| p99)),
            cpu: over(&|sample| Some(sample.cpu_for_100k()))?,
            ratio: Summary::of(paired.collect()),
        })
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
