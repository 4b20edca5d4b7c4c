//! Every bound of the runtime, with its default, its reason and what a breach does.
//!
//! [`Limits`] groups what a service may configure. The constants beside it bound values that have
//! no service to ask: a [`Metadata`] or an [`Error`] is limited wherever it is made.
//!
//! [`Error`]: crate::core::error::Error
//! [`Metadata`]: crate::core::metadata::Metadata

use std::time::Duration;

use crate::core::error::Error;
use crate::core::error::Result;

/// Sum of the bytes of all keys and values of one metadata map (L3); more is a 400.
pub const METADATA_BYTES_MAX: usize = 16 * KIB;
/// Entries of one metadata map (L3); more is a 400.
pub const METADATA_ENTRIES_MAX: usize = 64;
/// Bytes of one metadata key (L3); more is a 400.
pub const METADATA_KEY_BYTES_MAX: usize = 256;
/// Bytes of one metadata value (L3); more is a 400.
pub const METADATA_VALUE_BYTES_MAX: usize = 8 * KIB;
/// A peer whose metadata is this many times over a limit is hostile: its connection is closed.
pub const METADATA_CLOSE_FACTOR: usize = 4;

/// Nesting of arrays and maps in a message (L19): 64, far below what overflows a 2 MiB stack; more
/// is a 400. A codec is a plain function of bytes and has no service to ask.
pub const DECODE_DEPTH_MAX: usize = 64;
/// Values in one message (L19): 1,000,000; more is a 400.
pub const DECODE_ELEMENTS_MAX: usize = 1_000_000;

/// Bytes of an error's id and of its status text; more is cut off.
pub const ERROR_ID_BYTES_MAX: usize = 512;
/// Bytes of an error's detail; more is cut off, so that no peer fills logs with one.
pub const ERROR_DETAIL_BYTES_MAX: usize = 8 * KIB;
/// Bytes of an error's JSON, payload included; longer text is taken for plain text. Holds the
/// longest detail with every byte escaped.
pub const ERROR_DOCUMENT_BYTES_MAX: usize = 64 * KIB;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const MINUTE: Duration = Duration::from_secs(60);

macro_rules! limits {
    ($($(#[$group:meta])* $name:ident {
        $($(#[$doc:meta])* $field:ident: $kind:ty = $default:expr,)*
    })*) => {$(
        $(#[$group])*
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$doc])* pub $field: $kind,)*
        }

        impl $name {
            /// The defaults as a constant.
            pub const DEFAULT: Self = Self { $($field: $default,)* };
        }

        impl Default for $name {
            fn default() -> Self {
                Self::DEFAULT
            }
        }
    )*};
}

limits! {
    /// Every configurable bound, by what it protects.
    ///
    /// ```
    /// use micro::core::limits::Limits;
    ///
    /// let mut limits = Limits::default();
    /// limits.message.bytes_max = 64 * 1024;
    /// assert!(limits.validate().is_ok());
    /// ```
    Limits {
        /// Messages and the frames that carry them.
        message: MessageLimits = MessageLimits::DEFAULT,
        /// Streams within one connection.
        stream: StreamLimits = StreamLimits::DEFAULT,
        /// Connections of a listener or a pool.
        connection: ConnectionLimits = ConnectionLimits::DEFAULT,
        /// Calls, on either side.
        call: CallLimits = CallLimits::DEFAULT,
        /// Retries of a client.
        retry: RetryLimits = RetryLimits::DEFAULT,
        /// Subscriptions and deliveries of a broker.
        broker: BrokerLimits = BrokerLimits::DEFAULT,
        /// Records and leases of a registry.
        registry: RegistryLimits = RegistryLimits::DEFAULT,
        /// Records of a store.
        store: StoreLimits = StoreLimits::DEFAULT,
        /// The phases of a graceful stop.
        shutdown: ShutdownLimits = ShutdownLimits::DEFAULT,
        /// Trace context.
        trace: TraceLimits = TraceLimits::DEFAULT,
        /// What a process remembers and tells of itself.
        debug: DebugLimits = DebugLimits::DEFAULT,
    }

    /// Bounds of messages and frames (L1, L2).
    MessageLimits {
        /// Bytes of a unary message or a stream item, both ways (L1): 4 MiB, as gRPC's. More is a
        /// 413 and a stream reset; the connection stays.
        bytes_max: usize = 4 * MIB,
        /// Bytes of a native frame (L2): 128 KiB, so that a large message never holds up others for
        /// long; at least 64 KiB. Larger messages are fragmented; a longer frame is a connection
        /// error.
        frame_bytes_max: usize = 128 * KIB,
        /// Bytes of an HTTP/2 frame (L2): 16 KiB, the protocol's least. More is a connection error.
        http2_frame_bytes_max: usize = 16 * KIB,
        /// Bytes that all unfinished messages of one connection may hold: 64 MiB, sixteen of the
        /// longest. More closes a native connection, and is a 429 on HTTP, safe to retry.
        reassembly_bytes_max: usize = 64 * MIB,
    }

    /// Bounds of the streams of one connection (L4, L5, L6).
    StreamLimits {
        /// Open streams of a native connection (L4): 1,024. More are refused, safe to retry.
        native_max: usize = 1024,
        /// Open streams of an HTTP/2 connection (L4): 200, as hyper. More are refused.
        http2_max: usize = 200,
        /// Bytes in flight on one stream before its reader grants more: 256 KiB, two frames. The
        /// writer waits; a peer that ignores it is a connection error.
        window_bytes: usize = 256 * KIB,
        /// Names (endpoints, metadata keys) that one native connection interns: 1,024. Further
        /// names are sent in full; a peer that interns more is a connection error.
        interned_names_max: usize = 1024,
        /// Streams that a peer reset before they were accepted (L5): 20, as h2 since the rapid
        /// reset attack. More ends the connection with a goaway.
        pending_accept_resets_max: usize = 20,
        /// Streams that this side reset for the peer's errors (L5): 256. More ends the connection
        /// with a goaway.
        local_error_resets_max: usize = 256,
        /// Data frames without data in a row (L6): 100, as h2. More ends the connection with a
        /// goaway.
        empty_frames_max: usize = 100,
    }

    /// Bounds of connections (L7, L10 to L15, L17, L21).
    ConnectionLimits {
        /// Connections of a listener (L7): 10,000. Past it the longest idle one is closed first,
        /// then accepts are refused.
        total_max: usize = 10_000,
        /// Connections from one off-host IP address (L7): 100. More are refused at accept.
        per_ip_max: usize = 100,
        /// Connections of one account, whatever their protocol (L7): 100. More are refused after
        /// authentication as a 429, safe to retry, and closed.
        per_principal_max: usize = 100,
        /// From TCP accept to the first complete head on HTTP/1, to the complete preface otherwise
        /// (L10): 5 s, so that silent peers hold no slot. Then the connection is closed.
        handshake_timeout: Duration = Duration::from_secs(5),
        /// TLS handshakes of callers that run at a time: 64, since each takes some milliseconds of a
        /// core. Further ones wait, within [`Self::handshake_timeout`].
        tls_handshakes_max: usize = 64,
        /// Reading one request's head on HTTP/1, from its first byte on (L11): 5 s. Then the
        /// connection is closed.
        header_read_timeout: Duration = Duration::from_secs(5),
        /// Reading each [`Self::body_progress_bytes`] of a body (L12): 10 s. Then the stream is
        /// closed; the whole body is bounded by the call's deadline.
        body_progress_timeout: Duration = Duration::from_secs(10),
        /// The least that a body must bring in [`Self::body_progress_timeout`] (L12): 64 KiB, or
        /// its end.
        body_progress_bytes: usize = 64 * KIB,
        /// Without a stream, on the serving side (L13): 5 min. Then closed gracefully.
        server_idle_timeout: Duration = Duration::from_secs(300),
        /// Without a stream, in a client's pool (L13): 4 min, always shorter than the server's, so
        /// that no request is sent into a closing connection.
        client_idle_timeout: Duration = Duration::from_secs(240),
        /// Silence before a ping while streams are open (L14): 10 s.
        keepalive_interval: Duration = Duration::from_secs(10),
        /// Silence before a ping while no stream is open (L14): 60 s.
        keepalive_idle_interval: Duration = MINUTE,
        /// Waiting for a ping's answer (L14): 5 s. Then the connection is dropped.
        keepalive_timeout: Duration = Duration::from_secs(5),
        /// Age of a connection (L15): 30 min, so that clients rebalance and the goaway path is
        /// walked every day. Then a goaway.
        age_max: Duration = Duration::from_secs(30 * 60),
        /// Jitter of [`Self::age_max`] in percent, either way (L15): 10, against herds.
        age_jitter_percent: u32 = 10,
        /// From that goaway to the end of the last stream (L15): 30 s. Then closed.
        age_grace: Duration = Duration::from_secs(30),
        /// Dialing one node (L17): 1 s. Then the next node is tried, safe to retry.
        dial_timeout: Duration = Duration::from_secs(1),
        /// Bytes waiting to be written (L21): 1 MiB. Past it writers wait.
        outbound_bytes_max: usize = MIB,
        /// A write without progress (L21): 10 s. Then the peer is closed as slow.
        write_timeout: Duration = Duration::from_secs(10),
    }

    /// Bounds of calls (L8, L9, L16).
    CallLimits {
        /// Calls being served by the process (L8): 10,000. More wait, then are shed as 429, safe
        /// to retry, with a hint when.
        in_flight_max: usize = 10_000,
        /// Calls being served for one native connection (L8): 1,024. More are refused.
        in_flight_per_connection_max: usize = 1024,
        /// Calls being served for one endpoint (L8): no bound but the process's. More wait, then
        /// are shed.
        in_flight_per_endpoint_max: Option<usize> = None,
        /// Waiting for a slot (L9): 1 s, or [`Self::queue_wait_percent`] of the time left if that
        /// is less. Then a 503, safe to retry.
        queue_wait_max: Duration = Duration::from_secs(1),
        /// Share of the time left that a call may wait for a slot, in percent (L9): 10.
        queue_wait_percent: u32 = 10,
        /// Deadline of a call that names none (L16): 10 s. Then a 408.
        default_timeout: Duration = Duration::from_secs(10),
        /// Longest deadline accepted (L16): 1 h. Longer ones are shortened to it.
        timeout_max: Duration = Duration::from_secs(3600),
    }

    /// Bounds of retries (L18).
    RetryLimits {
        /// Retries of one call after its first try: 2. Then the last error is returned.
        retries_max: u32 = 2,
        /// Retries allowed for each hundred calls: 20, as tower. Past it the last error is
        /// returned, so that retries never multiply an outage.
        budget_percent: u32 = 20,
        /// Retries allowed each second whatever the load: 10, as tower.
        budget_per_second: u32 = 10,
        /// Ceiling of the first pause: 20 ms; it doubles with each retry and each pause is drawn
        /// evenly from zero to the ceiling.
        backoff_base: Duration = Duration::from_millis(20),
        /// Highest ceiling of a pause: 1 s.
        backoff_max: Duration = Duration::from_secs(1),
        /// Longest pause that a peer may ask for: 300 s. Longer ones are shortened to it.
        hint_max: Duration = Duration::from_secs(300),
    }

    /// Bounds of a broker's subscriptions and deliveries (L22, L23).
    BrokerLimits {
        /// Subscriptions of one process: 1,000. More are a 429.
        subscriptions_max: usize = 1000,
        /// Topics of one broker: 10,000. More are a 429.
        topics_max: usize = 10_000,
        /// Messages waiting for one subscription: 1,000. More are refused to the publisher as a
        /// 429, or dropped and counted where the broker has no way to refuse.
        pending_messages_max: usize = 1000,
        /// Bytes waiting for one subscription: 8 MiB. As above.
        pending_bytes_max: usize = 8 * MIB,
        /// Messages handed to a consumer and not yet acknowledged: 256. Delivery pauses.
        unacked_max: usize = 256,
        /// Waiting for an acknowledgement: 30 s. Then the message is delivered again.
        ack_timeout: Duration = Duration::from_secs(30),
        /// Deliveries of one message, the first included: 5. Then it goes to the dead letters.
        deliveries_max: u32 = 5,
    }

    /// Bounds of a registry's records and leases (L25).
    RegistryLimits {
        /// Nodes of one service: 10,000. `memory` refuses more at `register` and `file` refuses
        /// the file; of more that others registered, `local` finds that many and logs it once,
        /// `mdns` keeps 10,000 in all and hears no further ones.
        nodes_per_service_max: usize = 10_000,
        /// Bytes of one node's metadata: 4 KiB. More is refused at `register`.
        node_metadata_bytes_max: usize = 4 * KIB,
        /// Services of one registry: 10,000. `memory` refuses more at `register` and `file`
        /// refuses the file; `local` is bounded by its files, `mdns` lists 1,000.
        services_max: usize = 10_000,
        /// Life of a record without a heartbeat: 15 s, three heartbeats. Then it is dropped.
        ttl: Duration = Duration::from_secs(15),
        /// Pause between heartbeats: 5 s.
        heartbeat_interval: Duration = Duration::from_secs(5),
        /// Jitter of [`Self::heartbeat_interval`] in percent, either way: 20, against herds.
        heartbeat_jitter_percent: u32 = 20,
    }

    /// Bounds of the embedded stores.
    StoreLimits {
        /// Bytes of one value: 4 MiB, a message's. More is a 413.
        value_bytes_max: usize = 4 * MIB,
        /// Records of a store in memory: 1,000,000. More are a 429.
        memory_records_max: usize = 1_000_000,
        /// Bytes of the keys, values and metadata of a store in memory: 256 MiB. More is a 429.
        memory_bytes_max: usize = 256 * MIB,
        /// Writes that wait for the disk: 1,024, at most 65,535. Further ones wait for a place.
        pending_writes_max: usize = 1024,
        /// Bytes of a file that are kept in memory: 64 MiB. More are read again.
        file_cache_bytes_max: usize = 64 * MIB,
    }

    /// The phases of a graceful stop (L28): within 40 s in all, whatever is stuck.
    ShutdownLimits {
        /// Serving on after the registry says draining: at most 5 s; a registry that propagates
        /// faster shortens it. Covers caches that still name this node.
        lame_duck: Duration = Duration::from_secs(5),
        /// Waiting for calls in flight and the tasks they spawned, `before_stop` hooks included:
        /// 25 s beside the lame duck. Then they are cut and counted.
        drain_timeout: Duration = Duration::from_secs(25),
        /// Closing and flushing, event handlers and `after_stop` hooks included: 5 s, and a second
        /// for the hooks whatever came before. Then the rest is dropped and counted.
        close_timeout: Duration = Duration::from_secs(5),
        /// Waiting for cancelled tasks to end: 2 s. Then they are counted and left.
        cancel_timeout: Duration = Duration::from_secs(2),
    }

    /// Bounds of trace context (L30).
    TraceLimits {
        /// Bytes of baggage on a call: 8 KiB, as W3C. Members past it are dropped and counted.
        baggage_bytes_max: usize = 8 * KIB,
        /// Members of baggage on a call: 64. Further ones are dropped and counted.
        baggage_members_max: usize = 64,
    }

    /// Bounds of what a process remembers and tells of itself (L29, L30).
    DebugLimits {
        /// Log records that are kept: 1,024, as go-micro. Older ones are overwritten.
        logs_max: usize = 1024,
        /// Bytes of the message and of all fields of a log record: 4 KiB each. More is cut off.
        log_bytes_max: usize = 4 * KIB,
        /// Readers that follow the log at a time: 16. More are a 429.
        followers_max: usize = 16,
        /// Spans that are kept: 1,024. Older ones are overwritten.
        spans_max: usize = 1024,
        /// Traces a second that begin here, for calls that come without one: 10. Further calls
        /// have no trace unless they bring one; 0 begins none.
        traces_per_second: u32 = 10,
        /// Traces that begin here at once after a time without any: 100.
        traces_burst: u32 = 100,
        /// Panics that are kept with their backtraces: 16. Older ones are overwritten.
        panics_max: usize = 16,
        /// Bytes of a backtrace as text: 32 KiB. More is cut off.
        backtrace_bytes_max: usize = 32 * KIB,
        /// Values of a label of one metric (L30): 1,000. Further ones are counted as `other`.
        label_values_max: usize = 1000,
        /// Questions a second about the inside of the process (L29): 1 in the long run. More are a
        /// 429; questions about its health are not counted.
        questions_per_second: u32 = 1,
        /// Such questions at once after a time without any: 30, so that people and a scraper do
        /// not get in each other's way.
        questions_burst: u32 = 30,
        /// Answers to such questions under way at a time, streams of the log included: 32. More
        /// are a 429.
        answers_max: usize = 32,
        /// Length of a profile (L29): 30 s. More is a 400; one is taken at a time.
        profile_seconds_max: u32 = 30,
        /// Samples a second of a profile: 1,000. More is a 400.
        profile_hertz_max: u32 = 1000,
        /// Bytes of a profile as text: 2 MiB. The rarest stacks are left out and counted.
        profile_bytes_max: usize = 2 * KIB * KIB,
        /// Tasks of which a dump says where they wait: 256.
        dumped_tasks_max: usize = 256,
        /// Spans that wait for their export: 4,096. More are dropped and counted.
        export_queue_max: usize = 4096,
        /// Spans that are exported at once: 512.
        export_batch_max: usize = 512,
        /// How long a span waits for others to be exported with: 1 s.
        export_interval: Duration = Duration::from_secs(1),
        /// Time of one try to export: 5 s.
        export_timeout: Duration = Duration::from_secs(5),
        /// Checks of health: 64. More are a 429.
        checks_max: usize = 64,
        /// Time of a check that brings no limit of its own: 5 s. One that takes longer has failed.
        check_timeout: Duration = Duration::from_secs(5),
        /// How long the outcome of the checks is told again before they run again: 1 s, so that
        /// nobody loads what they check by asking.
        check_interval: Duration = Duration::from_secs(1),
    }
}

impl Limits {
    /// Checks that the bounds fit each other.
    ///
    /// # Errors
    ///
    /// Returns a 400 that names the fields at fault.
    pub fn validate(&self) -> Result<()> {
        let rules = [
            (self.message.bytes_max > 0, "message.bytes_max must not be 0"),
            (
                self.message.frame_bytes_max >= 64 * KIB,
                "message.frame_bytes_max must be 64 KiB or more",
            ),
            (
                self.message.reassembly_bytes_max >= self.message.bytes_max,
                "message.reassembly_bytes_max must hold message.bytes_max",
            ),
            (
                (1..=65_536).contains(&self.stream.native_max),
                "stream.native_max must be 1 to 65,536, the slots of a native connection",
            ),
            (
                self.stream.window_bytes >= self.message.frame_bytes_max,
                "stream.window_bytes must hold message.frame_bytes_max",
            ),
            (
                self.connection.client_idle_timeout < self.connection.server_idle_timeout,
                "connection.client_idle_timeout must be below connection.server_idle_timeout",
            ),
            (
                self.connection.outbound_bytes_max >= self.message.frame_bytes_max,
                "connection.outbound_bytes_max must hold message.frame_bytes_max",
            ),
            (
                self.connection.age_jitter_percent <= 100,
                "connection.age_jitter_percent is over 100",
            ),
            (self.call.in_flight_max > 0, "call.in_flight_max must not be 0"),
            (self.call.queue_wait_percent <= 100, "call.queue_wait_percent is over 100"),
            (
                self.call.default_timeout <= self.call.timeout_max,
                "call.default_timeout must not be above call.timeout_max",
            ),
            (
                self.retry.backoff_base <= self.retry.backoff_max,
                "retry.backoff_base must not be above retry.backoff_max",
            ),
            (self.broker.deliveries_max > 0, "broker.deliveries_max must not be 0"),
            (self.broker.pending_messages_max > 0, "broker.pending_messages_max must not be 0"),
            (
                self.registry.heartbeat_interval < self.registry.ttl,
                "registry.heartbeat_interval must be below registry.ttl",
            ),
            (self.store.pending_writes_max > 0, "store.pending_writes_max must not be 0"),
            (self.debug.logs_max > 0, "debug.logs_max must not be 0"),
            (self.debug.spans_max > 0, "debug.spans_max must not be 0"),
        ];
        let broken: Vec<_> = rules.into_iter().filter(|rule| !rule.0).map(|rule| rule.1).collect();
        if broken.is_empty() {
            return Ok(());
        }
        Err(Error::bad_request("micro.limits", broken.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_each_other() {
        assert!(Limits::default().validate().is_ok());
    }

    #[test]
    fn every_broken_rule_is_named_at_once() {
        let mut limits = Limits::default();
        limits.connection.client_idle_timeout = limits.connection.server_idle_timeout;
        limits.stream.window_bytes = 1;
        let error = limits.validate().unwrap_err();
        assert_eq!(error.code(), 400);
        assert!(error.detail().contains("client_idle_timeout"), "{error}");
        assert!(error.detail().contains("window_bytes"), "{error}");
    }

    /// At the limit, above it and ten times above it.
    #[test]
    fn shares_are_at_most_the_whole() {
        for (percent, fits) in [(0, true), (100, true), (101, false), (1000, false)] {
            let mut limits = Limits::default();
            limits.connection.age_jitter_percent = percent;
            assert_eq!(limits.validate().is_ok(), fits, "a jitter of {percent}");
            let mut limits = Limits::default();
            limits.call.queue_wait_percent = percent;
            assert_eq!(limits.validate().is_ok(), fits, "a wait of {percent}");
        }
    }

    #[test]
    fn the_longest_error_fits_its_document() {
        let worst = "\u{1}".repeat(ERROR_DETAIL_BYTES_MAX);
        let json = Error::internal("\u{1}".repeat(ERROR_ID_BYTES_MAX), worst).to_json();
        assert!(json.len() <= ERROR_DOCUMENT_BYTES_MAX, "{}", json.len());
    }
}
