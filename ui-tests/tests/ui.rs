//! Compiles every case of `<macro>/{fail,pass}/`.
//!
//! What the compiler says changes between its versions, so the failing cases run on one version
//! and are reported as ignored on others; where nothing may be missing (`MICRO_REQUIRE_SERVERS=1`)
//! another version fails them, so that no change of the toolchain turns them off unseen.
//! `TRYBUILD=overwrite` refreshes what the compiler says.

use libtest_mimic::Arguments;
use libtest_mimic::Trial;
use std::env;
use std::process::Command;
use std::process::ExitCode;

/// The version whose words the `.stderr` files hold.
const PINNED: &str = "rustc 1.95.";

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Both halves build in one folder.
    arguments.test_threads = Some(1);
    let version = version();
    let pinned = version.starts_with(PINNED);
    let required = env::var_os("MICRO_REQUIRE_SERVERS").is_some_and(|value| value == "1");
    let trials = vec![
        Trial::test("sound_code_compiles_and_runs", || {
            trybuild::TestCases::new().pass("tests/*/pass/*.rs");
            Ok(())
        }),
        Trial::test("mistakes_are_explained", move || {
            if !pinned {
                let text = "refresh the words of the compiler and name its version here";
                return Err(format!("{PINNED} is wanted, this is {version}; {text}").into());
            }
            trybuild::TestCases::new().compile_fail("tests/*/fail/*.rs");
            Ok(())
        })
        .with_kind(PINNED)
        .with_ignored_flag(!pinned && !required),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn version() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
