//! What the command says of itself, how it ends, and that it answers wrong names.

use std::io::Read;

use crate::world::World;

#[test]
fn what_runs_is_listed_for_people_and_for_programs() {
    let world = World::served();
    let table = world.micro(&["services", "--table"]).done();
    let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "VERSION", "NODES", "ENDPOINTS"]);
    assert_eq!(rows[2], ["shop", "1.2.3", "1", "3"]);
    let names: Vec<_> = rows.iter().skip(1).map(|row| row[0]).collect();
    assert_eq!(names, ["numbers", "shop", "stock"]);

    // Without a word about it, who reads a pipe is a program.
    let list = world.micro(&["services"]).json();
    assert_eq!(list[1]["name"], "shop");
    assert_eq!(list[1]["versions"][0], "1.2.3");
    assert_eq!(list[0]["endpoints"], 3);
}

#[test]
fn a_service_is_described_with_its_nodes_and_shapes() {
    let world = World::served();
    let text = world.micro(&["describe", "shop", "--table"]).done();
    for part in [
        "shop 1.2.3",
        "NODE",
        "Shop.Buy",
        "Order",
        "Receipt",
        "Sells from the stock.",
        "{\"item\": \"tea\", \"count\": 2}",
        "SUBSCRIBER",
        "orders.paid",
        "127.0.0.1:",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let text = world.micro(&["describe", "numbers", "--table"]).done();
    assert!(text.contains("stream of"), "{text}");

    let records = world.micro(&["describe", "shop", "--json"]).json();
    assert_eq!(records[0]["name"], "shop");
    assert_eq!(records[0]["nodes"].as_array().unwrap().len(), 1);
}

#[test]
fn wrong_names_are_answered_by_what_there_is() {
    let world = World::served();
    let failed = |args: &[&str], code| world.micro(args).failed(code);
    let text = failed(&["describe", "shpo"], 1);
    assert_eq!(
        text,
        "error: no service `shpo`; did you mean `shop`? (there are numbers, shop, stock) \
         (404, micro.cli)\n"
    );
    let text = failed(&["call", "shop", "Shop.Bye"], 1);
    assert!(text.contains("did you mean `Shop.Buy`?") && text.contains("Shop.BreakDown"), "{text}");
    assert!(!text.contains("OnPaid"), "a subscription is not called: {text}");
    let text = failed(&["servces"], 2);
    assert!(text.contains("'services'"), "{text}");
    let text = failed(&["services", "--registri", "memory"], 2);
    assert!(text.contains("'--registry'"), "{text}");
    let text = failed(&["services", "--registry", "loacl"], 1);
    assert!(text.contains("did you mean `local`?"), "{text}");
}

#[test]
fn an_empty_registry_is_no_failure() {
    let world = World::empty();
    assert_eq!(world.micro(&["services", "--json"]).json(), serde_json::json!([]));
    let text = world.micro(&["describe", "shop"]).failed(1);
    assert!(text.contains("no service `shop` (there is none in `local`)"), "{text}");
}

#[test]
fn exit_codes_tell_a_failure_from_a_mistake() {
    let world = World::empty();
    assert!(
        world.micro(&["--help"]).done().contains("Exit codes: 0 done, 1 failed, 2 used wrongly")
    );
    assert!(world.micro(&["--version"]).done().starts_with("micro "));
    assert_eq!(world.micro(&[]).code, Some(2));
    world.micro(&["call", "shop"]).failed(2);
    world.micro(&["services", "--json", "--table"]).failed(2);
    world.micro(&["services", "--config", "absent.json"]).failed(1);
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let world = World::empty();
    let mut child = world.command(&["completions", "bash"]).spawn().unwrap();
    // The script is longer than a pipe holds, so that there is always something left to write.
    let mut some = [0];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut some).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn every_shell_gets_its_completions() {
    let world = World::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = world.micro(&["completions", shell]).done();
        assert!(script.contains("subscribe") && script.contains("registry"), "{shell}");
    }
    world.micro(&["completions", "csh"]).failed(2);
}

#[test]
fn settings_are_shown_with_their_places_and_without_secrets() {
    let world = World::empty();
    let file = world.path("app.json");
    std::fs::write(&file, r#"{"smtp": {"port": 25, "password": "hunter2"}}"#).unwrap();
    let file = file.display().to_string();
    let mut args = vec!["config", "dump", "--config", &file, "--set", "smtp.host=localhost"];
    args.extend(["--broker", "nats://u:hunter2@h"]);
    let text = world.micro(&[&args[..], &["--table"]].concat()).done();
    assert!(!text.contains("hunter2"), "{text}");
    let row = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    assert!(row("smtp.host").contains("--set smtp.host"), "{text}");
    assert!(row("smtp.port").contains("app.json:1"), "{text}");
    assert!(row("smtp.password").contains("***"), "{text}");
    assert!(row("micro.registry ").contains("MICRO_REGISTRY"), "{text}");
    assert!(row("micro.broker ").contains("nats://u:***@h"), "{text}");

    let list = world.micro(&args).json();
    assert!(!list.to_string().contains("hunter2"), "{list}");
    let port = list.as_array().unwrap().iter().find(|line| line["key"] == "smtp.port").unwrap();
    assert_eq!(port["value"], 25);
}
