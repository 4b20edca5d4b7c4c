//! Follows what is written: the rows are the truth, signals only say when to look.
//!
//! Versions are drawn before their transaction is visible, so a look at "greater than the last" may
//! pass over one that becomes visible later. Each row therefore has its transaction, and each look
//! reads again what transactions have written that were not over at the look before
//! (`pg_snapshot_xmin`); what was told of it already is remembered until they are.

use std::collections::HashMap;
use std::sync::PoisonError;

use crate::core::error::Result;
use crate::driver::postgres::{Row, column, params};
use crate::store::{Event, PAGE_BYTES_MAX, Space};

use super::statements::{CHANGED, FETCH};
use super::{Shared, rows};

/// Rows of one look at the changes.
const CHANGES_PER_PAGE: usize = 1000;

/// Changes that are remembered because transactions before them are not over. Past it those older
/// than [`OPEN_MILLIS_MAX`] are taken for settled.
const UNSETTLED_MAX: usize = 10_000;

/// No write of a store takes a minute: a statement is ended after ten seconds.
const OPEN_MILLIS_MAX: i64 = 60_000;

/// A look so long after the one before may have missed what is forgotten after ten minutes.
const GAP_MILLIS_MAX: i64 = 300_000;

/// Where a record is.
type Place = (String, String, String);

/// How far the changes were followed.
#[derive(Debug, Default)]
pub(super) struct Following {
    /// The connection of the last look; zero before the first.
    generation: u64,
    /// Transactions before it are over and told of, or taken for it.
    horizon: i64,
    /// The first transaction that might still write, at the last look.
    floor: i64,
    /// When the last look was, by the server's clock.
    millis: i64,
    seen: HashMap<Place, Change>,
}

/// A version that was told of, or needs not to be.
#[derive(Clone, Copy, Debug)]
struct Change {
    version: i64,
    xact: i64,
    /// When it was written, by the server's clock.
    millis: i64,
}

/// A version that was found.
struct Found {
    place: Place,
    change: Change,
    bytes: i64,
}

/// A look at the changes.
struct Look {
    generation: u64,
    floor: i64,
    millis: i64,
    found: Vec<Found>,
}

impl Shared {
    /// Tells the watchers what has been written since the last time, in any space that is watched;
    /// what was written into `joining` before is not told of later either.
    pub(super) async fn follow(
        &self,
        following: &mut Following,
        joining: Option<&Space>,
    ) -> Result<()> {
        let spaces = self.watched(joining);
        if spaces.0.is_empty() {
            *following = Following::default();
            return Ok(());
        }
        let mut look = self.look((following.horizon, -1), &spaces).await?;
        let gap = look.generation != following.generation
            || look.floor < following.floor
            || look.millis - following.millis > GAP_MILLIS_MAX;
        if gap {
            let again = self.look((look.floor, -1), &spaces).await?;
            // Nothing is awaited from here to the resync: it is told, or the gap is found again.
            let first = following.generation == 0;
            *following = Following { horizon: look.floor, ..Following::default() };
            if !first {
                self.hub().resync();
            }
            look = again;
        }
        following.generation = look.generation;
        let (floor, millis) = (look.floor, look.millis);
        // Progress: each page begins after the one before.
        loop {
            let last = look.found.last().map(|found| (found.change.xact, found.change.version));
            let full = look.found.len() >= CHANGES_PER_PAGE;
            self.tell(following, look.found, gap).await?;
            match last {
                Some(last) if full => look = self.look(last, &spaces).await?,
                _ => break,
            }
        }
        following.settle(floor, millis);
        Ok(())
    }

    /// Returns the spaces that are watched, as the columns of a table.
    fn watched(&self, joining: Option<&Space>) -> (Vec<String>, Vec<String>) {
        let mut spaces = self.hub().spaces();
        spaces.extend(joining.cloned());
        let names = |space: &Space| (space.database().to_owned(), space.table().to_owned());
        spaces.iter().map(names).unzip()
    }

    async fn look(&self, after: (i64, i64), spaces: &(Vec<String>, Vec<String>)) -> Result<Look> {
        let params = params![after.0, after.1, spaces.0.clone(), spaces.1.clone()];
        let (rows, generation) = self.database.rows_of_connection(CHANGED, params).await?;
        let mut look = Look { generation, floor: 0, millis: 0, found: Vec::new() };
        for row in &rows {
            (look.floor, look.millis) = (column(row, 0)?, column(row, 1)?);
            let Some(version) = column(row, 5)? else { continue };
            let place = (column(row, 2)?, column(row, 3)?, column(row, 4)?);
            let (xact, millis) = (column(row, 6)?, column(row, 8)?);
            let change = Change { version, xact, millis };
            look.found.push(Found { place, change, bytes: column(row, 7)? });
        }
        Ok(look)
    }

    /// Tells of what was found and not told of yet; only remembers it where it is a beginning.
    async fn tell(
        &self,
        following: &mut Following,
        found: Vec<Found>,
        beginning: bool,
    ) -> Result<()> {
        let mut wanted = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        for Found { place, change, bytes: more } in found {
            if following.knows(&place, change) {
                continue;
            }
            let space = Space::new(&place.0, &place.1)?;
            if beginning || !self.hub().concerns(&space, &place.2) {
                following.seen.insert(place, change);
                continue;
            }
            bytes += usize::try_from(more).unwrap_or_default();
            wanted.0.push(place.0);
            wanted.1.push(place.1);
            wanted.2.push(place.2);
            if bytes >= PAGE_BYTES_MAX {
                self.fetch(following, std::mem::take(&mut wanted)).await?;
                bytes = 0;
            }
        }
        if wanted.0.is_empty() { Ok(()) } else { self.fetch(following, wanted).await }
    }

    /// Reads records and tells of them, in the order of their versions.
    async fn fetch(
        &self,
        following: &mut Following,
        wanted: (Vec<String>, Vec<String>, Vec<String>),
    ) -> Result<()> {
        let rows = self.database.rows(FETCH, params![wanted.0, wanted.1, wanted.2]).await?;
        let mut told = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
        told.sort_by_key(|(_, change, _)| change.version);
        for (place, change, event) in told {
            if following.knows(&place, change) {
                continue;
            }
            if let Some(event) = event {
                let space = Space::new(&place.0, &place.1)?;
                self.hub().publish(&space, &place.2, || event.clone());
            }
            following.seen.insert(place, change);
        }
        Ok(())
    }

    fn hub(&self) -> std::sync::MutexGuard<'_, crate::store::hub::Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Following {
    fn knows(&self, place: &Place, change: Change) -> bool {
        self.seen.get(place).is_some_and(|seen| seen.version >= change.version)
    }

    /// Forgets what no later look reads again.
    fn settle(&mut self, floor: i64, millis: i64) {
        (self.floor, self.millis) = (floor, millis);
        // What was taken for settled stays so: it would be told of again.
        let mut horizon = self.horizon.max(floor);
        self.seen.retain(|_, change| change.xact >= horizon);
        // Limit: a transaction of somebody else that stays open for long does not pile up changes.
        if self.seen.len() > UNSETTLED_MAX {
            let open = millis - OPEN_MILLIS_MAX;
            let old = self.seen.values().filter(|change| change.millis < open);
            let settled = old.map(|change| change.xact.saturating_add(1)).max();
            horizon = settled.unwrap_or(horizon).max(horizon);
            self.seen.retain(|_, change| change.xact >= horizon);
        }
        self.horizon = horizon;
    }
}

/// Reads a row of [`FETCH`]. What is over and not ended yet is no event: its end will be one.
fn read(row: &Row) -> Result<(Place, Change, Option<Event>)> {
    let place: Place = (column(row, 0)?, column(row, 1)?, column(row, 2)?);
    let value: Option<Vec<u8>> = column(row, 3)?;
    let change =
        Change { version: column(row, 5)?, xact: column(row, 8)?, millis: column(row, 9)? };
    let event = match value {
        None => Some(Event::deleted(&*place.2)),
        Some(_) if column(row, 7)? => None,
        Some(value) => {
            let metadata: String = column(row, 4)?;
            let rest: Option<i64> = column(row, 6)?;
            Some(Event::Put(rows::record(&place.2, value, &metadata, (change.version, rest))?))
        }
    };
    Ok((place, change, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(version: i64, xact: i64, millis: i64) -> Change {
        Change { version, xact, millis }
    }

    fn place(n: usize) -> Place {
        ("b".to_owned(), "p".to_owned(), n.to_string())
    }

    #[test]
    fn what_open_transactions_follow_is_remembered_until_they_are_over() {
        let mut following = Following::default();
        following.seen.insert(place(1), change(11, 5, 0));
        following.seen.insert(place(2), change(12, 9, 0));
        assert!(following.knows(&place(1), change(11, 5, 0)));
        assert!(!following.knows(&place(1), change(13, 9, 0)));
        following.settle(6, 100);
        assert_eq!((following.horizon, following.seen.len()), (6, 1));
        assert!(following.knows(&place(2), change(12, 9, 0)));
    }

    /// At the limit, above it and far above it.
    #[test]
    fn a_transaction_that_stays_open_piles_up_no_more_than_a_minute_of_changes() {
        for (count, kept) in
            [(UNSETTLED_MAX, UNSETTLED_MAX), (UNSETTLED_MAX + 1, 10), (UNSETTLED_MAX * 10, 10)]
        {
            let mut following = Following::default();
            for n in 0..count {
                let number = i64::try_from(n).unwrap();
                let millis = if n + 10 < count { 0 } else { OPEN_MILLIS_MAX };
                following.seen.insert(place(n), change(number, number, millis));
            }
            following.settle(0, OPEN_MILLIS_MAX + 1);
            assert_eq!(following.seen.len(), kept, "{count}");
            let horizon = following.horizon;
            following.settle(0, OPEN_MILLIS_MAX + 1);
            assert_eq!((following.floor, following.horizon), (0, horizon), "{count}");
            assert_eq!(following.seen.len(), kept, "{count}");
        }
    }
}
