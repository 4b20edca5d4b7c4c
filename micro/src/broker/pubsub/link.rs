//! The connection to the servers: made in the background, looked after now and then, and made again
//! when they do not answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use google_cloud_auth::credentials::{Builder, CacheableResource, Credentials};
use http::{Extensions, HeaderMap};
use prost::Message;
use tokio::sync::{Notify, Semaphore, watch};
use tonic::Request;
use tonic::metadata::MetadataMap;
use tonic::transport::{ClientTlsConfig, Endpoint};

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result};

use super::ERROR_ID;
use super::calls::{Call, GET_TOPIC, PULL};
use super::config::{PubSubConfig, PubSubEndpoint};
use super::fault;
use super::messages::{Named, PullRequest, PullResponse, Topic};
use super::names::Names;
use super::session::{Session, unary};

/// Google's own servers.
const GOOGLE: &str = "pubsub.googleapis.com";
/// What the credentials of the process have to be good for.
const SCOPE: &str = "https://www.googleapis.com/auth/pubsub";
/// What is asked for to see whether the servers answer; there is none of this name.
const PROBE_TOPIC: &str = "micro-probe";

/// The longest that a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that the answer to "are you there" may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two of these questions; a request without an answer puts one at once.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Pauses between attempts while no server answers.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The least pause between two attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);
/// The server answered for so long that the pauses begin anew.
const STEADY: Duration = Duration::from_secs(10);
/// The longest that a request waits for an attempt that is under way, or for its turn.
const SESSION_WAIT: Duration = Duration::from_secs(3);
/// Questions that wait for their answers, those of waiting subscriptions not counted: below the 100
/// that Google's servers take on one connection, so that none is sent that they do not read.
const ASKED_MAX: usize = 80;
/// Silence on a connection after which its other end is asked by TCP.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Bytes of one answer that may come before they are read.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes of all answers on one connection that may come before they are read.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// What the tasks and the users of a connection share.
pub(super) struct Link {
    endpoint: Endpoint,
    /// None for an emulator.
    credentials: Option<Credentials>,
    /// The name of the topic that is asked for.
    probe: String,
    state: watch::Sender<State>,
    /// Rung when there is reason to look at once whether the servers still answer.
    doubt: Notify,
    asking: Semaphore,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    /// Attempts after which no server answered.
    failures: u64,
    failure: Option<Error>,
}

impl Link {
    /// Makes what [`Self::keep`] connects; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// 412 for what is no address, and for credentials that cannot be read.
    pub(super) fn new(config: &PubSubConfig, names: &Names) -> Result<Self> {
        let (endpoint, credentials) = match &config.endpoint {
            PubSubEndpoint::Google => (tls(GOOGLE)?, Some(credentials()?)),
            PubSubEndpoint::At(host) => (tls(host)?, Some(credentials()?)),
            PubSubEndpoint::Emulator(host) => (endpoint(&format!("http://{host}"))?, None),
        };
        Ok(Self {
            endpoint,
            credentials,
            probe: names.topic(PROBE_TOPIC),
            state: watch::Sender::default(),
            doubt: Notify::new(),
            asking: Semaphore::new(ASKED_MAX),
        })
    }

    pub(super) fn is_up(&self) -> bool {
        self.state.borrow().session.is_some()
    }

    /// Returns the session; while there is none, waits for the outcome of one attempt.
    ///
    /// # Errors
    /// 503 that is safe to repeat.
    async fn session(&self) -> Result<Arc<Session>> {
        let mut state = self.state.subscribe();
        let seen = {
            let state = state.borrow_and_update();
            if let Some(session) = &state.session {
                return Ok(Arc::clone(session));
            }
            state.failures
        };
        let tried = state.wait_for(|state| state.session.is_some() || state.failures > seen);
        match clock::timeout(SESSION_WAIT, tried).await {
            Ok(Ok(state)) => match (&state.session, &state.failure) {
                (Some(session), _) => Ok(Arc::clone(session)),
                (None, Some(failure)) => Err(failure.clone()),
                (None, None) => Err(self.away()),
            },
            Ok(Err(_)) | Err(_) => Err(self.away()),
        }
    }

    /// Waits until a session is the present one no more.
    async fn ended(&self, session: &Arc<Session>) {
        let is_other = |state: &State| {
            !state.session.as_ref().is_some_and(|present| Arc::ptr_eq(present, session))
        };
        // The sender is a part of `self`.
        let _state = self.state.subscribe().wait_for(is_other).await.map(drop);
    }

    fn away(&self) -> Error {
        fault::unsent(format_args!("{self} does not answer"))
    }

    /// Asks one question about the thing of a name and waits for its answer.
    ///
    /// # Errors
    /// Those of the server; 503 when it is away, safe to repeat where nothing was sent.
    pub(super) async fn ask<Q, A>(&self, call: &Call, name: &str, question: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let turn = clock::timeout(SESSION_WAIT, self.asking.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(fault::unsent(format_args!("{ASKED_MAX} questions to pubsub wait")));
        };
        let session = self.session().await?;
        let request = self.request(call, name, question).await?;
        let asked = unary(session.channel(), call, request);
        match clock::timeout(call.patience, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => {
                if !fault::is_answer(&status) {
                    self.doubt.notify_one();
                }
                Err(fault::error(call.path, &status, call.effect))
            }
            Err(_elapsed) => {
                self.doubt.notify_one();
                Err(fault::late(call.path, call.patience, call.effect))
            }
        }
    }

    /// Waits for messages, at most 95 s, and returns up to `most`, or none. `number` tells the
    /// subscriptions of a process apart.
    ///
    /// # Errors
    /// Those of the server; 503 once it is away.
    pub(super) async fn pull(
        &self,
        number: u64,
        subscription: &str,
        most: usize,
    ) -> Result<PullResponse> {
        let session = self.session().await?;
        let max_messages = i32::try_from(most).unwrap_or(i32::MAX);
        let question = PullRequest { subscription: subscription.to_owned(), max_messages };
        let request = self.request(&PULL, subscription, question).await?;
        let asked = clock::timeout(PULL.patience, unary(session.polling(number), &PULL, request));
        tokio::select! {
            biased;
            answered = asked => match answered {
                Ok(Ok(messages)) => Ok(messages),
                // There were none.
                Ok(Err(status)) if status.code() == tonic::Code::DeadlineExceeded => {
                    Ok(PullResponse::default())
                }
                Ok(Err(status)) => {
                    if !fault::is_answer(&status) {
                        self.doubt.notify_one();
                    }
                    Err(fault::error(PULL.path, &status, PULL.effect))
                }
                Err(_elapsed) => {
                    self.doubt.notify_one();
                    Ok(PullResponse::default())
                }
            },
            () = self.ended(&session) => Err(self.away()),
        }
    }

    /// Adds what leads a question to its server, and who asks.
    async fn request<Q>(&self, call: &Call, name: &str, question: Q) -> Result<Request<Q>> {
        let headers = match &self.credentials {
            Some(credentials) => shown(credentials).await?,
            None => HeaderMap::new(),
        };
        let mut metadata = MetadataMap::from_headers(headers);
        let routed = format!("{}={}", call.routed_by, name.replace('%', "%25").replace('/', "%2F"));
        if let Ok(routed) = routed.parse() {
            metadata.insert("x-goog-request-params", routed);
        }
        Ok(Request::from_parts(metadata, Extensions::default(), question))
    }

    /// Keeps a session for as long as it is polled.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        // Progress: each turn waits.
        loop {
            match self.connect().await {
                Ok(session) => {
                    let began = clock::now();
                    tracing::debug!(link = %self, "pubsub answers");
                    self.state.send_modify(|state| {
                        (state.session, state.failure) = (Some(Arc::clone(&session)), None);
                    });
                    let error = self.look_after(&session).await;
                    tracing::warn!(link = %self, %error, "pubsub does not answer");
                    if clock::now() - began >= STEADY {
                        backoff.reset();
                    }
                    self.state.send_modify(|state| {
                        (state.session, state.failure) = (None, Some(error));
                    });
                }
                Err(error) => self.state.send_modify(|state| {
                    state.failures = state.failures.saturating_add(1);
                    state.failure = Some(error);
                }),
            }
            // Whoever asks meanwhile waits for the next attempt, and hastens none.
            clock::sleep(backoff.next_delay().max(ATTEMPT_PAUSE)).await;
        }
    }

    async fn connect(&self) -> Result<Arc<Session>> {
        let channel = match clock::timeout(CONNECT_TIMEOUT, self.endpoint.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => {
                let detail = format!("cannot connect to {self}");
                return Err(fault::unsent(detail).with_source(error));
            }
            Err(_elapsed) => {
                return Err(fault::unsent(format_args!(
                    "cannot connect to {self} within {CONNECT_TIMEOUT:?}"
                )));
            }
        };
        let session = Arc::new(Session::new(self.endpoint.clone(), channel));
        self.probe(&session).await?;
        Ok(session)
    }

    /// Returns once the server does not answer.
    async fn look_after(&self, session: &Session) -> Error {
        loop {
            // Cancel safety: both arms only wait; a ring is kept.
            tokio::select! {
                () = clock::sleep(PROBE_INTERVAL) => {}
                () = self.doubt.notified() => {}
            }
            if let Err(error) = self.probe(session).await {
                return error;
            }
        }
    }

    async fn probe(&self, session: &Session) -> Result<()> {
        let question = Named { name: self.probe.clone() };
        let asked = async {
            let request = self.request(&GET_TOPIC, &self.probe, question).await?;
            Ok(unary::<_, Topic>(session.channel(), &GET_TOPIC, request).await)
        };
        match clock::timeout(PROBE_TIMEOUT, asked).await {
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err(status))) if fault::is_answer(&status) => Ok(()),
            Ok(Ok(Err(status))) => Err(fault::unsent(format_args!(
                "{self} is not there: {}",
                status.message().escape_debug()
            ))),
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => {
                Err(fault::unsent(format_args!("{self} did not answer within {PROBE_TIMEOUT:?}")))
            }
        }
    }
}

/// Shows the address.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pubsub at {}", self.endpoint.uri())
    }
}

fn tls(host: &str) -> Result<Endpoint> {
    let config = ClientTlsConfig::new().with_native_roots();
    endpoint(&format!("https://{host}"))?.tls_config(config).map_err(|error| {
        let detail = "the authorities that this machine trusts cannot be read";
        Error::precondition_failed(ERROR_ID, detail).with_source(error)
    })
}

fn endpoint(url: &str) -> Result<Endpoint> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| {
        let detail = format!("`{}` is no address of pubsub: {error}", url.escape_debug());
        Error::precondition_failed(ERROR_ID, detail)
    })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .tcp_nodelay(true))
}

/// Finds the credentials of the process; tokens are got later.
fn credentials() -> Result<Credentials> {
    Builder::default().with_scopes([SCOPE]).build().map_err(|error| {
        let detail = "the credentials of Google Cloud cannot be read";
        Error::precondition_failed(ERROR_ID, detail).with_source(error)
    })
}

/// Returns the headers that show who asks.
async fn shown(credentials: &Credentials) -> Result<HeaderMap> {
    match clock::timeout(SESSION_WAIT, credentials.headers(Extensions::new())).await {
        Ok(Ok(CacheableResource::New { data, .. })) => Ok(data),
        // Nothing is cached here, so that there always are headers.
        Ok(Ok(CacheableResource::NotModified)) => Ok(HeaderMap::new()),
        Ok(Err(error)) if error.is_transient() => {
            Err(fault::unsent("no token for Google Cloud").with_source(error))
        }
        Ok(Err(error)) => {
            let detail = "Google Cloud gives no token for these credentials";
            Err(Error::unauthorized(ERROR_ID, detail).with_source(error))
        }
        Err(_elapsed) => {
            Err(fault::unsent(format_args!("no token for Google Cloud within {SESSION_WAIT:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks until there is an answer, which there never is.
    async fn ask_on(link: &Link) {
        let question = Named { name: "orders".into() };
        while link.ask::<_, Topic>(&GET_TOPIC, "orders", question.clone()).await.is_err() {}
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_keep_their_pauses_however_many_ask() {
        // Connections are refused: its port is taken, and nobody listens.
        let taken = tokio::net::TcpSocket::new_v4().unwrap();
        taken.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let emulator = PubSubEndpoint::Emulator(taken.local_addr().unwrap().to_string());
        let config = PubSubConfig::new("shop-1").with_endpoint(emulator);
        let link = Arc::new(Link::new(&config, &Names::new("shop-1").unwrap()).unwrap());
        let (mut state, began) = (link.state.subscribe(), clock::now());
        let failed = tokio::select! {
            failed = state.wait_for(|state| state.failures >= 20) => failed.is_ok(),
            () = Arc::clone(&link).keep() => false,
            ((), (), ()) = async { tokio::join!(ask_on(&link), ask_on(&link), ask_on(&link)) } => {
                false
            }
        };
        assert!(failed, "something answers");
        let took = clock::now() - began;
        // With the least pause between any two it is 950 ms.
        assert!(took > Duration::from_secs(2), "20 attempts within {took:?}");
    }
}
