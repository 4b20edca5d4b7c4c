//! The table of records and what is asked of it.
//!
//! A deleted record stays for a while as a row without a value, so that its next version is greater
//! and a watch sees the deletion. `xact` is the transaction that wrote a row: see `following.rs`.

use crate::driver::postgres::{Ask, Lane};

/// The channel of signals that something was written.
pub(super) const CHANNEL: &str = "micro_store";

/// Makes the table. Rows of transactions that this server has not reached yet come from another one,
/// by a dump: they count as written by the first who finds them.
const SCHEMA: &str = r#"
DO $do$ BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('micro', 0));
  IF to_regnamespace('micro') IS NULL THEN CREATE SCHEMA micro; END IF;
  IF to_regclass('micro.store_record') IS NULL THEN
    CREATE SEQUENCE micro.store_version;
    CREATE TABLE micro.store_record (
      base text COLLATE "C" NOT NULL,
      part text COLLATE "C" NOT NULL,
      key text COLLATE "C" NOT NULL,
      value bytea,
      metadata text NOT NULL,
      version bigint NOT NULL,
      ends_at timestamptz,
      changed_at timestamptz NOT NULL,
      xact bigint NOT NULL,
      PRIMARY KEY (base, part, key));
    CREATE INDEX store_record_change ON micro.store_record (xact, version);
    CREATE INDEX store_record_end ON micro.store_record (ends_at) WHERE ends_at IS NOT NULL;
    CREATE INDEX store_record_gone ON micro.store_record (changed_at) WHERE value IS NULL;
  END IF;
  UPDATE micro.store_record SET xact = pg_current_xact_id()::text::bigint
    WHERE xact >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
END $do$
"#;

const fn ask(lane: Lane, sql: &'static str) -> Ask {
    Ask { lane, schema: SCHEMA, sql }
}

pub(super) const READ: Ask = ask(
    Lane::Durable,
    "SELECT value, metadata, version, \
       (extract(epoch FROM ends_at - now()) * 1000000)::bigint \
     FROM micro.store_record \
     WHERE base = $1 AND part = $2 AND key = $3 \
       AND value IS NOT NULL AND (ends_at IS NULL OR ends_at > now())",
);

macro_rules! insert {
    ($condition:literal) => {
        concat!(
            "INSERT INTO micro.store_record AS r \
               (base, part, key, value, metadata, ends_at, version, changed_at, xact) \
             VALUES ($1, $2, $3, $4, $5, \
               clock_timestamp() + $6::bigint * interval '1 microsecond', \
               nextval('micro.store_version'), clock_timestamp(), \
               pg_current_xact_id()::text::bigint) \
             ON CONFLICT (base, part, key) DO UPDATE SET \
               value = EXCLUDED.value, metadata = EXCLUDED.metadata, ends_at = EXCLUDED.ends_at, \
               version = nextval('micro.store_version'), changed_at = clock_timestamp(), \
               xact = EXCLUDED.xact ",
            $condition,
            " RETURNING version"
        )
    };
}

/// Writes without a condition. The version of a row that is there is drawn when it is locked, so
/// that versions of a key grow in the order of its writes.
pub(super) const WRITE: Ask = ask(Lane::Durable, insert!(""));

/// Writes where no record is, or one whose time is over.
pub(super) const WRITE_ABSENT: Ask =
    ask(Lane::Durable, insert!("WHERE r.value IS NULL OR r.ends_at <= clock_timestamp()"));

/// Writes on top of a version.
pub(super) const WRITE_VERSION: Ask = ask(
    Lane::Durable,
    "UPDATE micro.store_record SET value = $4, metadata = $5, \
       ends_at = clock_timestamp() + $6::bigint * interval '1 microsecond', \
       version = nextval('micro.store_version'), changed_at = clock_timestamp(), \
       xact = pg_current_xact_id()::text::bigint \
     WHERE base = $1 AND part = $2 AND key = $3 AND version = $7 \
       AND value IS NOT NULL AND (ends_at IS NULL OR ends_at > clock_timestamp()) \
     RETURNING version",
);

macro_rules! delete {
    ($condition:literal) => {
        concat!(
            "UPDATE micro.store_record SET value = NULL, metadata = '', ends_at = NULL, \
               version = nextval('micro.store_version'), changed_at = clock_timestamp(), \
               xact = pg_current_xact_id()::text::bigint \
             WHERE base = $1 AND part = $2 AND key = $3 AND value IS NOT NULL ",
            $condition,
            " RETURNING version"
        )
    };
}

pub(super) const DELETE: Ask = ask(Lane::Durable, delete!(""));

pub(super) const DELETE_VERSION: Ask = ask(
    Lane::Durable,
    delete!("AND version = $4 AND (ends_at IS NULL OR ends_at > clock_timestamp())"),
);

/// Lists a page. The first columns say how much was looked at; they are in one row at least.
pub(super) const LIST: Ask = ask(
    Lane::Durable,
    "WITH seen AS MATERIALIZED ( \
       SELECT key, version, (extract(epoch FROM ends_at - now()) * 1000000)::bigint AS rest, \
         CASE WHEN $9 THEN 0 ELSE octet_length(value) + octet_length(metadata) END \
           + octet_length(key) AS bytes \
       FROM micro.store_record \
       WHERE base = $1 AND part = $2 AND key >= $3 AND key <> $4 AND key < $5 \
         AND value IS NOT NULL AND (ends_at IS NULL OR ends_at > now()) \
       ORDER BY key LIMIT $7), \
     fitting AS MATERIALIZED ( \
       SELECT key, version, rest, row_number() OVER w AS n, sum(bytes) OVER w - bytes AS before \
       FROM seen WHERE right(key, length($6)) = $6 WINDOW w AS (ORDER BY key)) \
     SELECT s.scanned, s.last, s.fits, f.key, f.version, f.rest, \
       CASE WHEN $9 THEN NULL ELSE r.value END, CASE WHEN $9 THEN NULL ELSE r.metadata END \
     FROM (SELECT (SELECT count(*) FROM seen) AS scanned, (SELECT max(key) FROM seen) AS last, \
         (SELECT count(*) FROM fitting) AS fits) s \
       LEFT JOIN fitting f ON f.n <= $8 AND f.before < $10 \
       LEFT JOIN micro.store_record r ON r.base = $1 AND r.part = $2 AND r.key = f.key \
     ORDER BY f.key",
);

/// Ends records whose time is over, so that watches hear of it.
pub(super) const EXPIRE: Ask = ask(
    Lane::Relaxed,
    "WITH over AS ( \
       SELECT base, part, key FROM micro.store_record WHERE ends_at <= now() \
       ORDER BY ends_at LIMIT 1000 FOR UPDATE SKIP LOCKED) \
     UPDATE micro.store_record r SET value = NULL, metadata = '', ends_at = NULL, \
       version = nextval('micro.store_version'), changed_at = clock_timestamp(), \
       xact = pg_current_xact_id()::text::bigint \
     FROM over o WHERE r.base = o.base AND r.part = o.part AND r.key = o.key \
     RETURNING r.version",
);

/// Forgets records that were deleted ten minutes ago.
pub(super) const FORGET: Ask = ask(
    Lane::Relaxed,
    "WITH gone AS ( \
       SELECT base, part, key FROM micro.store_record \
       WHERE value IS NULL AND changed_at < now() - interval '10 minutes' \
       ORDER BY changed_at LIMIT 1000 FOR UPDATE SKIP LOCKED) \
     DELETE FROM micro.store_record r USING gone g \
     WHERE r.base = g.base AND r.part = g.part AND r.key = g.key RETURNING r.version",
);

/// Lists what transactions from one on have written into some spaces, up to 1,000 rows. The first
/// columns are of the same moment: the first transaction that may still write, and the time.
pub(super) const CHANGED: Ask = ask(
    Lane::Relaxed,
    "SELECT s.floor, s.millis, c.base, c.part, c.key, c.version, c.xact, c.bytes, c.changed \
     FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS floor, \
         (extract(epoch FROM now()) * 1000)::bigint AS millis) s \
       LEFT JOIN (SELECT r.base, r.part, r.key, r.version, r.xact, \
           coalesce(octet_length(r.value), 0)::bigint AS bytes, \
           (extract(epoch FROM r.changed_at) * 1000)::bigint AS changed \
         FROM micro.store_record r \
         WHERE (r.xact, r.version) > ($1, $2) AND (r.base, r.part) IN ( \
           SELECT base, part FROM unnest($3::text[], $4::text[]) AS w(base, part)) \
         ORDER BY r.xact, r.version LIMIT 1000) c ON true \
     ORDER BY c.xact, c.version",
);

/// Reads records, deleted ones among them.
pub(super) const FETCH: Ask = ask(
    Lane::Relaxed,
    "SELECT r.base, r.part, r.key, r.value, r.metadata, r.version, \
       (extract(epoch FROM r.ends_at - now()) * 1000000)::bigint, \
       coalesce(r.ends_at <= now(), false), r.xact, \
       (extract(epoch FROM r.changed_at) * 1000)::bigint \
     FROM unnest($1::text[], $2::text[], $3::text[]) AS w(base, part, key) \
       JOIN micro.store_record r ON r.base = w.base AND r.part = w.part AND r.key = w.key",
);
