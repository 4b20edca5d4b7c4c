//! NATS.

use std::ffi::OsString;

use super::{Place, Program, Server, words};

/// The program: 2.11 or later, since entries expire one by one only there.
pub const NATS: Program = Program {
    name: "NATS",
    variable: "MICRO_TEST_NATS_BIN",
    places: &["nats-server", "/usr/sbin/nats-server"],
    package: "nats-server",
};

/// Starts NATS with JetStream, which syncs each write before it acknowledges it.
///
/// # Panics
/// When the program is missing or does not start.
pub fn nats() -> Server {
    Server::start(NATS, recipe)
}

fn recipe(place: &Place<'_>) -> Vec<OsString> {
    let file = place.folder.join("nats.conf");
    let data = place.folder.join("data");
    let text = format!(
        "listen: \"127.0.0.1:{}\"\njetstream {{\n  store_dir: {:?}\n  sync_interval: always\n}}\n",
        place.port, data
    );
    std::fs::write(&file, text).unwrap();
    let file = file.to_string_lossy().into_owned();
    words(place, &["-c", &file])
}
