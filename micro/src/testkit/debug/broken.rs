//! A recorder with one flaw of choice.

use std::sync::Mutex;

use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::stream::Streaming;
use crate::debug::{
    Capabilities, Level, LogQuery, Memory, Record, Recorder, Span, SpanQuery, unsupported,
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Spans are declared and not there.
    DeclaresSpans,
    /// Facts beside the message are lost.
    ForgetsMetadata,
    /// The latest record is found first.
    Reverses,
    /// Records have no numbers.
    NumbersNothing,
    /// Half as many are kept as declared.
    KeepsHalf,
    /// The count is taken before the filter.
    CountsFirst,
    /// Levels select what is less grave.
    TurnsLevels,
    /// A target may stand anywhere.
    TargetsAnywhere,
    /// Times are not looked at.
    IgnoresTime,
    /// Traces are not looked at.
    IgnoresTraces,
    /// Control characters are kept.
    KeepsControls,
    /// What is there is followed twice.
    FollowsTwice,
    /// A follower begins with what follows.
    FollowsLate,
    /// A follower sees everything.
    FollowsEverything,
    /// A follower that leaves keeps its place.
    LeaksFollowers,
    /// Parents of spans are lost.
    ForgetsParents,
    /// Spans of all traces are found.
    MixesTraces,
    /// The count of spans is of the first.
    CountsTheFirstSpans,
}

#[derive(Debug)]
pub(super) struct Broken {
    memory: Memory,
    flaw: Flaw,
    /// Followers that never leave.
    leaked: Mutex<Vec<Streaming<Record>>>,
}

impl Broken {
    pub(super) fn new(flaw: Flaw) -> Self {
        Self { memory: Memory::new(), flaw, leaked: Mutex::default() }
    }

    fn flawed(&self, query: &LogQuery) -> LogQuery {
        let mut query = query.clone();
        match self.flaw {
            Flaw::IgnoresTime => query.since_us = 0,
            Flaw::IgnoresTraces => query.trace = None,
            Flaw::TargetsAnywhere => query.target.clear(),
            Flaw::TurnsLevels | Flaw::CountsFirst => query.level = None,
            _ => {}
        }
        query
    }
}

impl Recorder for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> Capabilities {
        let mut able = self.memory.capabilities();
        if self.flaw == Flaw::KeepsHalf {
            able.logs_kept *= 2;
        }
        able
    }

    fn log(&self, mut record: Record) {
        if self.flaw == Flaw::ForgetsMetadata {
            record.metadata.clear();
        }
        self.memory.log(record);
    }

    fn span(&self, mut span: Span) {
        if self.flaw == Flaw::ForgetsParents {
            span.parent.clear();
        }
        self.memory.span(span);
    }

    fn logs<'a>(&'a self, query: &'a LogQuery) -> BoxFuture<'a, Result<Vec<Record>>> {
        Box::pin(async move {
            let mut records = self.memory.logs(&self.flawed(query)).await?;
            match self.flaw {
                Flaw::Reverses => records.reverse(),
                Flaw::NumbersNothing => records.iter_mut().for_each(|record| record.seq = 0),
                Flaw::TurnsLevels => {
                    let least = query.level.unwrap_or(Level::Error);
                    records.retain(|record| record.level >= least);
                }
                Flaw::CountsFirst => {
                    records.retain(|record| query.level.is_none_or(|l| record.level <= l));
                }
                Flaw::TargetsAnywhere => {
                    records.retain(|record| record.target.contains(&query.target));
                }
                Flaw::KeepsControls => {
                    for record in &mut records {
                        record.message = record.message.replace("\\u{1b}", "\u{1b}");
                    }
                }
                _ => {}
            }
            Ok(records)
        })
    }

    fn follow(&self, query: &LogQuery) -> Result<Streaming<Record>> {
        let all = LogQuery::default();
        match self.flaw {
            Flaw::FollowsEverything => return self.memory.follow(&all),
            Flaw::LeaksFollowers => self.leaked.lock().unwrap().push(self.memory.follow(query)?),
            Flaw::FollowsLate => {
                return self.memory.follow(&query.clone().since_us(u64::MAX));
            }
            _ => {}
        }
        let follow = self.memory.follow(query)?;
        if self.flaw != Flaw::FollowsTwice {
            return Ok(follow);
        }
        let state = (follow, None::<Record>, true);
        Ok(Streaming::unfold(state, |(mut follow, again, first)| async move {
            if let Some(record) = again {
                return Some((Ok(record), (follow, None, false)));
            }
            let next = follow.next().await?;
            let copy = next.as_ref().ok().cloned().filter(|_| first);
            Some((next, (follow, copy, false)))
        }))
    }

    fn spans<'a>(&'a self, query: &'a SpanQuery) -> BoxFuture<'a, Result<Vec<Span>>> {
        Box::pin(async move {
            if self.flaw == Flaw::DeclaresSpans {
                return Err(unsupported("broken", "spans"));
            }
            let mut query = query.clone();
            if self.flaw == Flaw::MixesTraces {
                query.trace = None;
            }
            let count = query.count;
            if self.flaw == Flaw::CountsTheFirstSpans {
                query.count = 0;
            }
            let mut spans = self.memory.spans(&query).await?;
            if count > 0 {
                spans.truncate(count);
            }
            Ok(spans)
        })
    }
}
