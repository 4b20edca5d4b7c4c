//! A connection that is up.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::TryStreamExt;
use tokio::sync::{Notify, Semaphore};
use tokio_postgres::{Client, Statement};

use crate::core::error::{Result, Retry};

use super::ask::{Ask, Lane, Params, Row};
use super::failure;

/// Statements that one connection carries at a time; further ones wait for a place.
pub(super) const STATEMENTS_MAX: usize = 1024;

/// What every connection begins with. The tables have many short lives and plans are made when they
/// are empty: without the settings of the planner such a plan would read a full table whole.
const SETTINGS: &str = "\
    SET statement_timeout = '10s'; SET idle_in_transaction_session_timeout = '10s'; \
    SET client_min_messages = warning; SET default_transaction_isolation = 'read committed'; \
    SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_seqscan = off; \
    SET enable_bitmapscan = off;";

const RELAXED: &str = "SET synchronous_commit = off; LISTEN micro_broker; LISTEN micro_store;";

/// A connection that is up, and what was prepared on it.
pub(super) struct Live {
    client: Client,
    /// Counts the connections of the lane.
    pub(super) generation: u64,
    /// By the address of their text, which is a constant.
    statements: Mutex<HashMap<usize, Statement>>,
    schemas: tokio::sync::Mutex<HashSet<usize>>,
    pub(super) places: Arc<Semaphore>,
    /// Rung when it is to be given up.
    pub(super) broken: Notify,
}

impl Live {
    pub(super) fn new(client: Client, generation: u64) -> Self {
        Self {
            client,
            generation,
            statements: Mutex::default(),
            schemas: tokio::sync::Mutex::default(),
            places: Arc::new(Semaphore::new(STATEMENTS_MAX)),
            broken: Notify::new(),
        }
    }

    /// Makes the settings of a lane.
    pub(super) async fn set_up(
        &self,
        lane: Lane,
    ) -> std::result::Result<(), tokio_postgres::Error> {
        match lane {
            Lane::Durable => self.client.batch_execute(SETTINGS).await,
            Lane::Relaxed => self.client.batch_execute(&format!("{SETTINGS} {RELAXED}")).await,
        }
    }

    /// Makes sure that the server answers.
    pub(super) async fn ping(&self) -> std::result::Result<(), tokio_postgres::Error> {
        self.client.check_connection().await
    }

    /// Runs a statement and returns all its rows.
    pub(super) async fn rows(&self, ask: Ask, params: Params) -> Result<Vec<Row>> {
        let statement = match self.prepared(ask).await {
            Ok(statement) => statement,
            // Nothing of the statement itself was sent.
            Err(error) => return Err(self.failed(error, Retry::Safe)),
        };
        let rows = async { self.client.query_raw(&statement, params).await?.try_collect().await };
        rows.await.map_err(|error| self.failed(error, Retry::Unknown))
    }

    async fn prepared(&self, ask: Ask) -> std::result::Result<Statement, tokio_postgres::Error> {
        let found = self.statements().get(&ask.sql.as_ptr().addr()).cloned();
        if let Some(statement) = found {
            return Ok(statement);
        }
        {
            let schema = ask.schema.as_ptr().addr();
            let mut schemas = self.schemas.lock().await;
            if !schemas.contains(&schema) {
                self.client.batch_execute(ask.schema).await?;
                schemas.insert(schema);
            }
        }
        let statement = self.client.prepare(ask.sql).await?;
        self.statements().insert(ask.sql.as_ptr().addr(), statement.clone());
        Ok(statement)
    }

    fn failed(&self, error: tokio_postgres::Error, sent: Retry) -> crate::core::error::Error {
        if failure::is_outdated(&error) {
            self.broken.notify_one();
        }
        failure::of(error, sent)
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
