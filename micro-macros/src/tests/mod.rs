//! Tests of whole phases: diagnostics by message and source text, expansions by snapshot.

mod diagnostics;
mod expansion;
mod robustness;
