//! Watches: questions that Consul answers when something has changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::Result;
use crate::registry::consul::Reader;
use crate::registry::consul::entry::Shape;
use crate::registry::record::Record;
use crate::registry::table::Table;

/// The longest first pause after a failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_BASE: Duration = Duration::from_millis(50);
/// The longest pause after a failure: an agent that returns is asked within it.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Keeps a table as Consul says of one service, forever.
///
/// Every answer is the whole state, so that nothing is missed by a gap: the table tells the
/// differences.
pub(super) async fn one(reader: Reader, service: String, table: Arc<Table>, mut index: u64) {
    let mut backoff = Backoff::new(PAUSE_BASE, PAUSE_MAX);
    loop {
        match reader.service(&service, index).await {
            Ok((records, next)) => {
                index = next;
                table.replace(&records);
                rest(&mut backoff, index).await;
            }
            Err(error) => {
                tracing::debug!(service, %error, "watch of consul goes on");
                index = 0;
                clock::sleep(backoff.next_delay()).await;
            }
        }
    }
}

/// All services as they were last seen.
#[derive(Default)]
pub(super) struct All {
    index: u64,
    services: BTreeMap<String, (Shape, Vec<Record>)>,
}

impl All {
    /// Waits for a change of any service and reads those that changed.
    pub(super) async fn step(&mut self, reader: &Reader, table: &Table) -> Result<()> {
        let (shapes, next) = reader.shapes(self.index).await?;
        self.services.retain(|name, _| shapes.contains_key(name));
        for (name, shape) in shapes {
            if self.services.get(&name).is_some_and(|(known, _)| *known == shape) {
                continue;
            }
            let (records, _) = reader.service(&name, 0).await?;
            self.services.insert(name, (shape, records));
        }
        // Only what was read whole counts as seen.
        self.index = next;
        let records = self.services.values().flat_map(|(_, records)| records.iter().cloned());
        table.replace(&records.collect::<Vec<_>>());
        Ok(())
    }
}

/// Keeps a table as Consul says of all services, forever.
pub(super) async fn all(reader: Reader, table: Arc<Table>, mut all: All) {
    let mut backoff = Backoff::new(PAUSE_BASE, PAUSE_MAX);
    loop {
        match all.step(&reader, &table).await {
            Ok(()) => rest(&mut backoff, all.index).await,
            Err(error) => {
                tracing::debug!(%error, "watch of consul goes on");
                all.index = 0;
                clock::sleep(backoff.next_delay()).await;
            }
        }
    }
}

/// Pauses before a question that is answered at once, as there is nothing to wait from.
async fn rest(backoff: &mut Backoff, index: u64) {
    if index == 0 {
        clock::sleep(backoff.next_delay()).await;
    } else {
        backoff.reset();
    }
}
