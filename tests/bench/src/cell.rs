//! A cell: what is sent, how many calls at once over how many connections, on which runtime.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::outcome::{Fault, Outcome};

/// Messages of a `stream` cell.
pub(crate) const STREAMED: u64 = 1_000_000;

/// One measured situation, written `small/256x1` or `small/256x1@mt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// What is sent.
    pub(crate) load: Load,
    /// How it is spread.
    pub(crate) shape: Shape,
    /// What runs it.
    pub(crate) threads: Threads,
}

/// Calls in flight x connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Calls in flight over all connections together.
    pub(crate) in_flight: usize,
    /// Connections.
    pub(crate) connections: usize,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Load {
    /// Echoed calls with an empty payload.
    Small,
    /// Echoed calls with a payload of 1 KiB.
    OneKib,
    /// Echoed calls with a payload of 64 KiB.
    SixtyFourKib,
    /// One server stream of [`STREAMED`] small messages.
    Stream,
}

/// The runtime of both processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Threads {
    /// A current-thread runtime, each process pinned to a core of its own.
    Ct,
    /// Tokio's multi-thread runtime with two workers, unpinned.
    Mt,
}

impl Load {
    const NAMES: [(Self, &str); 4] = [
        (Self::Small, "small"),
        (Self::OneKib, "1k"),
        (Self::SixtyFourKib, "64k"),
        (Self::Stream, "stream"),
    ];

    /// Bytes of payload in each message.
    pub(crate) fn payload(self) -> usize {
        match self {
            Self::Small | Self::Stream => 0,
            Self::OneKib => 1 << 10,
            Self::SixtyFourKib => 64 << 10,
        }
    }
}

impl Cell {
    /// Every cell of a full run, pinned ones first.
    pub(crate) fn all() -> Vec<Self> {
        let shapes = ["1x1", "16x1", "256x1", "256x8"];
        let mut names = Vec::new();
        for suffix in ["", "@mt"] {
            for load in ["small", "1k", "64k"] {
                names.extend(shapes.map(|shape| format!("{load}/{shape}{suffix}")));
            }
            names.push(format!("stream/1x1{suffix}"));
        }
        names.iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// The cells in which the processor has least to wait for.
    pub(crate) fn busiest() -> Vec<Self> {
        ["small/256x1", "small/256x1@mt"].iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// The cells of a quick run: one for each kind of bottleneck.
    pub(crate) fn quick() -> Vec<Self> {
        let names =
            ["small/1x1", "small/16x1", "small/256x1", "small/256x1@mt", "1k/16x1", "stream/1x1"];
        names.iter().filter_map(|name| name.parse().ok()).collect()
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Load::NAMES.iter().find(|(load, _)| *load == self.load);
        let name = named.map_or("", |(_, name)| name);
        write!(to, "{name}/{}x{}", self.shape.in_flight, self.shape.connections)?;
        to.write_str(if self.threads == Threads::Mt { "@mt" } else { "" })
    }
}

impl FromStr for Cell {
    type Err = Fault;

    fn from_str(text: &str) -> Outcome<Self> {
        let parse = || {
            let (rest, threads) = match text.strip_suffix("@mt") {
                Some(rest) => (rest, Threads::Mt),
                None => (text.strip_suffix("@ct").unwrap_or(text), Threads::Ct),
            };
            let (load, shape) = rest.split_once('/')?;
            let (load, _) = *Load::NAMES.iter().find(|(_, name)| *name == load)?;
            let (in_flight, connections) = shape.split_once('x')?;
            let shape = Shape {
                in_flight: in_flight.parse().ok()?,
                connections: connections.parse().ok()?,
            };
            let possible = shape.connections >= 1
                && shape.in_flight >= shape.connections
                && shape.in_flight <= 4096
                && (load != Load::Stream || shape.in_flight == 1);
            possible.then_some(Self { load, shape, threads })
        };
        parse()
            .ok_or_else(|| format!("no such cell: {text} (like small/256x1 or 1k/16x1@mt)").into())
    }
}

#[cfg(test)]
mod tests {
    use super::Cell;

    #[test]
    fn names_survive_a_round_trip() {
        for cell in Cell::all().into_iter().chain(Cell::quick()) {
            assert_eq!(cell.to_string().parse::<Cell>().unwrap(), cell);
        }
    }

    #[test]
    fn a_full_run_has_every_cell() {
        assert_eq!(Cell::all().len(), 2 * (3 * 4 + 1));
        assert_eq!(Cell::quick().len(), 6);
    }

    #[test]
    fn impossible_cells_are_refused() {
        for name in ["small", "small/0x0", "small/1x8", "stream/16x1", "2k/1x1", "small/1x1@xx"] {
            assert!(name.parse::<Cell>().is_err(), "{name}");
        }
    }
}
