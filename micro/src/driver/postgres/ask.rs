//! What is asked of a database.

use bytes::{Bytes, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::core::error::{Error, Result};

pub(crate) use tokio_postgres::Row;

/// Which connection a statement goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Its effect is as durable as the server is configured when it is answered.
    Durable,
    /// A crash of the server may undo it for a moment after it is answered.
    Relaxed,
}

/// A statement that is prepared once for each connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) lane: Lane,
    /// Makes the tables that the statement needs; may be repeated.
    pub(crate) schema: &'static str,
    pub(crate) sql: &'static str,
}

/// The values of a statement.
pub(crate) type Params = Vec<Box<dyn ToSql + Send + Sync>>;

/// Makes [`Params`] of values.
macro_rules! params {
    ($($value:expr),* $(,)?) => {{
        let params: $crate::driver::postgres::Params = vec![$(Box::new($value)),*];
        params
    }};
}
pub(crate) use params;

/// Bytes that are sent without a copy of their own.
#[derive(Debug)]
pub(crate) struct Blob(pub(crate) Bytes);

impl ToSql for Blob {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Send + Sync>> {
        self.0.as_ref().to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::BYTEA
    }

    to_sql_checked!();
}

/// Reads a column of a row.
///
/// # Errors
/// 500 when it has another type: the table is not what it should be.
pub(crate) fn column<T: tokio_postgres::types::FromSqlOwned>(row: &Row, at: usize) -> Result<T> {
    row.try_get(at).map_err(|error| {
        let detail = format!("column {at} of an answer of PostgreSQL has another type");
        Error::internal(super::ERROR_ID, detail).with_source(error)
    })
}
