//! The two connections to one database.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver::server_url::Server;

use super::ERROR_ID;
use super::ask::{Ask, Lane, Params, Row, params};
use super::keeping::{ANSWER_TIMEOUT, Keeping};
use super::signals::{Ears, Hear, Outbox};

const SIGNAL: Ask = Ask {
    lane: Lane::Relaxed,
    schema: "",
    sql: "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) \
          AS signal(channel, payload)",
};

/// The connections to one database; they end when it is dropped.
pub(crate) struct Database {
    name: String,
    tasks: TaskTracker,
    durable: Arc<Keeping>,
    relaxed: Arc<Keeping>,
    ears: Arc<Ears>,
    outbox: Arc<Outbox>,
    _durable: TaskHandle,
    /// The tasks of the second connection, once it is wanted: it is kept, and signals are sent.
    second: OnceLock<[TaskHandle; 2]>,
}

impl Database {
    pub(super) fn open(server: &Server, name: &str, tasks: &TaskTracker) -> Self {
        let ears = Arc::new(Ears::default());
        let lane = |lane| Arc::new(Keeping::new(server, name, lane, &ears));
        let (durable, relaxed) = (lane(Lane::Durable), lane(Lane::Relaxed));
        let kept = Arc::clone(&durable);
        let _durable = tasks.spawn("postgres", async move { kept.keep().await }).abort_on_drop();
        let (outbox, second) = (Arc::default(), OnceLock::new());
        let (name, tasks) = (name.to_owned(), tasks.clone());
        Self { name, tasks, durable, relaxed, ears, outbox, _durable, second }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_up(&self) -> bool {
        self.durable.is_up() && !self.relaxed.is_down()
    }

    /// Runs a statement and returns all its rows. Dropping the future leaves open whether it runs.
    pub(crate) async fn rows(&self, ask: Ask, params: Params) -> Result<Vec<Row>> {
        self.rows_of_connection(ask, params).await.map(|(rows, _)| rows)
    }

    /// As [`Self::rows`], with the count of the connections of the lane so far: where it differs
    /// from that of an earlier answer, the server was lost in between.
    pub(crate) async fn rows_of_connection(
        &self,
        ask: Ask,
        params: Params,
    ) -> Result<(Vec<Row>, u64)> {
        let live = self.lane(ask.lane).live().await?;
        let place = clock::timeout(ANSWER_TIMEOUT, Arc::clone(&live.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            let detail = format!("too many statements wait for the database `{}`", self.name);
            return Err(Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe));
        };
        let asked = async move {
            let _place = place;
            match clock::timeout(ANSWER_TIMEOUT, live.rows(ask, params)).await {
                Ok(rows) => rows.map(|rows| (rows, live.generation)),
                Err(_elapsed) => {
                    live.broken.notify_one();
                    let detail = format!("PostgreSQL did not answer within {ANSWER_TIMEOUT:?}");
                    Err(Error::unavailable(ERROR_ID, detail).with_retry(Retry::Unknown))
                }
            }
        };
        // In a task of its own: an answer that nobody takes would hold up all that follow it.
        match self.tasks.spawn("postgres.ask", asked).await {
            Ok(answer) => answer,
            Err(error) => {
                let detail = "the connection to PostgreSQL is closed";
                Err(Error::unavailable(ERROR_ID, detail)
                    .with_retry(Retry::Unknown)
                    .with_source(error))
            }
        }
    }

    /// Has signals, from then on, told to somebody; the first is that some may have been missed.
    pub(crate) fn listen(&self, ear: Weak<dyn Hear>) {
        self.ears.add(ear);
        self.lane(Lane::Relaxed);
    }

    /// Sends a signal to whoever listens, soon and at best.
    pub(crate) fn signal(&self, channel: &'static str, payload: String) {
        self.lane(Lane::Relaxed);
        self.outbox.put(channel, payload);
    }

    fn lane(&self, lane: Lane) -> &Keeping {
        match lane {
            Lane::Durable => &self.durable,
            Lane::Relaxed => {
                self.second.get_or_init(|| self.start_second());
                &self.relaxed
            }
        }
    }

    fn start_second(&self) -> [TaskHandle; 2] {
        let kept = Arc::clone(&self.relaxed);
        let keeping = self.tasks.spawn("postgres", async move { kept.keep().await });
        let (outbox, relaxed) = (Arc::clone(&self.outbox), Arc::clone(&self.relaxed));
        let sending = self.tasks.spawn("postgres.signals", async move {
            // Progress: each turn waits for a signal. One that cannot be sent is left out.
            loop {
                let (channels, payloads) = outbox.take().await;
                let Ok(live) = relaxed.live().await else { continue };
                let sent = live.rows(SIGNAL, params![channels, payloads]);
                match clock::timeout(ANSWER_TIMEOUT, sent).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "a signal is lost"),
                    Err(_elapsed) => live.broken.notify_one(),
                }
            }
        });
        [keeping.abort_on_drop(), sending.abort_on_drop()]
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("name", &self.name).field("up", &self.is_up()).finish()
    }
}
