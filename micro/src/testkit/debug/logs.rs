//! Claims about log records that are there.

use super::{Claim, Subject, Verdict, declare, ensure, must};
use crate::core::future::BoxFuture;
use crate::debug::{Level, LogQuery, Record, SpanQuery};

fn all() -> LogQuery {
    LogQuery::default()
}

declare! {
    /// What is not declared is a 501, and what is declared is none.
    async fn capabilities_are_told_truthfully(subject) {
        let (recorder, able) = (&subject.recorder, subject.recorder.capabilities());
        ensure(able == recorder.capabilities(), || "capabilities change".to_owned())?;
        let query = SpanQuery::default();
        let tried = [
            ("logs", able.logs, recorder.logs(&all()).await.map(drop)),
            ("follow", able.follow, recorder.follow(&all()).map(drop)),
            ("spans", able.spans, recorder.spans(&query).await.map(drop)),
        ];
        for (what, declared, tried) in tried {
            let holds = match &tried {
                Ok(()) => declared,
                Err(error) => !declared && error.code() == 501,
            };
            ensure(holds, || format!("{what}: declared is {declared}, and it is {tried:?}"))?;
        }
        Ok(())
    }

    async fn a_record_is_found_whole(subject) {
        if !subject.recorder.capabilities().logs { return Ok(()) }
        let record = Record::new("shop::orders", "paid")
            .with_level(Level::Warn)
            .with_trace("00000000000000000000000000000007")
            .with("order", "7");
        subject.recorder.log(record.clone());
        subject.finds(&all(), &["paid"]).await?;
        let found = must("logs", subject.recorder.logs(&all()).await)?;
        let found = found.into_iter().next().unwrap_or_default();
        let mut wanted = record;
        wanted.seq = found.seq;
        ensure(found == wanted, || format!("{wanted:?} is found as {found:?}"))
    }

    async fn records_are_numbered_and_in_order(subject) {
        if !subject.recorder.capabilities().logs { return Ok(()) }
        subject.log(&["a", "b", "c"]);
        subject.finds(&all(), &["a", "b", "c"]).await?;
        let records = must("logs", subject.recorder.logs(&all()).await)?;
        let numbers: Vec<_> = records.iter().map(|record| record.seq).collect();
        let grow = numbers.is_sorted_by(|one, next| one < next);
        ensure(grow, || format!("the numbers are {numbers:?}"))
    }

    async fn as_many_as_declared_are_kept_and_they_are_the_latest(subject) {
        let able = subject.recorder.capabilities();
        if !able.logs { return Ok(()) }
        let count = able.logs_kept.min(5000) + 3;
        for n in 0..count {
            subject.recorder.log(Record::new("test", n.to_string()));
        }
        let last = (count - 1).to_string();
        subject.finds(&LogQuery::last(1), &[&last]).await?;
        let kept = must("logs", subject.recorder.logs(&all()).await)?.len();
        let wanted = able.logs_kept.min(count);
        ensure(kept >= wanted, || format!("{kept} are kept, {wanted} should be"))
    }

    async fn a_count_is_of_the_latest_that_fit(subject) {
        if !subject.recorder.capabilities().logs { return Ok(()) }
        let log = |level: Level, message: &str| {
            subject.recorder.log(Record::new("test", message).with_level(level));
        };
        log(Level::Error, "a");
        log(Level::Error, "b");
        log(Level::Info, "c");
        subject.finds(&LogQuery::last(1).with_level(Level::Error), &["b"]).await?;
        subject.finds(&LogQuery::last(2), &["b", "c"]).await?;
        subject.finds(&LogQuery::last(9), &["a", "b", "c"]).await
    }

    async fn a_level_selects_what_is_as_grave_or_graver(subject) {
        if !subject.recorder.capabilities().logs { return Ok(()) }
        for level in [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace] {
            subject.recorder.log(Record::new("test", level.as_str()).with_level(level));
        }
        subject.finds(&all().with_level(Level::Error), &["error"]).await?;
        subject.finds(&all().with_level(Level::Info), &["error", "warn", "info"]).await
    }

    async fn a_target_selects_by_its_beginning_and_literally(subject) {
        if !subject.recorder.capabilities().logs { return Ok(()) }
        for target in ["shop", "shop::orders", "my::shop", "sh%p"] {
            subject.recorder.log(Record::new(target, target));
        }
        subject.finds(&all().with_target("shop"), &["shop", "shop::orders"]).await?;
        subject.finds(&all().with_target("sh%"), &["sh%p"]).await
    }

    async fn a_time_selects_what_is_not_older(subject) {
        if !subject.recorder.capabilities().logs { return Ok(()) }
        for at in [10, 20, 30] {
            let mut record = Record::new("test", at.to_string());
            record.timestamp_us = at;
            subject.recorder.log(record);
        }
        subject.finds(&all().since_us(20), &["20", "30"]).await?;
        subject.finds(&all().since_us(31), &[]).await
    }

    async fn a_trace_selects_its_records(subject) {
        if !subject.recorder.capabilities().logs { return Ok(()) }
        subject.log(&["none"]);
        for trace in ["7", "8"] {
            subject.recorder.log(Record::new("test", trace).with_trace(trace));
        }
        subject.finds(&all().with_trace("8"), &["8"]).await?;
        subject.finds(&all().with_trace("9"), &[]).await
    }

    /// F49: whoever reads the log on a terminal is not led astray.
    async fn nothing_in_a_record_acts_on_a_terminal(subject) {
        if !subject.recorder.capabilities().logs { return Ok(()) }
        subject.recorder.log(Record::new("te\u{1b}st", "a\u{1b}[2Jb\nc").with("k", "\u{7}\r"));
        subject.finds(&all(), &["a\\u{1b}[2Jb\\nc"]).await?;
        let records = must("logs", subject.recorder.logs(&all()).await)?;
        let acts = records.iter().any(|record| {
            let values = record.metadata.values();
            values.chain([&record.target]).any(|text| text.chars().any(char::is_control))
        });
        ensure(!acts, || format!("control characters are kept: {records:?}"))
    }
}
