//! Which test holds which fault, limit and rule: every hostile peer, every bound that the crate names
//! and every rule for its components is held by tests, and the tests that are named here exist.

mod port;
mod rules;

use std::fs;
use std::path::Path;

use self::port::HELD;
use self::rules::RULES;

/// A fault or a limit, and the files and tests that hold it.
type Held = (&'static str, &'static [(&'static str, &'static [&'static str])]);

/// Fails unless every test that a table names is in the file that it names.
fn assert_there(table: &[Held]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (what, files) in table {
        for (file, tests) in *files {
            let base =
                if file.starts_with("tests/") { root.to_owned() } else { root.join("micro/src") };
            let text = fs::read_to_string(base.join(file)).unwrap();
            for test in *tests {
                // A test of its own, or a case of a table.
                let named = [format!("fn {test}("), format!("    {test}:")];
                assert!(named.iter().any(|name| text.contains(name)), "{what}: {file} {test}");
            }
        }
    }
}

#[test]
fn every_fault_of_the_port_and_every_limit_is_held_by_tests_that_exist() {
    let ids = (40..54).map(|n| format!("F{n} ")).chain((1..31).map(|n| format!("L{n} ")));
    for id in ids {
        assert!(HELD.iter().any(|held| held.0.starts_with(&id)), "nothing holds {id}");
    }
    assert_there(HELD);
}

#[test]
fn every_rule_is_held_by_a_test_of_its_name() {
    let rules = [("R", 18), ("K", 14), ("St", 7), ("Cf", 5)];
    let ids = rules.into_iter().flat_map(|(kind, last)| (1..=last).map(move |n| (kind, n)));
    for (kind, n) in ids {
        let (id, own) = (format!("{kind}{n} "), format!("{}{n}_", kind.to_ascii_lowercase()));
        let rule = RULES.iter().find(|rule| rule.0.starts_with(&id));
        let Some((what, files)) = rule else { panic!("nothing holds {id}") };
        let mut tests = files.iter().flat_map(|(_, tests)| tests.iter());
        assert!(tests.any(|test| test.starts_with(&own)), "{what}");
    }
    assert_there(RULES);
}

/// The constant that says how old what a registry tells may be, in milliseconds.
fn propagation(file: &str, name: &str) -> u64 {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("micro/src/registry").join(file)).unwrap();
    let value = text.split(&format!("const {name}: Duration = Duration::from_")).nth(1);
    let value = value.unwrap_or_else(|| panic!("{file} has no {name}")).split(')').next().unwrap();
    let (unit, number) = value.split_once('(').unwrap();
    let number: u64 = number.parse().unwrap();
    if unit == "secs" { number * 1000 } else { number }
}

#[test]
fn r9_the_readme_says_how_old_what_a_registry_tells_may_be() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for (name, file, constant) in [
        ("consul", "consul/mod.rs", "PROPAGATION"),
        ("dns", "dns.rs", "REFRESH_MAX"),
        ("etcd", "etcd/mod.rs", "PROPAGATION"),
        ("file", "file.rs", "PROPAGATION"),
        ("gossip", "gossip/mod.rs", "PROPAGATION"),
        ("kubernetes", "kubernetes/mod.rs", "PROPAGATION"),
        ("mdns", "mdns/mod.rs", "PROPAGATION"),
        ("nats", "nats/mod.rs", "PROPAGATION"),
        ("nats-broadcast", "nats_broadcast/mod.rs", "PROPAGATION"),
        ("redis", "redis/mod.rs", "PROPAGATION"),
        ("zookeeper", "zookeeper/mod.rs", "PROPAGATION"),
    ] {
        let millis = propagation(file, constant);
        let age = if millis.is_multiple_of(1000) {
            format!("`{name}` {} s", millis / 1000)
        } else {
            format!("`{name}` {millis} ms")
        };
        assert!(readme.contains(&age), "the README does not say {age}");
    }
}
