//! Keys: read, written, deleted, and by transactions.

use bytes::Bytes;

use crate::core::error::{Error, Result};
use crate::driver::etcd::fault::{self, Effect};
use crate::driver::etcd::messages::{
    Header, KeyValue, PutRequest, PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use crate::driver::etcd::{ERROR_ID, Etcd};

/// Records that are asked for at a time, at first; fewer where they are long.
const PAGE_RECORDS: i64 = 512;
/// By how much fewer are asked for when an answer was too long.
const PAGE_SHRINK: i64 = 8;
/// Records of one place that are read as a whole; more are a 413.
const WHOLE_RECORDS_MAX: usize = 200_000;
/// Bytes of the records of one place that are read as a whole; more are a 413.
const WHOLE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Times that a place is read again from the start because what was read was compacted.
const WHOLE_TRIES_MAX: u32 = 3;

/// A moment in the history of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) cluster: u64,
    pub(crate) revision: i64,
}

impl Moment {
    /// Returns the moment of an answer.
    pub(crate) fn of(header: Option<Header>) -> Self {
        let header = header.unwrap_or_default();
        Self { cluster: header.cluster, revision: header.revision }
    }
}

/// Keys from one to before another, or a single key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: Bytes,
    /// Empty for a single key, one zero byte for no end.
    pub(crate) end: Bytes,
}

impl Span {
    /// Spans one key.
    pub(crate) fn key(key: impl Into<Bytes>) -> Self {
        Self { start: key.into(), end: Bytes::new() }
    }

    /// Spans all keys that begin with a prefix.
    pub(crate) fn prefix(prefix: &str) -> Self {
        let mut end = prefix.as_bytes().to_vec();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                break;
            }
        }
        if end.is_empty() {
            end.push(0);
        }
        Self { start: Bytes::copy_from_slice(prefix.as_bytes()), end: end.into() }
    }

    /// Leaves out all keys up to and with one.
    pub(crate) fn after(mut self, key: &[u8]) -> Self {
        let mut start = Vec::with_capacity(key.len() + 1);
        start.extend_from_slice(key);
        start.push(0);
        if self.start < start {
            self.start = start.into();
        }
        self
    }

    /// Asks for what it spans.
    pub(crate) fn range(&self) -> RangeRequest {
        let (key, range_end) = (self.start.clone(), self.end.clone());
        RangeRequest { key, range_end, ..RangeRequest::default() }
    }
}

impl Etcd {
    /// Reads keys; with a limit, as many as there are up to it.
    pub(crate) async fn range(&self, question: RangeRequest) -> Result<RangeResponse> {
        self.shared().ask("/etcdserverpb.KV/Range", question, Effect::Reads).await
    }

    /// Writes a key.
    pub(crate) async fn put(&self, question: PutRequest) -> Result<PutResponse> {
        self.shared().ask("/etcdserverpb.KV/Put", question, Effect::Writes).await
    }

    /// Does one thing or another as a condition holds, at once.
    pub(crate) async fn txn(&self, question: TxnRequest) -> Result<TxnResponse> {
        self.shared().ask("/etcdserverpb.KV/Txn", question, Effect::Writes).await
    }

    /// Reads a part of what a question asks for: at most `limit` records, or fewer where they are
    /// too long for one answer.
    pub(crate) async fn page(&self, question: &RangeRequest, limit: i64) -> Result<RangeResponse> {
        let mut limit = limit.clamp(1, PAGE_RECORDS);
        loop {
            let part = RangeRequest { limit, ..question.clone() };
            match self.range(part).await {
                Err(error) if error.code() == 413 && limit > 1 => {
                    limit = (limit / PAGE_SHRINK).max(1);
                }
                answer => return answer,
            }
        }
    }

    /// Reads everything that a span holds, as it was at one moment.
    ///
    /// # Errors
    /// 413 when that is too much.
    pub(crate) async fn whole(
        &self,
        span: &Span,
        serializable: bool,
    ) -> Result<(Vec<KeyValue>, Moment)> {
        for _ in 0..WHOLE_TRIES_MAX {
            match self.whole_once(span, serializable).await {
                // What was to be read on is gone: it is read from the start.
                Err(error) if error.code() == 416 => {}
                outcome => return outcome,
            }
        }
        Err(fault::unsent("etcd compacts faster than its records are read"))
    }

    async fn whole_once(&self, span: &Span, serializable: bool) -> Result<(Vec<KeyValue>, Moment)> {
        let mut question = RangeRequest { serializable, ..span.range() };
        let (mut records, mut bytes, mut moment) = (Vec::new(), 0_usize, None);
        loop {
            let answer = self.page(&question, PAGE_RECORDS).await?;
            let moment = *moment.get_or_insert(Moment::of(answer.header));
            let length = |kv: &KeyValue| kv.key.len().saturating_add(kv.value.len());
            bytes = answer.kvs.iter().map(length).fold(bytes, usize::saturating_add);
            records.extend(answer.kvs);
            if !answer.more {
                return Ok((records, moment));
            }
            if records.len() > WHOLE_RECORDS_MAX || bytes > WHOLE_BYTES_MAX {
                let detail = format!("more records of etcd than are read: {}", records.len());
                return Err(Error::too_large(ERROR_ID, detail));
            }
            let Some(last) = records.last() else { return Ok((records, moment)) };
            question.key = span.clone().after(&last.key).start;
            question.revision = moment.revision;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_spans_what_begins_with_it_and_nothing_else() {
        let span = Span::prefix("/a/");
        assert_eq!((&span.start[..], &span.end[..]), (&b"/a/"[..], &b"/a0"[..]));
        assert_eq!(Span::prefix("").end[..], b"\0"[..]);
        // The last character of a prefix of text has at most the byte 0xbf, so something is left.
        assert_eq!(Span::prefix("a\u{ff}").end[..], b"a\xc3\xc0"[..]);
    }

    #[test]
    fn what_follows_a_key_begins_with_the_next_one() {
        let span = Span::prefix("/a/");
        assert_eq!(span.clone().after(b"/a/b").start[..], b"/a/b\0"[..]);
        assert_eq!(span.clone().after(b"/Z").start, span.start);
    }
}
