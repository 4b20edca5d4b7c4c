//! How long a message waits before it is delivered again.

use std::time::Duration;

/// First and longest pause: the ceiling doubles from one to the other.
pub(super) const RETRY_BASE: Duration = Duration::from_millis(100);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(30);

/// The longest pause that a handler may ask for.
pub(super) const RETRY_HINT_MAX: Duration = Duration::from_secs(300);
