//! A copy of a message that a member has.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::broker::dead_letter::DeadLetter;
use crate::broker::message::Message;
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};
use crate::core::metadata::Metadata;
use crate::driver::postgres::{Blob, Database, Row, column, params};

use super::ERROR_ID;
use super::groups::Wakes;
use super::statements as sql;

/// One delivery of a copy: the server knows it by group, id and attempt.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) group: i64,
    pub(super) id: i64,
    pub(super) attempts: i32,
    pub(super) message: Arc<Message>,
    first: Duration,
    last: Duration,
    /// Why no handler can take it.
    pub(super) fault: Option<String>,
}

/// What became of an attempt to bury.
pub(super) enum Buried {
    /// It is a dead letter, or another member has it.
    Gone,
    /// A group of the dead letters is full.
    NoRoom,
}

impl Item {
    /// Reads a row of [`sql::CLAIM`].
    pub(super) fn read(group: i64, row: &Row) -> Result<Self> {
        let content_type: String = column(row, 4)?;
        let body: Vec<u8> = column(row, 6)?;
        let topic: String = column(row, 2)?;
        let mut message = Message::new(topic, ContentType::parse(&content_type), Bytes::from(body));
        message.id = column(row, 3)?;
        let metadata: String = column(row, 5)?;
        let mut fault = None;
        match serde_json::from_str::<Metadata>(&metadata) {
            Ok(metadata) => message.metadata = metadata,
            Err(error) => fault = Some(format!("its metadata cannot be read: {error}")),
        }
        let millis = |at| -> Result<Duration> {
            let millis: i64 = column(row, at)?;
            Ok(Duration::from_millis(u64::try_from(millis).unwrap_or_default()))
        };
        let (id, attempts) = (column(row, 0)?, column(row, 1)?);
        let (first, last) = (millis(7)?, millis(8)?);
        Ok(Self { group, id, attempts, message: Arc::new(message), first, last, fault })
    }

    /// Returns how often it was delivered, this time included.
    pub(super) fn attempt(&self) -> u32 {
        u32::try_from(self.attempts).unwrap_or(1)
    }

    /// Puts a dead letter in its place.
    ///
    /// # Errors
    /// Those of the server; whether it is buried may be unknown.
    pub(super) async fn bury(
        &self,
        queue: Option<&str>,
        reason: &str,
        (database, wakes): (&Database, &Wakes),
    ) -> Result<Buried> {
        let (topic, id) = (&self.message.topic, &self.message.id);
        let letter = DeadLetter {
            queue: queue.map(Into::into),
            attempts: self.attempt(),
            first: self.first,
            last: self.last,
            ..DeadLetter::new(Arc::clone(&self.message), reason)
        };
        let Some(dead) = letter.to_message()? else {
            tracing::warn!(topic, id, reason, "dead letter is given up");
            let key = params![vec![self.group], vec![self.id], vec![self.attempts]];
            return database.rows(sql::ACK, key).await.map(|_| Buried::Gone);
        };
        let metadata = metadata(&dead)?;
        let params = params![
            self.group,
            self.id,
            self.attempts,
            dead.topic,
            dead.id,
            dead.content_type.as_str().to_owned(),
            metadata,
            Blob(dead.body),
        ];
        let rows = database.rows(sql::BURY, params).await?;
        let Some(row) = rows.first() else { return Ok(Buried::Gone) };
        let (gone, full): (bool, bool) = (column(row, 0)?, column(row, 1)?);
        if full {
            tracing::warn!(topic, id, "no room for a dead letter yet");
            return Ok(Buried::NoRoom);
        }
        if gone {
            tracing::warn!(topic, id, attempts = self.attempts, reason, "message is given up");
        }
        let groups: Option<Vec<i64>> = column(row, 2)?;
        wakes.tell_all(database, &groups.unwrap_or_default());
        Ok(Buried::Gone)
    }
}

/// Writes the metadata of a message.
pub(super) fn metadata(message: &Message) -> Result<String> {
    serde_json::to_string(&message.metadata)
        .map_err(|error| Error::internal(ERROR_ID, "metadata is no JSON").with_source(error))
}
