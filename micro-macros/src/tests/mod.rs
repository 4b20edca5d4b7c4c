//! Tests of whole phases: diagnostics by message and source text, expansions by snapshot, time; the
//! cases that do not compile.

mod budget;
mod diagnostics;
mod expansion;
mod robustness;
mod ui_cases;
