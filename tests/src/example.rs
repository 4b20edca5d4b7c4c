//! The examples as programs, as `cargo run` would run them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tokio::process::Command as Start;

/// Builds an example with features of its own and returns its program, in the profile and folder
/// of the tests.
///
/// # Panics
/// When it does not build.
pub fn built(package: &str, features: &[&str]) -> PathBuf {
    // `target/debug/deps/test-...`: the program comes to lie beside `deps`.
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "-p", package, "--features", &features.join(",")]);
    cargo.arg("--target-dir").arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).status();
    assert!(built.unwrap().success(), "the example {package} does not build");
    let program = profile.join(package);
    let kept = profile.join(format!("{package}-for-tests"));
    // A later build of it without the features does not take it away.
    std::fs::copy(&program, &kept).unwrap();
    kept
}

/// Prepares a run that knows no setting of this process; it is killed when dropped, and with the
/// process of the test.
pub fn command(program: &PathBuf) -> Start {
    let setpriv = std::path::Path::new("/usr/bin/setpriv");
    let mut command = if setpriv.exists() {
        let mut command = Start::new(setpriv);
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
    } else {
        Start::new(program)
    };
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("MICRO_") {
            command.env_remove(variable);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}
