//! PostgreSQL: the connections of a process to the databases of a server.
//!
//! Each database has two connections at most. One carries the statements whose effect has to be as
//! durable as the server is configured, many at a time and in order. The other, made when a watch or
//! a subscription asks for it, listens for signals and carries what may be done again after a crash
//! of the server; it does not wait for the disk. Both are made again when they are lost, with their
//! settings and, as they are used, their prepared statements.
//!
//! Tables are made in the schema `micro` by whoever comes first; where they are there already, the
//! user needs no right to make any.

mod ask;
mod database;
mod failure;
mod keeping;
mod live;
mod signals;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::core::error::{Error, Result};
use crate::core::shutdown::TaskTracker;
use crate::driver::server_url::Server;
use crate::driver::shared::Link;

pub(crate) use self::ask::{Ask, Blob, Lane, Params, Row, column, params};
pub(crate) use self::database::Database;
pub(crate) use self::signals::Hear;

/// Databases of one server that a process uses, at most.
const DATABASES_MAX: usize = 16;

/// Bytes of a name in PostgreSQL; a longer name of a database is a 412.
const NAME_BYTES_MAX: usize = 63;

const ERROR_ID: &str = "micro.postgres";

/// The connections to a PostgreSQL server, shared by what uses its databases.
///
/// Opening does no I/O: each database that is used connects in the background, pauses 100 ms to 5 s
/// between its tries, and goes on until the link is dropped or its tasks are ended.
///
/// What is asked while there is no connection waits for one for a second and then is a 503 that is
/// safe to repeat. What was sent when the connection broke, or was not answered within 12 s, is a
/// 503 whose outcome is unknown.
///
/// ```
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{Link, Postgres, Server};
///
/// let server = Server::new("127.0.0.1", 5432).with_user("ada", "secret");
/// let postgres = Postgres::open(&server, &TaskTracker::new())?;
/// assert_eq!(postgres.vendor(), "postgres");
/// assert!(postgres.is_up(), "no database is used");
/// # Ok::<(), micro::Error>(())
/// ```
pub struct Postgres {
    server: Server,
    tasks: TaskTracker,
    databases: Mutex<Vec<Arc<Database>>>,
}

impl Postgres {
    /// Makes the link; tasks belong to `tasks`.
    ///
    /// Without a user the server is asked as `postgres`.
    ///
    /// # Errors
    /// None: hosts and user are taken as they are.
    pub fn open(server: &Server, tasks: &TaskTracker) -> Result<Self> {
        let databases = Mutex::default();
        Ok(Self { server: server.clone(), tasks: tasks.clone(), databases })
    }

    /// Returns the connections to a database, which are made from then on; an empty name is that of
    /// the user.
    ///
    /// # Errors
    /// 412 for a name that no database can have, and for more databases than
    /// `DATABASES_MAX`.
    pub(crate) fn database(&self, name: &str) -> Result<Arc<Database>> {
        let user = self.server.user().unwrap_or("postgres");
        let name = if name.is_empty() { user } else { name };
        if name.len() > NAME_BYTES_MAX || name.contains('\0') {
            let detail = format!("`{}` names no database", name.escape_debug());
            return Err(Error::precondition_failed(ERROR_ID, detail));
        }
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = databases.iter().find(|database| database.name() == name) {
            return Ok(Arc::clone(database));
        }
        if databases.len() >= DATABASES_MAX {
            let detail = format!("more than {DATABASES_MAX} databases of {} are used", self.server);
            return Err(Error::precondition_failed(ERROR_ID, detail));
        }
        let database = Arc::new(Database::open(&self.server, name, &self.tasks));
        databases.push(Arc::clone(&database));
        Ok(database)
    }
}

impl Link for Postgres {
    fn vendor(&self) -> &'static str {
        "postgres"
    }

    fn is_up(&self) -> bool {
        let databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        databases.iter().all(|database| database.is_up())
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up = self.is_up();
        f.debug_struct("Postgres").field("server", &self.server).field("up", &up).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_has_one_link_and_they_are_limited() {
        let tasks = TaskTracker::new();
        let server = Server::new("127.0.0.1", 1).with_user("ada", "");
        let postgres = Postgres::open(&server, &tasks).unwrap();
        let own = postgres.database("").unwrap();
        assert_eq!(own.name(), "ada");
        assert!(Arc::ptr_eq(&own, &postgres.database("ada").unwrap()));
        assert!(!postgres.is_up());
        for n in 1..DATABASES_MAX {
            postgres.database(&n.to_string()).unwrap();
        }
        for n in [DATABASES_MAX, DATABASES_MAX * 10] {
            assert_eq!(postgres.database(&n.to_string()).unwrap_err().code(), 412);
        }
        assert!(postgres.database("1").is_ok());
        for name in ["x".repeat(NAME_BYTES_MAX + 1), "a\0b".to_owned()] {
            assert_eq!(postgres.database(&name).unwrap_err().code(), 412);
        }
        tasks.abort_all();
    }
}
