//! The processes that a server has started, and those that they have.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the ids of all processes that descend from one, itself first; itself alone where `/proc`
/// does not tell.
pub(super) fn family(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some((id, parent)) = id.and_then(|id| Some((id, stat(id)?.1))) else { continue };
        children.entry(parent).or_default().push(id);
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        let more = children.remove(parent).unwrap_or_default();
        found.extend(more);
        next += 1;
    }
    found
}

/// Waits until processes are gone, or dead and not yet buried.
#[allow(
    clippy::disallowed_methods,
    reason = "who kills a server waits for it, on no runtime's time"
)]
pub(super) fn wait_for_end(ids: &[u32]) {
    let began = Instant::now();
    for id in ids {
        while stat(*id).is_some_and(|(state, _)| state != 'Z') {
            assert!(began.elapsed() < PATIENCE, "process {id} does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Returns the state of a process and the id of its parent.
fn stat(id: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before may hold anything, spaces and brackets too.
    let mut words = text.rsplit_once(')')?.1.split_whitespace();
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}
