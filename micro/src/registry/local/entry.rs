//! One node in one file: its name and its content.

use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::registry::check::RECORD_BYTES_MAX;
use crate::registry::local::owner::Machine;
use crate::registry::local::owner::Owner;
use crate::registry::record::Node;
use crate::registry::record::Record;

/// Stands between the name of the service and that of the node; escaped within both.
const SEPARATOR: char = '~';

/// Bytes of an escaped name; a longer one is cut and told apart by a hash. Two of them and an
/// ending fit into the 255 bytes that file systems allow.
const PART_BYTES_MAX: usize = 100;

/// The content of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Holds exactly one node.
    pub(super) record: Record,
    pub(super) lease: Lease,
}

/// Until when an entry counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) owner: Option<Owner>,
    boot: String,
    expires_millis: u64,
}

impl Lease {
    pub(super) fn new(machine: &Machine, ttl: std::time::Duration) -> Self {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self {
            owner: machine.owner.clone(),
            boot: machine.boot.clone(),
            expires_millis: machine.now_millis().saturating_add(ttl),
        }
    }

    /// Returns whether the lease has ended or its owner has.
    pub(super) fn is_over(&self, machine: &Machine) -> bool {
        self.expires_millis <= machine.now_millis() || self.is_dead(machine)
    }

    /// Returns how long the lease holds on; zero if it has ended.
    pub(super) fn remaining(&self, machine: &Machine) -> std::time::Duration {
        std::time::Duration::from_millis(self.expires_millis.saturating_sub(machine.now_millis()))
    }

    /// Returns whether the owner has certainly ended, whatever the time.
    pub(super) fn is_dead(&self, machine: &Machine) -> bool {
        self.boot != machine.boot || self.owner.as_ref().is_some_and(|owner| machine.is_gone(owner))
    }
}

impl Entry {
    /// Reads a file; one that does not hold an entry is `InvalidData`.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let invalid = |why: String| io::Error::new(ErrorKind::InvalidData, why);
        let bytes_max = u64::try_from(RECORD_BYTES_MAX).unwrap_or(u64::MAX).saturating_mul(2);
        let mut bytes = Vec::new();
        let read = File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
        if u64::try_from(read).unwrap_or(u64::MAX) >= bytes_max {
            return Err(invalid(format!("longer than {bytes_max} bytes")));
        }
        let entry: Self =
            serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        match entry.record.nodes.len() {
            1 => Ok(entry),
            nodes => Err(invalid(format!("holds {nodes} nodes, not one"))),
        }
    }

    /// Returns the node of the entry.
    pub(super) fn node(&self) -> Option<&Node> {
        self.record.nodes.first()
    }
}

/// Returns the name of the file for a node, the same for all processes.
pub(super) fn file_name(service: &str, node: &str) -> String {
    format!("{}{SEPARATOR}{}", escape(service), escape(node))
}

/// Returns what the names of the files of a service start with.
pub(super) fn file_prefix(service: &str) -> String {
    format!("{}{SEPARATOR}", escape(service))
}

/// Makes a name safe for any file system: also for those without upper case.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        let plain = byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if plain || (byte == b'.' && !escaped.is_empty()) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02x}"));
        }
    }
    if escaped.len() > PART_BYTES_MAX {
        // Escaped text is ASCII, so any byte is a boundary.
        escaped.truncate(PART_BYTES_MAX.saturating_sub(17));
        escaped.push_str(&format!("+{:016x}", fnv1a(name)));
    }
    escaped
}

/// FNV-1a: stable between versions and machines, as file names must be.
fn fnv1a(text: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_become_plain_file_names() {
        assert_eq!(file_name("greeter", "greeter-1.a"), "greeter~greeter-1.a");
        assert_eq!(file_name("../A b", ".x~y"), "%2e.%2f%41%20b~%2ex%7ey");
        assert!(file_name("\u{e9}".repeat(127).as_str(), &"x".repeat(255)).len() <= 201);
    }

    proptest! {
        #[test]
        fn different_nodes_never_share_a_file(
            a in "\\PC{1,60}", b in "\\PC{1,60}", c in "\\PC{1,60}", d in "\\PC{1,60}",
        ) {
            let (one, two) = (file_name(&a, &b), file_name(&c, &d));
            prop_assert_eq!(one == two, (a, b) == (c, d));
            prop_assert!(one.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
            prop_assert!(!one.starts_with('.') && one.len() <= 205);
        }
    }

    #[test]
    fn what_is_not_an_entry_is_invalid_data() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        let none = r#"{"record":{"name":"a"},"lease":{"owner":null,"boot":"","expires_millis":1}}"#;
        for content in ["", "{", "[]", "null", &"[".repeat(100_000), none] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(Entry::read(&path).unwrap_err().kind(), ErrorKind::InvalidData);
        }
        std::fs::write(&path, vec![b' '; RECORD_BYTES_MAX * 2 + 1]).unwrap();
        assert_eq!(Entry::read(&path).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
