//! The connection: to one member of the cluster at a time, asked now and then whether it is there,
//! and left for the next one when it is not.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::{Notify, mpsc, watch};
use tonic::client::Grpc;
use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::driver::etcd::fault::{self, Effect};
use crate::driver::etcd::messages::{
    AuthenticateRequest, AuthenticateResponse, RangeRequest, RangeResponse, WatchRequest,
    WatchResponse,
};
use crate::driver::etcd::outgoing::Outgoing;
use crate::driver::etcd::{ANSWER_TIMEOUT, ERROR_ID};
use crate::driver::server_url::Server;

/// The longest that a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest that the answer to "are you there" may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two of these questions; a request without an answer puts one at once.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// Pauses between rounds over the members while none answers: short, as a server that returns is
/// waited for by registrations, and one round costs a refused connection.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// The least pause between two rounds, however many ask for one.
const ROUND_PAUSE: Duration = Duration::from_millis(20);
/// The longest that a request waits for a round that is under way.
const SESSION_WAIT: Duration = Duration::from_secs(3);
/// Bytes of an answer that is read; whoever expects more asks for less at a time.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one stream that may come before they are read.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Bytes of all streams that may come before they are read: many watches that are slow for a while
/// hold up no answer.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// What the tasks and the users of a connection share.
pub(super) struct Shared {
    server: Server,
    state: watch::Sender<State>,
    /// Rung when there is reason to look after the server at once.
    doubt: Notify,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    /// Sessions that there were, the present one included.
    sessions: u64,
    /// Rounds over all members in which none answered.
    rounds: u64,
    failure: Option<Error>,
}

/// A member that answered, and as whom it is spoken to.
pub(super) struct Session {
    channel: Channel,
    token: Mutex<Option<AsciiMetadataValue>>,
    /// One gets another token at a time; the others go on with that one.
    logging_in: tokio::sync::Mutex<()>,
}

impl Shared {
    pub(super) fn new(server: Server) -> Self {
        Self { server, state: watch::Sender::default(), doubt: Notify::new() }
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn is_up(&self) -> bool {
        self.state.borrow().session.is_some()
    }

    /// Returns the session; while there is none, waits for the outcome of one round.
    ///
    /// # Errors
    /// 503 that is safe to repeat.
    pub(super) async fn session(&self) -> Result<Arc<Session>> {
        let mut state = self.state.subscribe();
        let seen = {
            let state = state.borrow_and_update();
            if let Some(session) = &state.session {
                return Ok(Arc::clone(session));
            }
            state.rounds
        };
        self.doubt.notify_one();
        let tried = state.wait_for(|state| state.session.is_some() || state.rounds > seen);
        match clock::timeout(SESSION_WAIT, tried).await {
            Ok(Ok(state)) => match (&state.session, &state.failure) {
                (Some(session), _) => Ok(Arc::clone(session)),
                (None, Some(failure)) => Err(failure.clone()),
                (None, None) => Err(self.away()),
            },
            Ok(Err(_)) | Err(_) => Err(self.away()),
        }
    }

    /// Waits until there is a session, however long that takes.
    pub(super) async fn up(&self) -> Arc<Session> {
        let mut state = self.state.subscribe();
        loop {
            if let Ok(state) = state.wait_for(|state| state.session.is_some()).await
                && let Some(session) = &state.session
            {
                return Arc::clone(session);
            }
            // Invariant: the sender is a part of `self`, so the wait ends with a session only.
            std::future::pending::<()>().await;
        }
    }

    /// Waits for a session after the first `seen` ones, and returns how many there were then.
    pub(super) async fn session_after(&self, seen: u64) -> u64 {
        let mut state = self.state.subscribe();
        let is_later = |state: &State| state.session.is_some() && state.sessions > seen;
        match state.wait_for(is_later).await {
            Ok(state) => state.sessions,
            // Invariant: the sender is a part of `self`.
            Err(_) => seen,
        }
    }

    /// Waits until a session is the present one no more.
    pub(super) async fn ended(&self, session: &Arc<Session>) {
        let is_other = |state: &State| {
            !state.session.as_ref().is_some_and(|present| Arc::ptr_eq(present, session))
        };
        // The sender is a part of `self`.
        let _state = self.state.subscribe().wait_for(is_other).await.map(drop);
    }

    /// Has the server looked after at once.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    fn away(&self) -> Error {
        fault::unsent(format_args!("no member of etcd at {} answers", self.server))
    }

    /// Asks one question and waits for its answer.
    ///
    /// # Errors
    /// Those of the server; 503 when it is away, safe to repeat where nothing was sent.
    pub(super) async fn ask<Q, A>(
        &self,
        path: &'static str,
        question: Q,
        effect: Effect,
    ) -> Result<A>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let session = self.session().await?;
        let token = session.token();
        let mut status = match self.once(&session, path, question.clone(), effect).await? {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        if self.server.user().is_some() && fault::is_stale_token(&status) {
            self.log_in(&session, token.as_ref()).await?;
            match self.once(&session, path, question, effect).await? {
                Ok(answer) => return Ok(answer),
                Err(again) => status = again,
            }
        }
        if !fault::is_answer(&status) {
            self.doubt();
        }
        Err(fault::error(path, &status, effect))
    }

    async fn once<Q, A>(
        &self,
        session: &Session,
        path: &'static str,
        question: Q,
        effect: Effect,
    ) -> Result<Result<A, Status>>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let asked = session.unary(path, question);
        clock::timeout(ANSWER_TIMEOUT, asked).await.map_err(|_elapsed| {
            self.doubt();
            fault::late(path, ANSWER_TIMEOUT, effect)
        })
    }

    /// Gets a token for the user, if there is one, instead of `stale`, which stays until then;
    /// where somebody else has got one meanwhile, that one does.
    async fn log_in(&self, session: &Session, stale: Option<&AsciiMetadataValue>) -> Result<()> {
        const PATH: &str = "/etcdserverpb.Auth/Authenticate";
        let (Some(name), Some(password)) = (self.server.user(), self.server.password()) else {
            return Ok(());
        };
        let password = password.expose().clone();
        let question = AuthenticateRequest { name: name.to_owned(), password };
        let authenticate = async {
            let _turn = session.logging_in.lock().await;
            if session.token().as_ref() != stale {
                return Ok(());
            }
            // Whoever asks for a token shows none.
            let stranger = Session::new(session.channel.clone());
            let asked = stranger.unary::<_, AuthenticateResponse>(PATH, question);
            match asked.await {
                Ok(answer) => match answer.token.parse() {
                    Ok(token) => {
                        session.keep_token(Some(token));
                        Ok(())
                    }
                    Err(_unreadable) => Err(Error::internal(ERROR_ID, "etcd gave an odd token")),
                },
                // What needs no user is answered without one.
                Err(status) if status.message().contains("authentication is not enabled") => {
                    session.keep_token(None);
                    Ok(())
                }
                Err(status) => Err(fault::error(PATH, &status, Effect::Reads)),
            }
        };
        match clock::timeout(ANSWER_TIMEOUT, authenticate).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(fault::late(PATH, ANSWER_TIMEOUT, Effect::Reads)),
        }
    }

    /// Keeps a session for as long as it is polled.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut at = 0;
        loop {
            match self.round(&mut at).await {
                Ok(session) => {
                    backoff.reset();
                    tracing::debug!(server = %self.server, member = at, "etcd answers");
                    self.state.send_modify(|state| {
                        (state.session, state.failure) = (Some(Arc::clone(&session)), None);
                        state.sessions = state.sessions.saturating_add(1);
                    });
                    let error = self.look_after(&session).await;
                    tracing::warn!(server = %self.server, %error, "etcd does not answer");
                    self.state.send_modify(|state| {
                        (state.session, state.failure) = (None, Some(error));
                    });
                    at += 1;
                }
                Err(error) => self.state.send_modify(|state| {
                    state.rounds = state.rounds.saturating_add(1);
                    state.failure = Some(error);
                }),
            }
            // Cancel safety: both arms only wait; a ring is kept.
            tokio::select! {
                () = clock::sleep(backoff.next_delay().max(ROUND_PAUSE)) => {}
                () = self.doubt.notified() => clock::sleep(ROUND_PAUSE).await,
            }
        }
    }

    /// Tries every member once, beginning with one, and says which it was.
    async fn round(&self, at: &mut usize) -> Result<Arc<Session>> {
        let members: Vec<_> = self.server.addresses().collect();
        let mut failure = self.away();
        for n in 0..members.len() {
            let member = (*at + n) % members.len().max(1);
            let Some(address) = members.get(member) else { continue };
            match self.dial(address).await {
                Ok(session) => {
                    *at = member;
                    return Ok(session);
                }
                Err(error) => failure = error,
            }
        }
        *at = 0;
        Err(failure)
    }

    async fn dial(&self, address: &str) -> Result<Arc<Session>> {
        let away = |error: &dyn std::fmt::Display| {
            fault::unsent(format_args!("cannot connect to etcd at {address}: {error}"))
        };
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| away(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .tcp_nodelay(true);
        let connected = clock::timeout(CONNECT_TIMEOUT, endpoint.connect()).await;
        let channel = match connected {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(away(&error)),
            Err(_elapsed) => return Err(away(&"it takes too long")),
        };
        let session = Arc::new(Session::new(channel));
        self.log_in(&session, None).await.map_err(|error| {
            let detail = error.detail().to_owned();
            fault::unsent(detail).with_source(error)
        })?;
        self.probe(&session).await?;
        Ok(session)
    }

    /// Returns once the server does not answer.
    async fn look_after(&self, session: &Session) -> Error {
        let mut broken = pin!(session.broken());
        loop {
            // Cancel safety: all arms only wait; `broken` goes on where it was.
            tokio::select! {
                () = &mut broken => {
                    return fault::unsent(format_args!("etcd at {} broke off", self.server));
                }
                () = clock::sleep(PROBE_INTERVAL) => {}
                () = self.doubt.notified() => {}
            }
            if let Err(error) = self.probe(session).await {
                return error;
            }
        }
    }

    /// Asks the member for what it knows by itself, and whether it knows a leader.
    async fn probe(&self, session: &Session) -> Result<()> {
        const PATH: &str = "/etcdserverpb.KV/Range";
        let question = RangeRequest {
            key: Bytes::from_static(b"\0"),
            serializable: true,
            count_only: true,
            limit: 1,
            ..RangeRequest::default()
        };
        let token = session.token();
        let asked = session.unary::<_, RangeResponse>(PATH, question);
        match clock::timeout(PROBE_TIMEOUT, asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) if fault::is_stale_token(&status) && self.server.user().is_some() => {
                self.log_in(session, token.as_ref()).await
            }
            Ok(Err(status)) if fault::is_answer(&status) => Ok(()),
            Ok(Err(status)) => Err(fault::unsent(format_args!(
                "etcd at {} is not there: {}",
                self.server,
                status.message().escape_debug()
            ))),
            Err(_elapsed) => Err(fault::unsent(format_args!(
                "etcd at {} did not answer within {PROBE_TIMEOUT:?}",
                self.server
            ))),
        }
    }
}

impl Session {
    fn new(channel: Channel) -> Self {
        Self { channel, token: Mutex::default(), logging_in: tokio::sync::Mutex::default() }
    }

    /// Waits until the connection breaks, or the member is cut off from its leader: then it ends a
    /// stream on which nothing is said.
    async fn broken(&self) {
        let (_silent, questions) = mpsc::channel::<WatchRequest>(1);
        let opened = self.stream::<_, WatchResponse>("/etcdserverpb.Watch/Watch", questions).await;
        let Ok(mut answers) = opened else { return };
        while let Ok(Some(_)) = answers.message().await {}
    }

    fn keep_token(&self, token: Option<AsciiMetadataValue>) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    fn token(&self) -> Option<AsciiMetadataValue> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        // A member that is cut off from the others says so instead of waiting for them.
        metadata.insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = self.token() {
            metadata.insert("token", token);
        }
        request
    }

    fn client(&self) -> Grpc<Channel> {
        Grpc::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    async fn unary<Q, A>(&self, path: &'static str, question: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut client = self.client();
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let (request, path) = (self.request(question), PathAndQuery::from_static(path));
        let codec = ProstCodec::<Q, A>::default();
        Ok(client.unary(request, path, codec).await?.into_inner())
    }

    /// Opens a stream both ways. The server may say nothing before it has heard something.
    pub(super) async fn stream<Q, A>(
        &self,
        path: &'static str,
        questions: mpsc::Receiver<Q>,
    ) -> Result<Streaming<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut client = self.client();
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let request = self.request(Outgoing::new(questions));
        let codec = ProstCodec::<Q, A>::default();
        let stream = client.streaming(request, PathAndQuery::from_static(path), codec).await?;
        Ok(stream.into_inner())
    }
}
