//! What every component shares: errors, metadata, limits, time, tasks.

pub mod backoff;
pub mod budget;
pub mod clock;
pub mod error;
pub mod limits;
pub mod metadata;
pub mod secret;
pub mod shutdown;
pub mod status;
