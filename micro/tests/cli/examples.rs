//! An example as processes of its own, and the command beside them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::inside::until_seen;
use crate::world::{Process, World, program, serving};

/// Builds an example in the profile and the folder of the tests, and returns its program.
fn built(package: &str) -> PathBuf {
    // `target/debug/deps/cli-..`: the program comes to lie beside `deps`.
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "-p", package, "--target-dir"]);
    cargo.arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).status();
    assert!(built.unwrap().success(), "the example {package} does not build");
    profile.join(package)
}

#[test]
fn one_call_crosses_two_processes_of_the_shop_under_one_trace() {
    let (shop, world) = (built("shop"), World::empty());
    let _processes = ["stock", "orders"].map(|part| {
        let mut command = program(&shop);
        command.arg(part).env("MICRO_REGISTRY", world.registry());
        serving(command)
    });
    let mut following = Process(world.command(&["logs", "-f", "--level", "info"]).spawn().unwrap());
    let lines = BufReader::new(following.0.stdout.take().unwrap()).lines();
    let order = r#"{"item": "tea", "count": 2}"#;
    let said = world.micro(&["call", "orders", "Orders.Place", order, "--trace"]);
    let trace = said.err.strip_prefix("trace: ").unwrap_or_default().trim().to_owned();
    assert_eq!(trace.len(), 32, "{said:?}");
    assert_eq!(said.done().trim(), "1");
    until_seen(lines, &[["orders", "placed"], ["stock", "taken"]], &trace);

    let spans = world.micro(&["trace", &trace]).json();
    let spans = spans.as_array().unwrap();
    assert!(spans.iter().all(|span| span["trace"] == trace.as_str()), "{spans:?}");
    let served: Vec<_> = spans.iter().filter(|span| span["type"] == "server").collect();
    assert_eq!(served.len(), 2, "{spans:?}");
    assert_ne!(served[0]["address"], served[1]["address"]);

    let stats = world.micro(&["stats", "--table"]).done();
    for name in ["Orders.Place", "Stock.Take"] {
        let row = stats.lines().find(|line| line.contains(name)).unwrap_or_default();
        let cells: Vec<_> = row.split_whitespace().skip(3).take(2).collect();
        assert_eq!(cells, ["1", "0"], "{stats}");
    }
}
