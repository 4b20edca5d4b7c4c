//! What all members tell, as one registry.

use std::collections::{BTreeMap, HashMap};

use chitchat::{ChitchatId, NodeState};
use serde::{Deserialize, Serialize};

use crate::core::limits::RegistryLimits;
use crate::registry::record::Record;
use crate::registry::table::Table;

/// Bytes of one record as JSON: half of what fits into a datagram, beside what it carries else.
pub(super) const RECORD_BYTES_MAX: usize = 32 * 1024;
/// What keys of nodes begin with; others are left for other uses.
const PREFIX: &str = "node:";

/// A node as members tell of it.
#[derive(Serialize, Deserialize)]
pub(super) struct Told {
    /// When it was first registered at its address, in milliseconds since 1970.
    pub(super) since: u64,
    pub(super) record: Record,
}

/// Returns under which key a member tells of a node.
pub(super) fn key(service: &str, node: &str) -> String {
    // The length tells where the name ends, whatever it holds.
    format!("{PREFIX}{}:{service}:{node}", service.len())
}

/// What the members told, parsed once.
pub(super) struct View {
    limits: RegistryLimits,
    /// By member and key, with the version of the value; `None` where it is no node.
    told: HashMap<(ChitchatId, String), (u64, Option<Told>)>,
}

impl View {
    pub(super) fn new(limits: RegistryLimits) -> Self {
        Self { limits, told: HashMap::new() }
    }

    /// Makes a table hold what the living members tell.
    pub(super) fn show(&mut self, live: &BTreeMap<ChitchatId, NodeState>, table: &Table) {
        let mut told = HashMap::new();
        for (id, state) in live {
            for (key, value) in state.iter_prefix(PREFIX) {
                let place = (id.clone(), key.to_owned());
                let known =
                    self.told.remove(&place).filter(|(version, _)| *version == value.version);
                let parsed = known.unwrap_or_else(|| (value.version, read(key, &value.value)));
                told.insert(place, parsed);
            }
        }
        self.told = told;
        // Of one node told of by two members the later registration counts.
        let mut nodes: BTreeMap<&str, BTreeMap<&str, (u64, &ChitchatId, &Record)>> =
            BTreeMap::new();
        for ((id, _), (_, told)) in &self.told {
            let Some(told) = told else { continue };
            let Some(node) = told.record.nodes.first() else { continue };
            let is_known = nodes.contains_key(told.record.name.as_str());
            if !is_known && nodes.len() >= self.limits.services_max {
                continue;
            }
            let service = nodes.entry(&told.record.name).or_default();
            let full = service.len() >= self.limits.nodes_per_service_max;
            if full && !service.contains_key(node.id.as_str()) {
                continue;
            }
            let seen = (told.since, id, &told.record);
            let best = service.entry(&node.id).or_insert(seen);
            if (best.0, best.1) < (seen.0, seen.1) {
                *best = seen;
            }
        }
        let records = nodes.into_values().flat_map(BTreeMap::into_values);
        table.replace(&records.map(|(_, _, record)| record.clone()).collect::<Vec<_>>());
    }
}

/// Reads a node that a member tells of; `None` unless it belongs to its key.
fn read(at: &str, text: &str) -> Option<Told> {
    if text.len() > RECORD_BYTES_MAX {
        return None;
    }
    let told: Told = serde_json::from_str(text).ok()?;
    let [node] = told.record.nodes.as_slice() else { return None };
    (key(&told.record.name, &node.id) == at).then_some(told)
}
