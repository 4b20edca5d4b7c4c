//! What every component shares: errors, metadata, limits, time, tasks.

pub mod clock;
pub mod error;
pub mod limits;
pub mod metadata;
pub mod status;
