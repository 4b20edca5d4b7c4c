//! Mosquitto, a server of MQTT.

use super::{Program, Server, words};

/// The server.
pub const MOSQUITTO: Program = Program {
    name: "mosquitto",
    variable: "MICRO_TEST_MOSQUITTO_BIN",
    places: &["/usr/sbin/mosquitto", "mosquitto"],
    package: "mosquitto",
};

/// The user `ada` with the password `s@cret`, as `mosquitto_passwd` writes it.
const USERS: &str = "ada:$7$101$bVVbAndBdlLAlSJn$nDDmpszXfwohI/1HMOKGTGzXlOL12G+Jl8fNaWShbBnK0o+9S8wVxWHnvmalLqk+2x9pnDvjxcBzFFxvyusDfQ==\n";

/// Starts a server that writes its sessions down every second, and when it is stopped: what came
/// since is lost when it is killed.
///
/// # Panics
/// When it is missing or does not start.
pub fn mosquitto() -> Server {
    mosquitto_with("allow_anonymous true")
}

/// Starts a server with further lines of configuration; its folder, which is where it runs, has the
/// `password_file` `users`.
///
/// # Panics
/// When it is missing or does not start.
pub fn mosquitto_with(lines: &'static str) -> Server {
    Server::start(MOSQUITTO, move |place| {
        let file = place.folder.join("mosquitto.conf");
        let (port, folder) = (place.port, place.folder.display());
        // Otherwise it becomes a user that may not write to the folder, and drops what exceeds a
        // thousand messages of a subscription.
        let text = format!(
            "listener {port} 127.0.0.1\nuser root\npersistence true\npersistence_location \
             {folder}/\nautosave_interval 1\nmax_queued_messages 0\nlog_dest stderr\n{lines}\n"
        );
        std::fs::write(&file, text).unwrap();
        std::fs::write(place.folder.join("users"), USERS).unwrap();
        words(place, &["-c", &file.to_string_lossy()])
    })
}
