//! Redis, which writes everything to its disk before it answers.

use super::{Program, Server, words};

/// The server.
pub const REDIS: Program = Program {
    name: "redis-server",
    variable: "MICRO_TEST_REDIS_BIN",
    places: &["/usr/bin/redis-server", "redis-server", "valkey-server"],
    package: "redis-server",
};

/// Starts a server.
///
/// # Panics
/// When it is missing or does not start.
pub fn redis() -> Server {
    Server::start(REDIS, |place| {
        let (port, folder) = (place.port.to_string(), place.folder.to_string_lossy());
        let always = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
        let mut arguments = vec!["--bind", "127.0.0.1", "--port", &port, "--dir", &folder];
        arguments.extend(always);
        words(place, &arguments)
    })
}
