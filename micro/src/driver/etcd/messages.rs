//! The messages of etcd's API that are spoken here, with the numbers of its public protocol.

use std::fmt;

use bytes::Bytes;
use prost::{Message, Oneof};

/// What every answer says of the server.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Header {
    /// The cluster; another one has other data.
    #[prost(uint64, tag = "1")]
    pub(crate) cluster: u64,
    /// The revision of the data at which it was answered.
    #[prost(int64, tag = "3")]
    pub(crate) revision: i64,
}

/// A key with what is under it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    /// The revision of its last change.
    #[prost(int64, tag = "3")]
    pub(crate) mod_revision: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) value: Bytes,
    /// The lease that it ends with; zero without one.
    #[prost(int64, tag = "6")]
    pub(crate) lease: i64,
}

/// Asks for the keys from `key` to before `range_end`, or for one key where that is empty.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) range_end: Bytes,
    #[prost(int64, tag = "3")]
    pub(crate) limit: i64,
    /// The revision of the past to read; zero for the present.
    #[prost(int64, tag = "4")]
    pub(crate) revision: i64,
    /// Whether the member that is asked may answer by what it has.
    #[prost(bool, tag = "7")]
    pub(crate) serializable: bool,
    #[prost(bool, tag = "8")]
    pub(crate) keys_only: bool,
    #[prost(bool, tag = "9")]
    pub(crate) count_only: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    pub(crate) more: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
    #[prost(int64, tag = "3")]
    pub(crate) lease: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct PutResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
}

/// Deletes a key.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct DeleteRangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
}

impl DeleteRangeRequest {
    /// Deletes one key.
    pub(crate) fn key(key: Bytes) -> Self {
        Self { key }
    }
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct DeleteRangeResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
}

/// One step of a transaction.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestOp {
    #[prost(oneof = "Operation", tags = "1, 2, 3")]
    pub(crate) operation: Option<Operation>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Operation {
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    #[prost(message, tag = "2")]
    Put(PutRequest),
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRangeRequest),
}

impl From<Operation> for RequestOp {
    fn from(operation: Operation) -> Self {
        Self { operation: Some(operation) }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResponseOp {
    #[prost(oneof = "Outcome", tags = "1, 2, 3")]
    pub(crate) outcome: Option<Outcome>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Outcome {
    #[prost(message, tag = "1")]
    Range(RangeResponse),
    #[prost(message, tag = "2")]
    Put(PutResponse),
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRangeResponse),
}

/// A condition of a transaction: that a fact of a key equals a value.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Compare {
    /// Which fact: 2 for the revision of its last change, 4 for its lease.
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    key: Bytes,
    #[prost(oneof = "Fact", tags = "6, 8")]
    fact: Option<Fact>,
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
enum Fact {
    #[prost(int64, tag = "6")]
    ModRevision(i64),
    #[prost(int64, tag = "8")]
    Lease(i64),
}

impl Compare {
    /// Demands that a key was last changed at a revision; zero demands that there is no key.
    pub(crate) fn changed_at(key: Bytes, revision: i64) -> Self {
        Self { target: 2, key, fact: Some(Fact::ModRevision(revision)) }
    }

    /// Demands that a key has no lease.
    pub(crate) fn without_lease(key: Bytes) -> Self {
        Self { target: 4, key, fact: Some(Fact::Lease(0)) }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(bool, tag = "2")]
    pub(crate) succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    pub(crate) responses: Vec<ResponseOp>,
}

impl TxnResponse {
    /// Returns the record that the first of its operations has read.
    pub(crate) fn found(self) -> Option<KeyValue> {
        match self.responses.into_iter().next()?.outcome? {
            Outcome::Range(found) => found.kvs.into_iter().next(),
            Outcome::Put(_) | Outcome::DeleteRange(_) => None,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchRequest {
    #[prost(oneof = "Ask", tags = "1")]
    pub(super) ask: Option<Ask>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Ask {
    #[prost(message, tag = "1")]
    Create(WatchCreateRequest),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchCreateRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) range_end: Bytes,
    /// The first revision that is told.
    #[prost(int64, tag = "3")]
    pub(super) start_revision: i64,
    /// Whether the revision is told from time to time without a change.
    #[prost(bool, tag = "4")]
    pub(super) progress_notify: bool,
    /// Whether what is too long for one message may come in several.
    #[prost(bool, tag = "8")]
    pub(super) fragment: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    #[prost(bool, tag = "3")]
    pub(super) created: bool,
    #[prost(bool, tag = "4")]
    pub(super) canceled: bool,
    /// The oldest revision that is left, where an older one was asked for.
    #[prost(int64, tag = "5")]
    pub(super) compact_revision: i64,
    #[prost(string, tag = "6")]
    pub(super) cancel_reason: String,
    /// Whether the next message is a part of this one.
    #[prost(bool, tag = "7")]
    pub(super) fragment: bool,
    #[prost(message, repeated, tag = "11")]
    pub(super) events: Vec<WatchEvent>,
}

/// A change of one key.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchEvent {
    /// 0 for a put, 1 for a delete.
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) kv: Option<KeyValue>,
}

impl WatchEvent {
    /// Returns whether the key is gone; its lease may have ended.
    pub(crate) fn is_delete(&self) -> bool {
        self.kind == 1
    }

    #[cfg(test)]
    pub(crate) fn put(key: &'static str, value: impl Into<Bytes>) -> Self {
        let kv = KeyValue { key: key.into(), value: value.into(), ..KeyValue::default() };
        Self { kind: 0, kv: Some(kv) }
    }

    #[cfg(test)]
    pub(crate) fn delete(key: &'static str) -> Self {
        let kv = KeyValue { key: key.into(), ..KeyValue::default() };
        Self { kind: 1, kv: Some(kv) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct LeaseGrantRequest {
    #[prost(int64, tag = "1")]
    pub(super) ttl: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LeaseGrantResponse {
    #[prost(int64, tag = "2")]
    pub(super) id: i64,
    #[prost(int64, tag = "3")]
    pub(super) ttl: i64,
    #[prost(string, tag = "4")]
    pub(super) error: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct LeaseRevokeRequest {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct LeaseRevokeResponse {}

/// Asks how long a lease has left.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct LeaseTimeToLiveRequest {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct LeaseTimeToLiveResponse {
    /// Whole seconds that are left, rounded down; below zero where there is no such lease.
    #[prost(int64, tag = "3")]
    pub(super) ttl: i64,
    /// Seconds that it has after each renewal.
    #[prost(int64, tag = "4")]
    pub(super) granted: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct LeaseKeepAliveRequest {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct LeaseKeepAliveResponse {
    #[prost(int64, tag = "2")]
    pub(super) id: i64,
    /// Seconds that it lives on; zero where there is none of this id.
    #[prost(int64, tag = "3")]
    pub(super) ttl: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
#[prost(skip_debug)]
pub(super) struct AuthenticateRequest {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) password: String,
}

impl fmt::Debug for AuthenticateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password is a secret.
        f.debug_struct("AuthenticateRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
#[prost(skip_debug)]
pub(super) struct AuthenticateResponse {
    #[prost(string, tag = "2")]
    pub(super) token: String,
}

impl fmt::Debug for AuthenticateResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        f.debug_struct("AuthenticateResponse").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_bytes_of_the_protocol() {
        let range = RangeRequest {
            key: Bytes::from_static(b"a"),
            range_end: Bytes::from_static(b"b"),
            limit: 2,
            revision: 3,
            serializable: true,
            keys_only: true,
            count_only: true,
        };
        let bytes = b"\x0a\x01a\x12\x01b\x18\x02\x20\x03\x38\x01\x40\x01\x48\x01";
        assert_eq!(range.encode_to_vec(), bytes);
        let compare = Compare::changed_at(Bytes::from_static(b"a"), 5);
        assert_eq!(compare.encode_to_vec(), b"\x10\x02\x1a\x01a\x30\x05");
        // Zero is said all the same: it demands that there is no such key.
        let absent = Compare::changed_at(Bytes::from_static(b"a"), 0);
        assert_eq!(absent.encode_to_vec(), b"\x10\x02\x1a\x01a\x30\x00");
        let create = WatchCreateRequest {
            key: Bytes::from_static(b"a"),
            start_revision: 9,
            progress_notify: true,
            fragment: true,
            ..WatchCreateRequest::default()
        };
        let watch = WatchRequest { ask: Some(Ask::Create(create)) };
        assert_eq!(watch.encode_to_vec(), b"\x0a\x09\x0a\x01a\x18\x09\x20\x01\x40\x01");
    }

    #[test]
    fn a19_neither_password_nor_token_is_shown() {
        let (name, password) = ("ada".to_owned(), "hunter2".to_owned());
        let asked = AuthenticateRequest { name, password };
        let shown = format!("{asked:?} {:?}", AuthenticateResponse { token: "hunter2".to_owned() });
        assert!(shown.contains("ada") && !shown.contains("hunter2"), "{shown}");
        assert_eq!(asked.encode_to_vec(), b"\x0a\x03ada\x12\x07hunter2");
    }

    #[test]
    fn what_is_not_spoken_is_skipped() {
        // The header of a real answer, with the member and the term.
        let header = Header::decode(&b"\x08\x07\x10\x08\x18\x09\x20\x02"[..]).unwrap();
        assert_eq!((header.cluster, header.revision), (7, 9));
        // A lease with its header, its number and a key.
        let answer = &b"\x0a\x02\x08\x07\x10\x05\x18\x06\x20\x09\x2a\x01a"[..];
        let lease = LeaseTimeToLiveResponse::decode(answer).unwrap();
        assert_eq!((lease.ttl, lease.granted), (6, 9));
    }
}
