//! Claims on watches: what is written is told.

use super::{Claim, Subject, Verdict, declare, ensure, key, must, space};
use crate::core::clock;
use crate::core::future::BoxFuture;
use crate::store::{Event, Space, Watch, Write};

declare! {
    async fn a_watch_tells_of_puts_and_deletes_in_order(subject) {
        let Some(mut watch) = begin(subject, "").await? else { return Ok(()) };
        let version = subject.put("w", "1").await?;
        let event = next(subject, &mut watch).await?;
        let told = matches!(&event, Event::Put(r)
            if r.key == "w" && r.value == "1" && r.version == version);
        ensure(told, || format!("a write of `w` is told as {event:?}"))?;
        must("delete", subject.one.delete(&space(), &key("w")?, None).await)?;
        expect(subject, &mut watch, &Event::deleted("w")).await?;
        subject.put("w", "2").await?;
        let event = next(subject, &mut watch).await?;
        let told = matches!(&event, Event::Put(r) if r.value == "2");
        ensure(told, || format!("a write after the delete is told as {event:?}"))
    }

    async fn a_watch_misses_nothing_that_follows_its_beginning(subject) {
        let Some(mut watch) = begin(subject, "").await? else { return Ok(()) };
        for n in 0..100 {
            subject.put(&format!("{n:03}"), "x").await?;
        }
        for n in 0..100 {
            let event = next(subject, &mut watch).await?;
            let wanted = format!("{n:03}");
            let told = event.key() == Some(&wanted);
            ensure(told, || format!("the event of `{wanted}` is {event:?}"))?;
        }
        Ok(())
    }

    async fn a_watch_ends_with_the_last_version(subject) {
        let Some(mut watch) = begin(subject, "").await? else { return Ok(()) };
        for n in 0..50 {
            subject.put("many", &n.to_string()).await?;
        }
        loop {
            match next(subject, &mut watch).await? {
                Event::Put(record) if record.value == "49" => return Ok(()),
                Event::Put(_) => {}
                other => return Err(format!("writes are told as {other:?}")),
            }
        }
    }

    async fn a_watch_tells_only_of_its_prefix_and_its_space(subject) {
        let Some(mut watch) = begin(subject, "a_").await? else { return Ok(()) };
        let elsewhere = must("a space", Space::new("micro", "elsewhere"))?;
        must("write", subject.one.write(&elsewhere, Write::new(key("a_0")?, "x")).await)?;
        for name in ["b", "a", "ab", "a%", "aa_", "a_1", "A_2"] {
            subject.put(name, "x").await?;
        }
        must("delete", subject.one.delete(&space(), &key("b")?, None).await)?;
        must("delete", subject.one.delete(&space(), &key("a_1")?, None).await)?;
        let first = next(subject, &mut watch).await?;
        ensure(first.key() == Some("a_1"), || format!("`a_` is told of {first:?}"))?;
        // Versions between may be left out.
        if first == Event::deleted("a_1") {
            return Ok(());
        }
        expect(subject, &mut watch, &Event::deleted("a_1")).await
    }

    async fn a_refused_write_is_not_told(subject) {
        if !subject.one.capabilities().cas {
            return Ok(());
        }
        subject.put("r", "1").await?;
        let Some(mut watch) = begin(subject, "").await? else { return Ok(()) };
        let write = Write::new(key("r")?, "2").with_condition(crate::store::Condition::Absent);
        let refused = subject.one.write(&space(), write).await;
        ensure(refused.is_err(), || "a write over a record was no conflict".to_owned())?;
        must("delete", subject.one.delete(&space(), &key("none")?, None).await)?;
        subject.put("last", "x").await?;
        let event = next(subject, &mut watch).await?;
        ensure(event.key() == Some("last"), || format!("what did not happen: {event:?}"))
    }

    async fn a_watch_tells_of_a_time_that_is_over(subject) {
        if !subject.one.capabilities().watch_expiry {
            return Ok(());
        }
        let Some(mut watch) = begin(subject, "").await? else { return Ok(()) };
        let write = Write::new(key("e")?, "x").with_ttl(subject.ttl);
        must("write", subject.one.write(&space(), write).await)?;
        let first = next(subject, &mut watch).await?;
        ensure(matches!(first, Event::Put(_)), || format!("a write is told as {first:?}"))?;
        expect(subject, &mut watch, &Event::deleted("e")).await
    }
}

/// Begins a watch, if the backend has them.
async fn begin(subject: &Subject, prefix: &str) -> Result<Option<Watch>, String> {
    if !subject.two.capabilities().watch {
        return Ok(None);
    }
    must("watch", subject.two.watch(&space(), prefix).await).map(Some)
}

/// Waits for an event; a gap is no event, but here nothing overflows.
async fn next(subject: &Subject, watch: &mut Watch) -> Result<Event, String> {
    let waited = clock::timeout(subject.patience, watch.next()).await;
    let event = waited.map_err(|_elapsed| "an event never came".to_owned())?;
    event.ok_or_else(|| "the watch has ended".to_owned())
}

async fn expect(subject: &Subject, watch: &mut Watch, wanted: &Event) -> Verdict {
    let event = next(subject, watch).await?;
    ensure(event == *wanted, || format!("instead of {wanted:?} came {event:?}"))
}
