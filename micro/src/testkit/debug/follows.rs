//! Claims about records that are followed.

use super::{Claim, Subject, Verdict, declare, ensure, must};
use crate::core::future::BoxFuture;
use crate::debug::{Level, LogQuery, Record};

/// Far more readers than any backend has places for.
const READERS: usize = 1000;

declare! {
    async fn a_follower_gets_what_is_there_and_what_follows_once(subject) {
        if !subject.recorder.capabilities().follow { return Ok(()) }
        subject.log(&["a", "b"]);
        let mut follow = must("follow", subject.recorder.follow(&LogQuery::default()))?;
        subject.log(&["c"]);
        subject.gives(&mut follow, &["a", "b", "c"]).await?;
        subject.gives_no_more(&mut follow).await?;
        subject.log(&["d"]);
        subject.gives(&mut follow, &["d"]).await
    }

    async fn a_follower_sees_only_what_fits(subject) {
        if !subject.recorder.capabilities().follow { return Ok(()) }
        let query = LogQuery::default().with_level(Level::Warn);
        subject.log(&["quiet"]);
        let mut follow = must("follow", subject.recorder.follow(&query))?;
        subject.log(&["quiet"]);
        subject.recorder.log(Record::new("test", "loud").with_level(Level::Error));
        subject.gives(&mut follow, &["loud"]).await?;
        subject.gives_no_more(&mut follow).await
    }

    /// The count is of what is there; what follows is not counted.
    async fn a_count_bounds_what_is_there_and_not_what_follows(subject) {
        if !subject.recorder.capabilities().follow { return Ok(()) }
        subject.log(&["a", "b", "c"]);
        let mut follow = must("follow", subject.recorder.follow(&LogQuery::last(1)))?;
        subject.log(&["d", "e"]);
        subject.gives(&mut follow, &["c", "d", "e"]).await
    }

    async fn followers_do_not_take_from_each_other(subject) {
        if !subject.recorder.capabilities().follow { return Ok(()) }
        let mut one = must("follow", subject.recorder.follow(&LogQuery::default()))?;
        let mut two = must("follow", subject.recorder.follow(&LogQuery::default()))?;
        subject.log(&["a", "b"]);
        subject.gives(&mut one, &["a", "b"]).await?;
        subject.gives(&mut two, &["a", "b"]).await
    }

    async fn a_follower_that_leaves_makes_room(subject) {
        if !subject.recorder.capabilities().follow { return Ok(()) }
        for n in 0..READERS {
            let follow = must(&format!("follower {n}"), subject.recorder.follow(&LogQuery::last(1)))?;
            drop(follow);
        }
        Ok(())
    }

    async fn followers_are_bounded(subject) {
        if !subject.recorder.capabilities().follow { return Ok(()) }
        let mut followers = Vec::new();
        for _ in 0..READERS {
            match subject.recorder.follow(&LogQuery::default()) {
                Ok(follow) => followers.push(follow),
                Err(error) => {
                    let code = error.code();
                    return ensure(code == 429, || format!("the refusal should be a 429, is {error}"));
                }
            }
        }
        Err(format!("{READERS} may follow at a time"))
    }

    async fn a_follower_that_falls_behind_is_told(subject) {
        let able = subject.recorder.capabilities();
        if !able.follow { return Ok(()) }
        let mut follow = must("follow", subject.recorder.follow(&LogQuery::default()))?;
        let count = able.logs_kept.min(5000) * 3 + 10;
        for n in 0..count {
            subject.recorder.log(Record::new("test", n.to_string()));
        }
        let (last, mut seen, mut told) = ((count - 1).to_string(), 0, false);
        // Progress: each turn takes one of at most `count` records and a note.
        loop {
            let next = crate::core::clock::timeout(subject.patience, follow.next()).await;
            let Ok(Some(Ok(record))) = next else {
                return Err(format!("`{last}` should follow and {next:?} does"));
            };
            told |= record.target == "micro.debug";
            seen += usize::from(record.target == "test");
            if record.message == last {
                break;
            }
        }
        ensure(told || seen == count, || format!("{seen} of {count} came and nobody said so"))
    }
}
