//! What processes show of themselves: health, numbers, log, traces, panics.

use std::io::{BufRead, BufReader};

use serde_json::Value;

use crate::world::{Process, World};

const ORDER: &str = r#"{"item": "tea", "count": 3}"#;

/// Buys, and returns the id of the trace.
fn buy(world: &World) -> String {
    let said = world.micro(&["call", "shop", "Shop.Buy", ORDER, "--trace"]);
    let trace = said.err.strip_prefix("trace: ").unwrap_or_default().trim().to_owned();
    assert_eq!(trace.len(), 32, "{said:?}");
    said.done();
    trace
}

/// Reads lines of JSON until each of some has been seen.
pub(crate) fn until_seen(
    lines: impl Iterator<Item = std::io::Result<String>>,
    wanted: &[[&str; 2]],
    trace: &str,
) {
    let mut missing = wanted.to_vec();
    for line in lines {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        missing.retain(|[service, message]| {
            line["trace"] != trace || line["services"][0] != *service || line["message"] != *message
        });
        if missing.is_empty() {
            return;
        }
    }
    panic!("the log ended without {missing:?}");
}

#[test]
fn one_call_across_two_processes_is_one_trace_in_log_spans_and_stats() {
    let world = World::served();
    let mut following = Process(world.command(&["logs", "-f", "--level", "info"]).spawn().unwrap());
    let lines = BufReader::new(following.0.stdout.take().unwrap()).lines();
    let trace = buy(&world);
    until_seen(lines, &[["numbers", "sold"], ["stock", "taken"]], &trace);

    let tree = world.micro(&["trace", &trace, "--table"]).done();
    let spans: Vec<_> = tree.lines().skip(1).collect();
    let depth = |line: &&str| line.len() - line.trim_start().len();
    assert_eq!(spans.iter().map(depth).collect::<Vec<_>>(), [0, 2, 4], "{tree}");
    let spans = world.micro(&["trace", &trace]).json();
    let spans = spans.as_array().unwrap();
    assert!(spans.iter().all(|span| span["trace"] == trace.as_str()), "{spans:?}");
    let served: Vec<_> = spans.iter().filter(|span| span["type"] == "server").collect();
    assert_eq!(served.len(), 2, "{spans:?}");
    assert_ne!(served[0]["address"], served[1]["address"]);
    let latest = world.micro(&["trace"]).json();
    assert!(latest.as_array().unwrap().iter().any(|found| found["id"] == trace.as_str()));

    let stats = world.micro(&["stats", "--table"]).done();
    for name in ["Shop.Buy", "Stock.Take"] {
        let row = stats.lines().find(|line| line.contains(name)).unwrap_or_default();
        let cells: Vec<_> = row.split_whitespace().skip(3).take(2).collect();
        assert_eq!(cells, ["1", "0"], "{stats}");
    }
    let stats = world.micro(&["stats", "stock"]).json();
    assert_eq!(stats[0]["answer"]["endpoints"][0]["outcomes"]["ok"], 1);
}

#[test]
fn a_trace_that_nobody_kept_fails_and_one_that_is_none_is_a_mistake() {
    let world = World::served();
    let text = world.micro(&["trace", &"a".repeat(32)]).failed(1);
    assert!(text.contains("no process has kept"), "{text}");
    world.micro(&["trace", "xyz"]).failed(2);
}

#[test]
fn logs_of_all_processes_are_shown_in_the_order_of_their_time() {
    let world = World::served();
    let trace = buy(&world);
    let text = world.micro(&["logs", "--trace", &trace, "--table"]).done();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("warn") && lines[0].contains("taken count=3"), "{text}");
    assert!(lines[1].contains("info") && lines[1].contains("sold item=tea"), "{text}");
    let text = world.micro(&["logs", "shop", "--level", "error"]).done();
    assert_eq!(text, "");
}

#[test]
fn health_fails_unless_all_are_well() {
    let world = World::served();
    let table = world.micro(&["health", "--table"]).done();
    assert_eq!(
        table.lines().filter(|line| line.contains(" ok ") || line.ends_with("ok  -")).count(),
        2,
        "{table}"
    );
    let health = world.micro(&["health", "stock"]).json();
    assert_eq!(health[0]["answer"]["status"], "ok");
    world.micro(&["health", "stokc"]).failed(1);

    // A registry that names a node which is gone.
    let nodes = world.path("nodes.json");
    let record =
        r#"[{"name":"gone","version":"1","nodes":[{"id":"gone-1","address":"127.0.0.1:1"}]}]"#;
    std::fs::write(&nodes, record).unwrap();
    let registry = format!("file://{}", nodes.display());
    let said = world.micro(&["health", "gone", "--registry", &registry, "--table"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("no answer"), "{said:?}");
}

#[test]
fn a_dump_shows_tasks_and_panics() {
    let world = World::served();
    let text = world.micro(&["call", "shop", "Shop.BreakDown"]).failed(1);
    assert!(text.contains("(500,"), "{text}");
    let text = world.micro(&["dump", "shop", "--table"]).done();
    assert!(text.contains("panics: 1") && text.contains("Shop.BreakDown"), "{text}");
    let dump = world.micro(&["dump"]).json();
    assert_eq!(dump.as_array().unwrap().len(), 2);
}

#[test]
fn a_profile_is_made_or_says_what_it_takes() {
    let world = World::served();
    let said = world.micro(&["profile", "stock", "--seconds", "1"]);
    if cfg!(all(unix, feature = "profile")) {
        assert!(said.json()[0]["answer"]["took_ms"].as_u64() >= Some(900));
    } else {
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("`profile`"), "{said:?}");
    }
}
