//! dnsmasq, a server of DNS.

use std::ffi::OsString;

use super::{Place, Program, Server, words};

/// The program.
pub const DNSMASQ: Program = Program {
    name: "dnsmasq",
    variable: "MICRO_TEST_DNSMASQ_BIN",
    places: &["dnsmasq", "/usr/sbin/dnsmasq"],
    package: "dnsmasq-base",
};

/// The file in the server's folder with its records, in the words of dnsmasq; read at each start.
pub const RECORDS: &str = "records.conf";

/// Starts dnsmasq, which asks nobody else and knows what [`RECORDS`] says: nothing at first.
///
/// # Panics
/// When the program is missing or does not start.
pub fn dnsmasq() -> Server {
    Server::start(DNSMASQ, recipe)
}

fn recipe(place: &Place<'_>) -> Vec<OsString> {
    let records = place.folder.join(RECORDS);
    if !records.exists() {
        std::fs::write(&records, "").unwrap();
    }
    let port = format!("--port={}", place.port);
    let records = format!("--conf-file={}", records.display());
    let fixed = [
        "--keep-in-foreground",
        "--user=root",
        "--pid-file=",
        "--no-resolv",
        "--no-hosts",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--local=/services.example/",
    ];
    let mut all = fixed.to_vec();
    all.extend([port.as_str(), records.as_str()]);
    words(place, &all)
}
