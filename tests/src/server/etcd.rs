//! etcd, one member.

use super::{Place, Program, Server, free_port, words};

/// The server of etcd.
pub const ETCD: Program = Program {
    name: "etcd",
    variable: "MICRO_TEST_ETCD_BIN",
    places: &["/usr/bin/etcd", "etcd"],
    package: "etcd-server",
};

/// Starts etcd; what it acknowledges is on disk. Its data are in the folder `data`.
///
/// # Panics
/// When it does not start.
pub fn etcd() -> Server {
    // Members speak to each other on a port of their own, also where there is only one.
    let peers = free_port();
    Server::start(ETCD, move |place: &Place<'_>| {
        let clients = format!("http://127.0.0.1:{}", place.port);
        let peers = format!("http://127.0.0.1:{peers}");
        let members = format!("one={peers}");
        let data = place.folder.join("data");
        let data = data.to_string_lossy();
        words(
            place,
            &[
                "--name=one",
                "--data-dir",
                &data,
                "--listen-client-urls",
                &clients,
                "--advertise-client-urls",
                &clients,
                "--listen-peer-urls",
                &peers,
                "--initial-advertise-peer-urls",
                &peers,
                "--initial-cluster",
                &members,
                "--logger=zap",
                "--log-level=warn",
            ],
        )
    })
}
