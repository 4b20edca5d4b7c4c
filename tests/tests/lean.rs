//! What the crate of a contract depends on.

use std::path::Path;
use std::process::Command;

/// Crates of servers.
const SERVERS: [&str; 6] = ["hyper", "hyper-util", "h2", "axum", "axum-core", "tower"];

/// The lines of a tree of dependencies, from what is at hand alone.
fn tree(edges: &str) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let arguments = ["tree", "--offline", "--locked", "-p", "contract-api", "--prefix", "none"];
    let output =
        Command::new(cargo).args(arguments).args(["-e", edges]).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_contract_brings_no_server_along() {
    let crates = tree("normal");
    assert!(crates.iter().any(|line| line.starts_with("micro v")), "{crates:?}");
    let server = |line: &&String| SERVERS.contains(&line.split(' ').next().unwrap_or_default());
    assert_eq!(crates.iter().find(server), None);
}

#[test]
fn a_contract_asks_for_the_half_of_a_client_only() {
    let features = tree("normal,features");
    let has = |name: &str| {
        features.iter().any(|line| line.starts_with(&format!("micro feature \"{name}\"")))
    };
    assert!(has("client"), "{features:?}");
    assert!(!has("server") && !has("default"), "{features:?}");
}
