//! Claims on versions: who writes on top of what.

use std::sync::Arc;

use super::{Claim, Subject, Verdict, declare, ensure, key, must, space};
use crate::core::error::Result as CallResult;
use crate::core::future::BoxFuture;
use crate::core::shutdown::TaskTracker;
use crate::store::{Condition, Store, Version, Write, is_conflict};

declare! {
    async fn versions_grow_also_across_deletes(subject) {
        let mut last = subject.put("v", "0").await?;
        for round in 1..6 {
            if round % 2 == 0 {
                must("delete", subject.one.delete(&space(), &key("v")?, None).await)?;
            }
            let version = subject.put("v", "same").await?;
            ensure(version > last, || format!("version {version} follows {last}"))?;
            let read = must("read", subject.one.read(&space(), &key("v")?).await)?;
            let found = read.map(|record| record.version);
            ensure(found == Some(version), || format!("wrote {version} and read {found:?}"))?;
            last = version;
        }
        Ok(())
    }

    async fn a_write_if_absent_happens_only_then(subject) {
        if !subject.one.capabilities().cas {
            return Ok(());
        }
        let once = |value| write(subject, "once", value, Condition::Absent);
        must("the first write", once("1").await)?;
        conflicts("the second write", once("2").await, 409)?;
        subject.becomes("once", Some("1")).await?;
        must("delete", subject.one.delete(&space(), &key("once")?, None).await)?;
        must("a write after the delete", once("3").await)?;
        subject.becomes("once", Some("3")).await
    }

    async fn a_write_by_version_happens_only_on_top_of_it(subject) {
        if !subject.one.capabilities().cas {
            return Ok(());
        }
        let first = subject.put("k", "1").await?;
        let on = |version, value| write(subject, "k", value, Condition::Version(version));
        let second = must("a write on the newest", on(first, "2").await)?;
        conflicts("a write on an old one", on(first, "3").await, 423)?;
        subject.becomes("k", Some("2")).await?;
        must("delete", subject.one.delete(&space(), &key("k")?, None).await)?;
        conflicts("a write on a deleted one", on(second, "4").await, 423)?;
        subject.becomes("k", None).await
    }

    /// The same bytes written again are another version.
    async fn versions_decide_and_not_values(subject) {
        if !subject.one.capabilities().cas {
            return Ok(());
        }
        let first = subject.put("same", "x").await?;
        let second = subject.put("same", "x").await?;
        ensure(first != second, || format!("two writes have the version {first}"))?;
        let stale = write(subject, "same", "x", Condition::Version(first)).await;
        conflicts("a write on an equal value", stale, 423)
    }

    async fn a_delete_by_version_removes_only_that_one(subject) {
        if !subject.one.capabilities().cas {
            return Ok(());
        }
        let first = subject.put("d", "1").await?;
        let second = subject.put("d", "2").await?;
        let delete = async |version| {
            let deleted = subject.one.delete(&space(), &key("d")?, Some(version)).await;
            Ok::<_, String>(deleted.map(|()| version))
        };
        conflicts("a delete of an old version", delete(first).await?, 423)?;
        subject.becomes("d", Some("2")).await?;
        must("a delete of the newest", delete(second).await?)?;
        subject.becomes("d", None).await?;
        conflicts("a delete of nothing", delete(second).await?, 423)
    }

    async fn of_writers_at_once_one_wins(subject) {
        if !subject.one.capabilities().cas {
            return Ok(());
        }
        race(subject, "new", Condition::Absent).await?;
        let version = subject.put("old", "0").await?;
        race(subject, "old", Condition::Version(version)).await
    }

    /// Reading, adding one and writing back by version loses no addition.
    async fn counting_by_version_loses_nothing(subject) {
        if !subject.one.capabilities().cas {
            return Ok(());
        }
        subject.put("count", "0").await?;
        let tasks = TaskTracker::new();
        let counters: Vec<_> = [&subject.one, &subject.two, &subject.one, &subject.two]
            .into_iter()
            .map(|store| tasks.spawn("counter", count(Arc::clone(store), 10)))
            .collect();
        for counter in counters {
            must("a counter", counter.await)??;
        }
        subject.becomes("count", Some("40")).await
    }
}

async fn write(
    subject: &Subject,
    name: &str,
    value: &str,
    condition: Condition,
) -> CallResult<Version> {
    let key = crate::store::Key::new(name)?;
    let write = Write::new(key, value.to_owned()).with_condition(condition);
    subject.one.write(&space(), write).await
}

/// Fails unless the outcome is a conflict of this kind.
fn conflicts(what: &str, outcome: CallResult<Version>, code: u16) -> Verdict {
    match outcome {
        Err(error) if is_conflict(&error) && error.code() == code => Ok(()),
        other => Err(format!("{what} should be the conflict {code} and is {other:?}")),
    }
}

/// Lets many write under one condition; one of them may.
async fn race(subject: &Subject, name: &str, condition: Condition) -> Verdict {
    let tasks = TaskTracker::new();
    let mut racers = Vec::new();
    for n in 0..8 {
        let store = Arc::clone(if n % 2 == 0 { &subject.one } else { &subject.two });
        let write = Write::new(key(name)?, n.to_string()).with_condition(condition);
        racers.push(tasks.spawn("racer", async move {
            store.write(&space(), write).await.map(|_| n.to_string())
        }));
    }
    let (mut won, mut lost) = (Vec::new(), 0);
    for racer in racers {
        match must("a racer", racer.await)? {
            Ok(value) => won.push(value),
            Err(error) if is_conflict(&error) => lost += 1,
            Err(error) => return Err(format!("a racer failed: {error}")),
        }
    }
    ensure(won.len() == 1 && lost == 7, || format!("won: {won:?}, lost: {lost}"))?;
    subject.becomes(name, won.first().map(String::as_str)).await
}

async fn count(store: Arc<dyn Store>, rounds: u32) -> Verdict {
    let key = key("count")?;
    let mut done = 0;
    while done < rounds {
        let record = must("read", store.read(&space(), &key).await)?;
        let Some(record) = record else { return Err("the count is gone".to_owned()) };
        let present: u32 = record.decode().map_err(|error| error.to_string())?;
        let next = Write::new(key.clone(), (present + 1).to_string())
            .with_condition(Condition::Version(record.version));
        match store.write(&space(), next).await {
            Ok(_) => done += 1,
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(format!("counting failed: {error}")),
        }
    }
    Ok(())
}
