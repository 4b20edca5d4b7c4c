//! The command `micro` against processes that serve.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod calls;
mod examples;
mod inside;
mod kept;
mod made;
mod served;
mod trusted;
mod usage;
mod world;

/// Serves, in a process that another test starts; does nothing where no test asks for it.
#[test]
fn serves_for_the_other_tests() {
    served::serve_if_asked();
}
