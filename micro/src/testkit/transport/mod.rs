//! What every transport promises, as claims that it passes or fails by name.
//!
//! ```
//! # use std::sync::Arc;
//! # use micro::testkit::transport::{Subject, conformance};
//! # use micro::transport::Memory;
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(async {
//! conformance(async || {
//!     let (here, nowhere) = ("memory:here".parse()?, "memory:nowhere".parse()?);
//!     Ok(Subject::new(Arc::new(Memory::new()), here, nowhere))
//! })
//! .await
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every message that a claim sends is a JSON text without a line break, so that transports which
//! write what they carry as text can be examined with [`Subject::with_content_type`].

mod calls;
mod dialing;
mod ends;
mod flow;
mod lab;
mod sources;
mod stand;
mod streams;
mod words;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::core::clock;
use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::transport::Transport;

/// How a claim failed; `Ok` if it holds.
pub type Verdict = std::result::Result<(), String>;

/// A transport to be examined, to itself.
#[derive(Debug)]
pub struct Subject {
    /// Serves.
    pub server: Arc<dyn Transport>,
    /// Dials; may be the same.
    pub client: Arc<dyn Transport>,
    /// Where to listen: with port 0, or a name that nobody else uses.
    pub here: Address,
    /// Where nobody listens.
    pub nowhere: Address,
    /// The call kinds that the transport carries; it refuses others with 501.
    pub kinds: Vec<CallKind>,
    /// How messages are said to be encoded.
    pub content_type: ContentType,
    /// What has to happen happens within this time, slow machines included.
    pub patience: Duration,
    /// What does not happen within this time is not going to.
    pub quiet: Duration,
    /// Whatever the transport needs as long as it is examined, such as a directory or a server.
    pub keep: Option<Box<dyn Guard>>,
}

/// Anything that lives as long as a [`Subject`].
pub trait Guard: Any + fmt::Debug + Send + Sync {}

impl<T: Any + fmt::Debug + Send + Sync> Guard for T {}

impl Subject {
    /// Makes a subject that serves and dials by one transport, carries all call kinds, and has a
    /// patience of 20 s and a quiet of 200 ms.
    pub fn new(transport: Arc<dyn Transport>, here: Address, nowhere: Address) -> Self {
        Self {
            server: Arc::clone(&transport),
            client: transport,
            here,
            nowhere,
            kinds: ALL_KINDS.to_vec(),
            content_type: ContentType::MsgPack,
            patience: Duration::from_secs(20),
            quiet: Duration::from_millis(200),
            keep: None,
        }
    }

    /// Serves by another transport than it dials by, as where one port speaks many protocols.
    #[must_use]
    pub fn served_by(mut self, server: Arc<dyn Transport>) -> Self {
        self.server = server;
        self
    }

    /// Replaces the call kinds that are carried.
    #[must_use]
    pub fn with_kinds(mut self, kinds: impl Into<Vec<CallKind>>) -> Self {
        self.kinds = kinds.into();
        self
    }

    /// Replaces what messages are said to be.
    #[must_use]
    pub fn with_content_type(mut self, content_type: ContentType) -> Self {
        self.content_type = content_type;
        self
    }

    /// Keeps something alive as long as the subject.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Guard) -> Self {
        self.keep = Some(Box::new(guard));
        self
    }
}

/// Every call kind.
const ALL_KINDS: [CallKind; 4] =
    [CallKind::Unary, CallKind::ServerStream, CallKind::ClientStream, CallKind::Bidi];

/// A named promise of the trait.
#[derive(Clone, Copy)]
pub struct Claim {
    /// The promise as a sentence without spaces.
    pub name: &'static str,
    /// What has to be carried for the claim to apply.
    needs: CallKind,
    check: for<'a> fn(&'a Subject) -> BoxFuture<'a, Verdict>,
}

impl Claim {
    /// Examines a fresh subject; one that does not carry what the claim is about passes unseen.
    ///
    /// # Errors
    ///
    /// Says what was seen instead of what was promised.
    pub async fn examine(&self, subject: &Subject) -> Verdict {
        if !subject.kinds.contains(&self.needs) {
            return Ok(());
        }
        // Claims wait a few times, each within the patience.
        match clock::timeout(subject.patience.saturating_mul(3), (self.check)(subject)).await {
            Ok(verdict) => verdict,
            Err(_elapsed) => Err("it never ends".to_owned()),
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.name).finish()
    }
}

macro_rules! claims {
    ($($part:ident::$name:ident if $needs:ident,)*) => {
        /// All claims, in the order in which they are examined.
        pub const CLAIMS: &[Claim] = &[$(Claim {
            name: stringify!($name),
            needs: CallKind::$needs,
            check: |subject| Box::pin($part::$name(subject)),
        },)*];
    };
}

claims! {
    dialing::a_bound_address_can_be_dialed if Unary,
    dialing::where_nobody_listens_nothing_runs if Unary,
    dialing::an_address_has_one_listener if Unary,
    dialing::call_kinds_that_are_not_carried_are_refused if Unary,
    calls::a_call_is_answered_at_once_or_later if Unary,
    calls::a_slow_call_holds_up_no_other if Unary,
    calls::many_calls_get_their_own_answers if Unary,
    calls::messages_arrive_byte_for_byte if Unary,
    calls::large_messages_arrive_whole if Unary,
    calls::requests_beyond_the_limit_of_the_server_are_refused if Unary,
    calls::requests_beyond_the_limit_of_the_caller_are_refused if Unary,
    calls::responses_beyond_the_limit_are_refused if Unary,
    streams::responses_arrive_in_order_and_end if ServerStream,
    streams::an_empty_stream_ends if ServerStream,
    streams::responses_come_as_they_are_made if ServerStream,
    streams::requests_are_read_to_their_end if ClientStream,
    streams::requests_that_fail_are_no_clean_end if ClientStream,
    streams::requests_that_break_off_are_no_clean_end if ClientStream,
    streams::both_streams_run_at_a_time if Bidi,
    streams::many_messages_arrive_whole_each_way if Bidi,
    streams::a_response_beyond_the_limit_ends_its_stream_alone if ServerStream,
    words::errors_keep_what_they_say if Unary,
    words::an_unknown_endpoint_is_not_found if Unary,
    words::a_panic_ends_its_own_call_only if Unary,
    words::a_refusal_is_safe_to_repeat if Unary,
    words::an_error_of_a_handler_is_never_safe_to_repeat if Unary,
    words::a_stream_keeps_what_came_before_its_error if ServerStream,
    words::a_stream_that_fails_at_once_says_why if ServerStream,
    words::the_head_arrives_whole if Unary,
    words::metadata_in_any_script_arrives_unchanged if Unary,
    words::a_deadline_ends_the_call_on_both_sides if Unary,
    flow::a_dropped_call_reaches_its_handler if Unary,
    flow::a_dropped_stream_reaches_its_producer if ServerStream,
    flow::a_dropped_call_lets_go_of_its_requests if ClientStream,
    flow::an_answer_ends_the_requests if ClientStream,
    flow::a_stopped_reader_holds_its_producer_and_nobody_else if ServerStream,
    flow::a_handler_that_reads_nothing_holds_its_caller if ClientStream,
    ends::a_server_that_drains_finishes_what_runs_and_takes_no_more if Unary,
    ends::a_connection_that_drains_finishes_what_runs_and_takes_no_more if Unary,
    ends::a_closed_connection_ends_its_calls if Unary,
    ends::a_server_that_closes_leaves_outcomes_unknown if Unary,
    ends::a_server_that_closes_ends_no_stream_cleanly if ServerStream,
    ends::dropped_calls_leave_no_task if Unary,
    ends::dropped_streams_leave_no_task if ServerStream,
    ends::nothing_runs_after_the_end if Unary,
}

/// The claims that a transport failed, each with what was seen.
#[derive(Debug)]
pub struct Failures(Vec<(&'static str, String)>);

impl Failures {
    /// Returns the names of the claims that failed.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().map(|failure| failure.0)
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} claims fail", self.0.len(), CLAIMS.len())?;
        for (name, why) in &self.0 {
            write!(f, "\n  {name}: {why}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failures {}

/// Examines all claims, each on a subject of its own from `make`.
///
/// # Errors
///
/// Lists the claims that failed; a subject that cannot be made fails its claim.
pub async fn conformance(
    make: impl AsyncFn() -> Result<Subject>,
) -> std::result::Result<(), Failures> {
    let mut failures = Vec::new();
    for claim in CLAIMS {
        let verdict = match make().await {
            Ok(subject) => claim.examine(&subject).await,
            Err(error) => Err(format!("there is no subject: {error}")),
        };
        if let Err(why) = verdict {
            failures.push((claim.name, why));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failures(failures)) }
}

/// Turns an error of the transport into a failure that says what was tried.
fn must<T>(what: &str, result: Result<T>) -> std::result::Result<T, String> {
    result.map_err(|error| format!("{what} failed: {error:?}"))
}

/// Fails with `why` unless `holds`.
fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

#[cfg(test)]
mod tests;
