//! A test that needs the program of a server.

use std::future::Future;

use libtest_mimic::{Failed, Trial};

use super::Program;

/// Makes a test that needs a program, run on two threads of a runtime of its own.
///
/// A panic fails it.
pub fn trial<T: Future<Output = ()>>(
    name: &str,
    needs: &Program,
    test: impl FnOnce() -> T + Send + 'static,
) -> Trial {
    let there = needs.path().is_some();
    let required = std::env::var_os("MICRO_REQUIRE_SERVERS").is_some_and(|value| value == "1");
    let (missing, package) = (needs.name, needs.package);
    let examine = move || -> Result<(), Failed> {
        if !there {
            return Err(format!("{missing} is missing: install {package}").into());
        }
        run(test)
    };
    let trial = Trial::test(name, examine).with_ignored_flag(!there && !required);
    if there { trial } else { trial.with_kind(format!("needs {package}")) }
}

/// Makes a test that needs no program, run as those that do.
///
/// A panic fails it.
pub fn trial_alone<T: Future<Output = ()>>(
    name: &str,
    test: impl FnOnce() -> T + Send + 'static,
) -> Trial {
    Trial::test(name, move || run(test))
}

fn run<T: Future<Output = ()>>(test: impl FnOnce() -> T) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(test());
    Ok(())
}
