//! Claims on single records: what is written is read, and nothing else.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Claim, Subject, Verdict, declare, ensure, key, must, refused, space};
use crate::core::error::Error;
use crate::core::future::BoxFuture;
use crate::store::{Condition, KEY_BYTES_MAX, METADATA_BYTES_MAX, Query, Space, Write};

declare! {
    /// What is declared works and what is not returns `Unsupported`.
    async fn capabilities_are_told_truthfully(subject) {
        let (store, space) = (&subject.one, space());
        let declared = store.capabilities();
        let plain = || key("declared").map(|key| Write::new(key, "x"));
        let mortal = plain()?.with_ttl(subject.ttl);
        let careful = plain()?.with_condition(Condition::Absent);
        let checks = [
            ("watch", declared.watch, store.watch(&space, "").await.map(drop)),
            ("cas", declared.cas, store.write(&space, careful).await.map(drop)),
            ("ttl", declared.ttl, store.write(&space, mortal).await.map(drop)),
        ];
        for (what, works, outcome) in checks {
            let code = outcome.as_ref().map_or_else(Error::code, |()| 200);
            ensure(code == if works { 200 } else { 501 }, || {
                format!("{what} is declared as {works} and returns {outcome:?}")
            })?;
        }
        ensure(!store.name().is_empty(), || "the backend has no name".to_owned())?;
        ensure(declared == store.capabilities(), || "capabilities change".to_owned())
    }

    async fn a_written_record_is_read_whole(subject) {
        let value: Bytes = (0..=255).collect::<Vec<u8>>().into();
        let metadata = BTreeMap::from([
            ("content-type".to_owned(), "application/x; a=\"b\"".to_owned()),
            ("na\u{efef}me".to_owned(), String::new()),
        ]);
        let write = Write::new(key("whole")?, value.clone()).with_metadata(metadata.clone());
        let version = must("write", subject.one.write(&space(), write).await)?;
        for store in [&subject.one, &subject.two] {
            let record = must("read", store.read(&space(), &key("whole")?).await)?;
            let Some(record) = record else { return Err("the record is not there".to_owned()) };
            let seen = (record.key.as_str(), &record.value, &record.metadata, record.version);
            ensure(seen == ("whole", &value, &metadata, version), || format!("read {record:?}"))?;
            ensure(record.expiry.is_none(), || format!("it ends in {:?}", record.expiry))?;
        }
        Ok(())
    }

    async fn an_empty_value_is_a_value(subject) {
        subject.put("empty", "").await?;
        subject.becomes("empty", Some("")).await
    }

    async fn long_values_survive(subject) {
        let length = subject.one.capabilities().value_bytes_max.min(1024 * 1024);
        let value: Bytes = std::iter::repeat_n(0xa7, length).collect::<Vec<u8>>().into();
        let write = Write::new(key("long")?, value.clone());
        must("write", subject.one.write(&space(), write).await)?;
        let record = must("read", subject.one.read(&space(), &key("long")?).await)?;
        let same = record.as_ref().is_some_and(|record| record.value == value);
        ensure(same, || format!("wrote {length} bytes and read {record:?}"))
    }

    async fn what_cannot_be_kept_is_refused(subject) {
        let max = subject.one.capabilities().value_bytes_max;
        let long = Write::new(key("long")?, vec![0; max.saturating_add(1)]);
        refused("a value that is too long", 413, subject.one.write(&space(), long).await)?;
        let metadata = BTreeMap::from([("a".to_owned(), "x".repeat(METADATA_BYTES_MAX))]);
        let wide = Write::new(key("wide")?, "x").with_metadata(metadata);
        refused("too much metadata", 400, subject.one.write(&space(), wide).await)?;
        let dead = Write::new(key("dead")?, "x").with_ttl(std::time::Duration::ZERO);
        refused("no time to live", 400, subject.one.write(&space(), dead).await)?;
        subject.lists(&Query::new(), &[]).await
    }

    async fn an_absent_record_is_nothing_and_no_error(subject) {
        subject.becomes("none", None).await?;
        must("delete of nothing", subject.one.delete(&space(), &key("none")?, None).await)?;
        subject.lists(&Query::new(), &[]).await
    }

    async fn a_write_replaces_the_whole_record(subject) {
        let metadata = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let first = Write::new(key("k")?, "first, and longer").with_metadata(metadata);
        must("write", subject.one.write(&space(), first).await)?;
        subject.put("k", "second").await?;
        let record = must("read", subject.one.read(&space(), &key("k")?).await)?;
        let whole = |value: &[u8], empty| value == b"second" && empty;
        let replaced = record.as_ref().is_some_and(|r| whole(&r.value, r.metadata.is_empty()));
        ensure(replaced, || format!("after a second write it is {record:?}"))
    }

    async fn a_deleted_record_is_gone_and_its_neighbours_stay(subject) {
        for name in ["a", "ab", "a/b", "b"] {
            subject.put(name, name).await?;
        }
        must("delete", subject.one.delete(&space(), &key("a")?, None).await)?;
        subject.becomes("a", None).await?;
        subject.lists(&Query::new(), &["a/b", "ab", "b"]).await
    }

    /// A database, a table and a key are three, however they run together.
    async fn spaces_do_not_mix(subject) {
        let places = [
            ("a", "bc", "d"), ("ab", "c", "d"), ("a", "b", "cd"), ("a/b", "c", "d"),
            ("a", "b/c", "d"), ("a", "b", "c/d"), ("A", "bc", "d"), ("a:b", "c", "d"),
            ("a", "b:c", "d"), ("..", "bc", "d"), ("a", "..", "d"), ("a.b", "c", "d"),
            ("a", "b", "../bc/d"), ("%61", "bc", "d"), ("*", "*", "d"),
        ];
        let at = |database, table| must("a space", Space::new(database, table));
        for (database, table, name) in places {
            let value = format!("{database}|{table}|{name}");
            let write = Write::new(key(name)?, value);
            must("write", subject.one.write(&at(database, table)?, write).await)?;
        }
        for (database, table, name) in places {
            let space = at(database, table)?;
            let record = must("read", subject.one.read(&space, &key(name)?).await)?;
            let wanted = format!("{database}|{table}|{name}");
            let same = record.as_ref().is_some_and(|record| record.value == wanted);
            ensure(same, || format!("{space:?} should hold {wanted} and holds {record:?}"))?;
            let page = must("list", subject.one.list(&space, &Query::new()).await)?;
            let shared = usize::from((database, table) == ("a", "b")) * 2;
            ensure(page.records.len() == 1 + shared, || format!("{space:?} lists {page:?}"))?;
        }
        must("delete", subject.one.delete(&at("a", "bc")?, &key("d")?, None).await)?;
        let other = must("read", subject.one.read(&at("ab", "c")?, &key("d")?).await)?;
        ensure(other.is_some(), || "a delete reached another space".to_owned())
    }

    async fn odd_keys_survive(subject) {
        let longest = "\u{e9}".repeat(KEY_BYTES_MAX / 2);
        let names = [
            ".", "..", "../x", "/", "a/", "/a", "a//b", "%", "%2f", "_", "*", "?", "[a]", "a b",
            " ", "a.b", ">", "A", "a", "\u{1f980}", "\u{e9}", "e\u{301}", "'; --", "\\", "\"", "~",
            longest.as_str(),
        ];
        for name in names {
            subject.put(name, name).await?;
        }
        for name in names {
            subject.becomes(name, Some(name)).await?;
        }
        let mut sorted = names;
        sorted.sort_unstable();
        subject.lists(&Query::new(), &sorted).await
    }

    async fn every_reader_sees_a_write_that_has_returned(subject) {
        for round in 0..20 {
            let value = round.to_string();
            subject.put("seen", &value).await?;
            subject.becomes("seen", Some(&value)).await?;
        }
        Ok(())
    }
}
