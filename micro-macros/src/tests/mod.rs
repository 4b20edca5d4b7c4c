//! Tests of whole phases: diagnostics by message and source text, expansions by snapshot, time.

mod budget;
mod diagnostics;
mod expansion;
mod robustness;
