//! Google's emulator of Pub/Sub; it takes a second or two to start and keeps nothing when it ends.

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

use super::{Place, Program, Server, trial, words};

/// Where Google's packages put everything.
const SDK: &str = "/usr/lib/google-cloud-sdk";

/// The emulator: an archive that `java` runs.
pub const PUBSUB: Program = Program {
    name: "the Pub/Sub emulator",
    variable: "MICRO_TEST_PUBSUB_JAR",
    // Its name has its version: see `archive`.
    places: &[],
    package: "google-cloud-cli-pubsub-emulator, which is Google's",
};

/// What runs it.
const JAVA: Program = Program {
    name: "Java",
    variable: "MICRO_TEST_JAVA_BIN",
    places: &["/usr/bin/java"],
    package: "default-jre-headless",
};

/// Returns where the emulator is, if it is there.
fn archive() -> Option<PathBuf> {
    PUBSUB.path().or_else(|| {
        let folder = Path::new(SDK).join("platform/pubsub-emulator/lib");
        let files = std::fs::read_dir(folder).ok()?.filter_map(|file| Some(file.ok()?.path()));
        let is_it = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("cloud-pubsub-emulator-") && name.ends_with(".jar")
        };
        files.filter(is_it).max()
    })
}

/// Makes a test that needs the emulator, as [`trial`] does. No package of Debian has it: where there
/// is nothing of Google's, it is not required either.
pub fn pubsub_trial<T: Future<Output = ()>>(
    name: &str,
    test: impl FnOnce() -> T + Send + 'static,
) -> Trial {
    if archive().is_some() {
        return trial(name, &JAVA, test);
    }
    if Path::new(SDK).exists() {
        return trial(name, &PUBSUB, test);
    }
    let missing = || Err(Failed::from("the Pub/Sub emulator is missing"));
    let why = "needs the Pub/Sub emulator, which Debian has not";
    Trial::test(name, missing).with_ignored_flag(true).with_kind(why)
}

/// Starts the emulator.
///
/// # Panics
/// When it does not start.
pub fn pubsub() -> Server {
    let archive = archive().unwrap_or_else(|| panic!("install {}", PUBSUB.package));
    Server::start(JAVA, move |place: &Place<'_>| {
        let port = format!("--port={}", place.port);
        let archive = archive.to_string_lossy();
        words(place, &["-Xmx512m", "-jar", &archive, "--host=127.0.0.1", &port])
    })
}
