//! Where warnings of the library go: standard error.

use std::io;

/// Shows warnings and errors on standard error.
pub(crate) fn install() {
    let shown = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(io::stderr)
        .with_target(false)
        .without_time()
        .with_ansi(false)
        .finish();
    // Nothing else in this process installs one.
    let _installed = tracing::subscriber::set_global_default(shown);
}
