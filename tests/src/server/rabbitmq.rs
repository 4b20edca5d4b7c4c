//! RabbitMQ, on loopback alone; it takes about seven seconds to start.

use std::ffi::OsString;

use super::{Program, Server, free_port, words};

/// Where RabbitMQ is.
pub const RABBITMQ: Program = Program {
    name: "RabbitMQ",
    variable: "MICRO_TEST_RABBITMQ_BIN",
    // Not the script on `PATH`: it insists on a user of its own.
    places: &["/usr/lib/rabbitmq/bin/rabbitmq-server"],
    package: "rabbitmq-server",
};

/// What tells the nodes of a host from each other.
const EPMD: Program = Program {
    name: "epmd",
    variable: "MICRO_TEST_EPMD_BIN",
    places: &["epmd"],
    package: "erlang-base",
};

/// What the server is told: little room on the disk is enough.
const SETTINGS: &str = "disk_free_limit.absolute = 1MB\nlog.console.level = warning\n";

/// Starts RabbitMQ with a port mapper of its own, which ends with it. The user is `guest`, the
/// virtual host `/`.
pub fn rabbitmq() -> Server {
    let mapper = Server::start(EPMD, |place| {
        words(place, &["-port", &place.port.to_string(), "-address", "127.0.0.1"])
    });
    let nodes = free_port();
    Server::start(RABBITMQ, move |place| {
        let file = |name: &str| place.folder.join(name).display().to_string();
        let settings = format!("listeners.tcp.1 = 127.0.0.1:{}\n{SETTINGS}", place.port);
        std::fs::write(file("rabbitmq.conf"), settings).unwrap();
        std::fs::write(file("enabled_plugins"), "[].\n").unwrap();
        let loopback = "-noinput -kernel inet_dist_use_interface {127,0,0,1}";
        let variables = [
            ("HOME", place.folder.display().to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("ERL_EPMD_PORT", mapper.port().to_string()),
            // The script becomes the server: a signal to it is one to the server.
            ("RABBITMQ_ALLOW_INPUT", "1".to_owned()),
            ("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf")),
            ("RABBITMQ_DIST_PORT", nodes.to_string()),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins")),
            ("RABBITMQ_LOGS", "-".to_owned()),
            ("RABBITMQ_LOG_BASE", file("log")),
            ("RABBITMQ_MNESIA_BASE", file("mnesia")),
            ("RABBITMQ_NODENAME", "micro@localhost".to_owned()),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", loopback.to_owned()),
        ];
        let variables = variables.map(|(name, value)| OsString::from(format!("{name}={value}")));
        let program = place.program.as_os_str().to_owned();
        [OsString::from("/usr/bin/env")].into_iter().chain(variables).chain([program]).collect()
    })
}
