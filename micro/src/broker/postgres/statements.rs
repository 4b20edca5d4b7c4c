//! The tables of groups and of their messages, and what is asked of them.
//!
//! A message is copied to each group when it is published. A copy that is handed out is invisible
//! until its time is over, and `attempts` counts how often that was: together with its id it says
//! which delivery a member speaks of, so that one that comes late changes nothing.

use crate::driver::postgres::{Ask, Lane};

/// The channel of signals: ids of groups that have got messages, with commas between.
pub(super) const CHANNEL: &str = "micro_broker";

/// Rows that one statement removes at most.
pub(super) const REMOVED_MAX: usize = 1000;

const SCHEMA: &str = r#"
DO $do$ BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('micro', 0));
  IF to_regnamespace('micro') IS NULL THEN CREATE SCHEMA micro; END IF;
  IF to_regclass('micro.broker_message') IS NULL THEN
    CREATE TABLE micro.broker_group (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      topic text COLLATE "C" NOT NULL,
      queue text COLLATE "C" NOT NULL,
      temporary boolean NOT NULL,
      covers text,
      is_full boolean NOT NULL DEFAULT false,
      seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      UNIQUE (topic, queue, temporary));
    CREATE INDEX broker_group_covers ON micro.broker_group (id) WHERE covers IS NOT NULL;
    CREATE TABLE micro.broker_message (
      id bigint GENERATED ALWAYS AS IDENTITY,
      group_id bigint NOT NULL,
      topic text COLLATE "C" NOT NULL,
      message_id text NOT NULL,
      content_type text NOT NULL,
      metadata text NOT NULL,
      body bytea NOT NULL,
      published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      visible_at timestamptz NOT NULL DEFAULT '-infinity',
      attempts integer NOT NULL DEFAULT 0,
      first_at timestamptz,
      last_at timestamptz,
      PRIMARY KEY (group_id, id))
      WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0,
        autovacuum_vacuum_threshold = 5000);
    CREATE TABLE micro.broker_sweep (at timestamptz NOT NULL);
    INSERT INTO micro.broker_sweep VALUES ('-infinity');
  END IF;
END $do$
"#;

const fn ask(lane: Lane, sql: &'static str) -> Ask {
    Ask { lane, schema: SCHEMA, sql }
}

/// Finds the groups of a topic, a pattern among them; dead letters are covered only by what names
/// them.
macro_rules! covering {
    ($topic:literal) => {
        concat!(
            "(SELECT id, is_full FROM micro.broker_group WHERE covers IS NULL AND topic = ",
            $topic,
            " UNION ALL \
             SELECT id, is_full FROM micro.broker_group WHERE covers IS NOT NULL AND ",
            $topic,
            " ~ covers AND (topic LIKE '%.dead' OR ",
            $topic,
            " NOT LIKE '%.dead'))"
        )
    };
}

/// Publishes messages, each to all of its groups or, where one is full, to none. Returns the numbers
/// of those that were not taken, and the groups that got something.
pub(super) const PUBLISH: Ask = ask(
    Lane::Durable,
    concat!(
        "WITH sent AS MATERIALIZED ( \
           SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[]) \
             WITH ORDINALITY AS m(topic, message_id, content_type, metadata, body, n)), \
         given AS MATERIALIZED ( \
           SELECT s.n, g.id, bool_or(g.is_full) OVER (PARTITION BY s.n) AS refused \
           FROM sent s, LATERAL ",
        covering!("s.topic"),
        " g), \
         put AS ( \
           INSERT INTO micro.broker_message \
             (group_id, topic, message_id, content_type, metadata, body) \
           SELECT g.id, s.topic, s.message_id, s.content_type, s.metadata, s.body \
           FROM given g JOIN sent s ON s.n = g.n WHERE NOT g.refused ORDER BY g.n, g.id \
           RETURNING group_id) \
         SELECT (SELECT array_agg(DISTINCT n) FROM given WHERE refused), \
           (SELECT array_agg(DISTINCT group_id) FROM put)"
    ),
);

/// Joins a group, which is made if it is not there and there are fewer than `$5`.
pub(super) const JOIN: Ask = ask(
    Lane::Durable,
    "INSERT INTO micro.broker_group (topic, queue, temporary, covers) \
     SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM micro.broker_group) < $5 \
       OR EXISTS (SELECT FROM micro.broker_group \
         WHERE topic = $1 AND queue = $2 AND temporary = $3) \
     ON CONFLICT (topic, queue, temporary) DO UPDATE SET seen_at = clock_timestamp() \
     RETURNING id",
);

/// Gives a group the dead letters of its topic that nobody had subscribed to.
pub(super) const ADOPT: Ask = ask(
    Lane::Durable,
    "UPDATE micro.broker_message SET group_id = $1 \
     WHERE group_id = 0 AND topic ~ $2 RETURNING id",
);

/// Removes a temporary group and counts what waited for it.
pub(super) const LEAVE: Ask = ask(
    Lane::Relaxed,
    "WITH g AS (DELETE FROM micro.broker_group WHERE id = $1 AND temporary RETURNING id), \
     m AS (DELETE FROM micro.broker_message USING g WHERE group_id = g.id RETURNING group_id) \
     SELECT count(*) FROM m",
);

/// Says that groups have members, and returns those that are still there.
pub(super) const BEAT: Ask = ask(
    Lane::Relaxed,
    "UPDATE micro.broker_group SET seen_at = clock_timestamp() WHERE id = ANY($1) RETURNING id",
);

/// Takes up to `$2` messages of a group, in order, and up to `$3` bytes, for `$4` microseconds.
pub(super) const CLAIM: Ask = ask(
    Lane::Relaxed,
    "WITH due AS MATERIALIZED ( \
       SELECT id, octet_length(body) AS bytes FROM micro.broker_message \
       WHERE group_id = $1 AND visible_at <= now() ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED), \
     fitting AS MATERIALIZED ( \
       SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS before FROM due) \
     UPDATE micro.broker_message m SET attempts = attempts + 1, \
       visible_at = clock_timestamp() + $4::bigint * interval '1 microsecond', \
       first_at = coalesce(first_at, clock_timestamp()), last_at = clock_timestamp() \
     FROM fitting f WHERE m.group_id = $1 AND m.id = f.id AND f.before < $3 \
     RETURNING m.id, m.attempts, m.topic, m.message_id, m.content_type, m.metadata, m.body, \
       (extract(epoch FROM m.first_at) * 1000)::bigint, \
       (extract(epoch FROM m.last_at) * 1000)::bigint",
);

/// Removes what was acknowledged.
pub(super) const ACK: Ask = ask(
    Lane::Relaxed,
    "DELETE FROM micro.broker_message m \
     USING unnest($1::bigint[], $2::bigint[], $3::integer[]) AS d(group_id, id, attempts) \
     WHERE m.group_id = d.group_id AND m.id = d.id AND m.attempts = d.attempts",
);

/// Makes what is handed out visible after a pause of microseconds, some of it as if it had not been
/// handed out.
pub(super) const DEFER: Ask = ask(
    Lane::Relaxed,
    "UPDATE micro.broker_message m SET attempts = m.attempts - d.undone, \
       visible_at = clock_timestamp() + d.pause * interval '1 microsecond' \
     FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::bigint[], $5::integer[]) \
       AS d(group_id, id, attempts, pause, undone) \
     WHERE m.group_id = d.group_id AND m.id = d.id AND m.attempts = d.attempts",
);

/// Puts a dead letter in the place of its message, at once or not at all. One that no group takes
/// waits for one. Returns whether the message was there, whether a group is full, and who got it.
pub(super) const BURY: Ask = ask(
    Lane::Durable,
    concat!(
        "WITH target AS MATERIALIZED ",
        covering!("$4"),
        ", gone AS ( \
           DELETE FROM micro.broker_message WHERE group_id = $1 AND id = $2 AND attempts = $3 \
             AND NOT EXISTS (SELECT FROM target WHERE is_full) RETURNING id), \
         put AS ( \
           INSERT INTO micro.broker_message \
             (group_id, topic, message_id, content_type, metadata, body) \
           SELECT t.id, $4, $5, $6, $7, $8 FROM gone, ( \
             SELECT id FROM target \
             UNION ALL SELECT 0 WHERE NOT EXISTS (SELECT FROM target)) t \
           RETURNING group_id) \
         SELECT EXISTS (SELECT FROM gone), EXISTS (SELECT FROM target WHERE is_full), \
           (SELECT array_agg(group_id) FROM put)"
    ),
);

/// Takes the turn to clean up, of which there is one in ten seconds.
pub(super) const TURN: Ask = ask(
    Lane::Relaxed,
    "UPDATE micro.broker_sweep SET at = now() WHERE at < now() - interval '10 seconds' \
     RETURNING at",
);

/// Removes groups without a member: temporary ones after a minute, the others after `$1` seconds.
pub(super) const EMPTY_GROUPS: Ask = ask(
    Lane::Relaxed,
    "DELETE FROM micro.broker_group WHERE seen_at < clock_timestamp() - \
       CASE WHEN temporary THEN interval '1 minute' ELSE $1 * interval '1 second' END \
     RETURNING topic, queue, temporary",
);

/// Removes copies of groups that are gone.
pub(super) const ORPHANS: Ask = ask(
    Lane::Relaxed,
    "DELETE FROM micro.broker_message m WHERE (m.group_id, m.id) IN ( \
       SELECT o.group_id, o.id FROM micro.broker_message o \
       WHERE o.group_id <> 0 AND o.published_at < now() - interval '1 minute' \
         AND NOT EXISTS (SELECT FROM micro.broker_group g WHERE g.id = o.group_id) LIMIT 1000) \
     RETURNING m.id",
);

/// Removes dead letters that nobody has subscribed to: all but the latest `$1`, and those older than
/// `$2` seconds.
pub(super) const UNCLAIMED: Ask = ask(
    Lane::Relaxed,
    "DELETE FROM micro.broker_message m WHERE m.group_id = 0 AND m.id IN ( \
       SELECT id FROM micro.broker_message WHERE group_id = 0 AND ( \
         published_at < now() - $2 * interval '1 second' OR id <= ( \
           SELECT id FROM micro.broker_message WHERE group_id = 0 \
           ORDER BY id DESC OFFSET $1 LIMIT 1)) \
       ORDER BY id LIMIT 1000) \
     RETURNING m.id",
);

/// Marks groups that have more than `$1` messages, and no others.
pub(super) const FULL_GROUPS: Ask = ask(
    Lane::Relaxed,
    "UPDATE micro.broker_group g SET is_full = f.is_full \
     FROM (SELECT c.id, (SELECT count(*) FROM ( \
         SELECT FROM micro.broker_message m WHERE m.group_id = c.id LIMIT $1) few) >= $1 \
         AS is_full FROM micro.broker_group c) f \
     WHERE f.id = g.id AND f.is_full <> g.is_full RETURNING g.id",
);
