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
    trial_on(name, &[needs], test)
}

/// Makes a test that needs several programs; it is ignored where one of them is missing.
///
/// A panic fails it.
pub fn trial_on<T: Future<Output = ()>>(
    name: &str,
    needs: &[&Program],
    test: impl FnOnce() -> T + Send + 'static,
) -> Trial {
    let missing: Vec<_> = needs.iter().filter(|program| program.path().is_none()).collect();
    let required = std::env::var_os("MICRO_REQUIRE_SERVERS").is_some_and(|value| value == "1");
    let listed = |fact: fn(&Program) -> &'static str| {
        missing.iter().map(|program| fact(program)).collect::<Vec<_>>().join(", ")
    };
    let (names, packages) = (listed(|program| program.name), listed(|program| program.package));
    if missing.is_empty() {
        return Trial::test(name, move || run(test));
    }
    let kind = format!("needs {packages}");
    let examine = move || -> Result<(), Failed> {
        Err(format!("{names} is missing: install {packages}").into())
    };
    Trial::test(name, examine).with_ignored_flag(!required).with_kind(kind)
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
