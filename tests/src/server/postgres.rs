//! PostgreSQL.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use super::{Place, Program, Server};

/// The server; its `initdb` is beside it.
pub const POSTGRES: Program = Program {
    name: "postgres",
    variable: "MICRO_TEST_POSTGRES_BIN",
    places: &[
        "/usr/lib/postgresql/15/bin/postgres",
        "/usr/lib/postgresql/16/bin/postgres",
        "/usr/lib/postgresql/17/bin/postgres",
        "postgres",
    ],
    package: "postgresql-15",
};

/// Who may connect: `ada` with a password, everybody else without.
const HBA: &str = "host all ada 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";

/// Starts a PostgreSQL that keeps what it has acknowledged, whatever happens to it.
///
/// # Panics
/// When it does not start.
pub fn postgres() -> Server {
    Server::start(POSTGRES, |place| {
        let data = place.folder.join("data");
        if !data.exists() {
            make(place, &data);
        }
        // Of a server that was killed; one that was killed early leaves an empty one behind, which
        // the next would not take for old.
        let _absent = std::fs::remove_file(data.join("postmaster.pid")).is_err();
        let port = place.port.to_string();
        let mut words = as_postgres();
        words.push(place.program.into());
        words.extend(["-D".into(), data.into_os_string()]);
        let settings = [
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=on",
            "-c",
            "synchronous_commit=on",
            "-c",
            "max_connections=200",
            "-c",
            "shared_buffers=32MB",
        ];
        words.extend(settings.map(OsString::from));
        words
    })
}

/// Makes the files of a server that has the user `postgres`.
fn make(place: &Place<'_>, data: &Path) {
    if is_root() {
        run(&["chown".into(), "postgres".into(), place.folder.into()]);
    }
    let mut words = as_postgres();
    words.push(place.program.with_file_name("initdb").into());
    let options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"];
    words.extend(options.map(OsString::from));
    words.push(data.into());
    run(&words);
    std::fs::write(data.join("pg_hba.conf"), HBA).unwrap();
}

/// The server refuses to run as root.
fn as_postgres() -> Vec<OsString> {
    if !is_root() {
        return Vec::new();
    }
    let words = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
    let mut words = words.map(OsString::from).to_vec();
    words.extend(["--pdeathsig", "KILL"].map(OsString::from));
    words
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

fn run(words: &[OsString]) {
    let (program, arguments) = words.split_first().unwrap();
    let output = Command::new(program).args(arguments).current_dir("/").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", program.display());
}
