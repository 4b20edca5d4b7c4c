//! The store as it is while the server is well.

use std::time::Duration;

use libtest_mimic::Trial;
use micro::core::clock;
use micro::core::error::Retry;
use micro::store::{Event, Key, Query, Space, Write};
use micro::testkit::store::{Subject, conformance};

use super::{Lab, PATIENCE, Process, tests};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        the_store_conforms,
        a_change_that_becomes_visible_late_is_not_passed_over,
        what_is_over_is_removed_from_the_table,
        a_page_ends_with_its_bytes,
        st6_no_name_is_a_part_of_a_statement,
        the_user_of_the_url_is_asked_for_a_password,
        a_user_without_rights_to_make_tables_uses_those_there_are,
    ]
}

async fn the_store_conforms() {
    let lab = Lab::new();
    let examined = conformance(async || {
        let url = lab.url(&lab.database().await);
        let (one, two) = (Process::new(), Process::new());
        let (first, second) = (one.store(&url).await, two.store(&url).await);
        let guard = Processes([one, two]);
        Subject::new(first, second).with_ttl(Duration::from_secs(1)).with_guard(guard)
    });
    examined.await.unwrap_or_else(|failures| panic!("{failures}"));
}

struct Processes(#[allow(dead_code, reason = "they end with it")] [Process; 2]);

impl std::fmt::Debug for Processes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Processes")
    }
}

/// Versions are drawn before they are visible: the first of two transactions ends last.
async fn a_change_that_becomes_visible_late_is_not_passed_over() {
    let lab = Lab::new();
    let name = lab.database().await;
    let process = Process::new();
    let store = process.store(&lab.url(&name)).await;
    let space = Space::unbound();
    let write = |key: &str| Write::new(Key::new(key).unwrap(), "x");
    store.write(&space, write("first")).await.unwrap();
    let mut watch = store.watch(&space, "").await.unwrap();
    let mut bare = lab.bare(&name).await;
    let late = bare.transaction().await.unwrap();
    late.batch_execute(
        "INSERT INTO micro.store_record VALUES ('micro', 'default', 'late', 'x', '', \
         nextval('micro.store_version'), NULL, now(), pg_current_xact_id()::text::bigint)",
    )
    .await
    .unwrap();
    let mut next = async || clock::timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    for name in ["a", "b", "c"] {
        store.write(&space, write(name)).await.unwrap();
        assert_eq!(next().await.key(), Some(name));
    }
    late.commit().await.unwrap();
    assert_eq!(next().await.key(), Some("late"), "a version below those that were told");
    store.write(&space, write("d")).await.unwrap();
    assert_eq!(next().await.key(), Some("d"), "something is told twice");
}

async fn what_is_over_is_removed_from_the_table() {
    let lab = Lab::new();
    let name = lab.database().await;
    let process = Process::new();
    let store = process.store(&lab.url(&name)).await;
    let space = Space::unbound();
    let write = Write::new(Key::new("a").unwrap(), "x").with_ttl(Duration::from_millis(100));
    store.write(&space, write).await.unwrap();
    let bare = lab.bare(&name).await;
    super::eventually(async || {
        let sql = "SELECT FROM micro.store_record WHERE value IS NOT NULL";
        bare.query(sql, &[]).await.unwrap().is_empty().then_some(())
    })
    .await;
    bare.execute("UPDATE micro.store_record SET changed_at = now() - interval '11 minutes'", &[])
        .await
        .unwrap();
    super::eventually(async || {
        let rows = bare.query("SELECT FROM micro.store_record", &[]).await.unwrap();
        rows.is_empty().then_some(())
    })
    .await;
}

async fn a_page_ends_with_its_bytes() {
    let lab = Lab::new();
    let process = Process::new();
    let store = process.store(&lab.url(&lab.database().await)).await;
    let space = Space::unbound();
    for n in 0..6 {
        let key = Key::new(&n.to_string()).unwrap();
        store.write(&space, Write::new(key, vec![0; 1_500_000])).await.unwrap();
    }
    let page = store.list(&space, &Query::new()).await.unwrap();
    assert_eq!((page.records.len(), page.next.as_deref()), (3, Some("2")));
    let page = store.list(&space, &Query::new().keys_only()).await.unwrap();
    assert_eq!((page.records.len(), page.next), (6, None));
}

/// What a program or its users call things reaches the server as it is, never as SQL.
async fn st6_no_name_is_a_part_of_a_statement() {
    const HOSTILE: [&str; 14] = [
        "'; DROP TABLE micro.store_record; --",
        "' OR '1'='1",
        "''",
        "\"",
        "\\",
        "\\'; SELECT 1; --",
        "E'\\x27'",
        "$1",
        "$$; DROP SCHEMA micro CASCADE; $$",
        "%",
        "_%",
        "/* */ --",
        "\u{2019}\u{2bc}\u{ff07}",
        "NULL",
    ];
    let lab = Lab::new();
    let process = Process::new();
    let store = process.store(&lab.url(&lab.database().await)).await;
    let (beside, own) = (Space::unbound(), Key::new("beside").unwrap());
    store.write(&beside, Write::new(own.clone(), "here")).await.unwrap();
    for text in HOSTILE {
        let (space, key) = (Space::new(text, text).unwrap(), Key::new(text).unwrap());
        let (value, metadata) = (format!("{text}\0{text}"), [(text.to_owned(), text.to_owned())]);
        let write = Write::new(key.clone(), value.clone()).with_metadata(metadata.clone().into());
        let version = store.write(&space, write).await.unwrap();
        let record = store.read(&space, &key).await.unwrap().unwrap();
        assert_eq!((record.value, record.metadata), (value.into(), metadata.into()), "{text}");
        let query = Query::new().with_prefix(text).with_suffix(text);
        let page = store.list(&space, &query).await.unwrap();
        let keys: Vec<_> = page.records.iter().map(|record| record.key.as_str()).collect();
        assert_eq!(keys, [text]);
        let page = store.list(&space, &Query::new().with_after(text)).await.unwrap();
        assert!(page.records.is_empty(), "{text}");
        store.delete(&space, &key, Some(version)).await.unwrap();
        assert_eq!(store.read(&space, &key).await.unwrap(), None, "{text}");
    }
    // A NUL is in no name, and a question for one finds nothing rather than fails.
    assert_eq!(Key::new("a\0b").unwrap_err().code(), 400);
    assert_eq!(Space::new("a\0b", "t").unwrap_err().code(), 400);
    for query in [Query::new().with_prefix("b\0"), Query::new().with_suffix("\0")] {
        assert!(store.list(&beside, &query).await.unwrap().records.is_empty());
    }
    for (after, found) in [("beside\0", 0), ("b\0eside", 1)] {
        let page = store.list(&beside, &Query::new().with_after(after)).await.unwrap();
        assert_eq!(page.records.len(), found, "{after:?}");
    }
    assert_eq!(store.read(&beside, &own).await.unwrap().unwrap().value, "here");
}

async fn the_user_of_the_url_is_asked_for_a_password() {
    let lab = Lab::new();
    let name = lab.database().await;
    let bare = lab.bare(&name).await;
    bare.batch_execute(&format!(
        "CREATE ROLE ada LOGIN PASSWORD 's@cret'; GRANT CREATE ON DATABASE {name} TO ada"
    ))
    .await
    .unwrap();
    let address = lab.server.address();
    let space = Space::unbound();
    let write = || Write::new(Key::new("a").unwrap(), "x");
    let right = Process::new();
    let store = right.store(&format!("postgres://ada:s%40cret@{address}/{name}")).await;
    store.write(&space, write()).await.unwrap();
    let wrong = Process::new();
    let store = wrong.store(&format!("postgres://ada:hunter2@{address}/{name}")).await;
    let error = store.write(&space, write()).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
    assert!(error.detail().contains("password authentication failed"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    assert!(wrong.drivers.check().is_err() && right.drivers.check().is_ok());
}

async fn a_user_without_rights_to_make_tables_uses_those_there_are() {
    let lab = Lab::new();
    let name = lab.database().await;
    let owner = Process::new();
    let space = Space::unbound();
    let write = || Write::new(Key::new("a").unwrap(), "x");
    owner.store(&lab.url(&name)).await.write(&space, write()).await.unwrap();
    lab.bare(&name)
        .await
        .batch_execute(
            "CREATE ROLE bob LOGIN; GRANT USAGE ON SCHEMA micro TO bob; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA micro TO bob; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA micro TO bob",
        )
        .await
        .unwrap();
    let user = Process::new();
    let store = user.store(&format!("postgres://bob@{}/{name}", lab.server.address())).await;
    store.write(&space, write()).await.unwrap();
    let mut watch = store.watch(&space, "").await.unwrap();
    store.write(&space, write()).await.unwrap();
    let event = clock::timeout(PATIENCE, watch.next()).await.unwrap();
    assert!(matches!(event, Some(Event::Put(_))), "{event:?}");
}
