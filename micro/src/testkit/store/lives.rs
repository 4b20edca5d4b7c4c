//! Claims on time to live: what is over is never seen.

use std::time::Duration;

use super::{Claim, Subject, Verdict, declare, ensure, key, must, space};
use crate::core::clock;
use crate::core::future::BoxFuture;
use crate::store::{Condition, Query, Version, Write, is_conflict};

declare! {
    async fn a_record_ends_with_its_time(subject) {
        if !subject.one.capabilities().ttl {
            return Ok(());
        }
        mortal(subject, "m", subject.ttl).await?;
        mortal(subject, "n", subject.ttl.saturating_mul(1000)).await?;
        subject.lists(&Query::new(), &["m", "n"]).await?;
        let record = must("read", subject.two.read(&space(), &key("m")?).await)?;
        let left = record.and_then(|record| record.expiry);
        let plausible = left.is_some_and(|left| !left.is_zero() && left <= subject.ttl);
        ensure(plausible, || format!("of {:?} there are left {left:?}", subject.ttl))?;
        pass(subject.ttl).await;
        subject.becomes("m", None).await?;
        subject.lists(&Query::new(), &["n"]).await
    }

    async fn a_rewrite_ends_the_earlier_time(subject) {
        if !subject.one.capabilities().ttl {
            return Ok(());
        }
        mortal(subject, "forever", subject.ttl).await?;
        mortal(subject, "longer", subject.ttl).await?;
        subject.put("forever", "2").await?;
        mortal(subject, "longer", subject.ttl.saturating_mul(1000)).await?;
        pass(subject.ttl).await;
        subject.lists(&Query::new(), &["forever", "longer"]).await?;
        let record = must("read", subject.one.read(&space(), &key("forever")?).await)?;
        let endless = record.as_ref().is_some_and(|record| record.expiry.is_none());
        ensure(endless, || format!("a record without an end is {record:?}"))
    }

    async fn a_record_whose_time_is_over_is_absent_for_conditions(subject) {
        let declared = subject.one.capabilities();
        if !declared.ttl || !declared.cas {
            return Ok(());
        }
        let old = mortal(subject, "c", subject.ttl).await?;
        pass(subject.ttl).await;
        let on = |condition| key("c").map(|key| Write::new(key, "2").with_condition(condition));
        let stale = subject.one.write(&space(), on(Condition::Version(old))?).await;
        let conflict = stale.as_ref().is_err_and(is_conflict);
        ensure(conflict, || format!("a write on what is over returns {stale:?}"))?;
        let fresh = must("absent", subject.one.write(&space(), on(Condition::Absent)?).await)?;
        ensure(fresh > old, || format!("version {fresh} follows {old}"))?;
        subject.becomes("c", Some("2")).await
    }

    async fn the_longest_time_is_no_error(subject) {
        if !subject.one.capabilities().ttl {
            return Ok(());
        }
        for ttl in [Duration::from_secs(10 * 365 * 24 * 3600), Duration::MAX] {
            mortal(subject, "l", ttl).await?;
            subject.becomes("l", Some("mortal")).await?;
        }
        Ok(())
    }
}

async fn mortal(subject: &Subject, name: &str, ttl: Duration) -> Result<Version, String> {
    let write = Write::new(key(name)?, "mortal").with_ttl(ttl);
    must("a write with a time to live", subject.one.write(&space(), write).await)
}

/// Waits until a time to live is over, with a little of it for the backend's clock.
pub(super) async fn pass(ttl: Duration) {
    clock::sleep(ttl.saturating_add(ttl / 8)).await;
}
