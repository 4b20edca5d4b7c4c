//! Projects that the command makes: they build, run and pass their test.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::world::{World, program, serving};

/// Runs Cargo in a project without a network, with what the tests were built with.
fn cargo(project: &Path, args: &[&str]) -> Command {
    let mut command = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    command.current_dir(project).args(args).arg("--offline");
    command.env("CARGO_TARGET_DIR", target);
    // As in the workspace, so that what is built there need not be built again.
    if std::env::var_os("CARGO_PROFILE_DEV_DEBUG").is_none() {
        command.env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    }
    command
}

#[test]
fn a_project_builds_passes_its_test_and_is_called() {
    let world = World::empty();
    let said = world.micro(&["new", "shop-orders", "--table"]).done();
    assert!(said.contains("cargo run"), "{said}");
    let project = world.path("shop-orders");
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("path = \"{}\"", crate_dir.display())), "{manifest}");
    fs::copy(crate_dir.join("../Cargo.lock"), project.join("Cargo.lock")).unwrap();

    let tested = cargo(&project, &["test", "--quiet"]).output().unwrap();
    let said = String::from_utf8_lossy(&tested.stdout).into_owned()
        + &String::from_utf8_lossy(&tested.stderr);
    assert!(tested.status.success() && said.contains("1 passed"), "{said}");
    assert!(!said.contains("warning"), "{said}");

    let mut run = cargo(&project, &["run", "--quiet"]);
    let _running = serving({
        run.env("MICRO_REGISTRY", world.registry());
        run
    });
    let answer =
        world.micro(&["call", "shop-orders", "ShopOrders.Hello", r#"{"name": "Ada"}"#]).json();
    assert_eq!(answer["message"], "Hello Ada");
}

#[test]
fn what_is_there_is_never_written_over() {
    let world = World::empty();
    world.micro(&["new", "shop"]).done();
    let text = world.micro(&["new", "shop"]).failed(2);
    assert!(text.contains("not empty") && text.contains("--path"), "{text}");
    let text = world.micro(&["new", "Shop"]).failed(2);
    assert!(text.contains("such as `shop`"), "{text}");
}
