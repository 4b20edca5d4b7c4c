//! One HTTP connection, from its first byte to its end.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::limits::{ConnectionLimits, METADATA_BYTES_MAX, METADATA_CLOSE_FACTOR};
use crate::core::net::Prefixed;
use crate::core::shutdown::TaskTracker;
use crate::server::http::face::{Face, Peer};
#[cfg(feature = "mucp")]
use crate::server::http::mucp::Handed;
use crate::server::http::paced::Paced;
use crate::server::http::reply::{self, Reply};
use crate::server::http::sound;
use crate::server::listen::LINGER;
use crate::server::roster::{Busy, Order, Seat};

/// Bytes of one connection's read buffer, and so of one head: hostile peers get no more.
const HEAD_BYTES_MAX: usize = METADATA_BYTES_MAX * METADATA_CLOSE_FACTOR;

/// How long the rest of a request is read and dropped after its response, since closing a
/// connection with unread bytes destroys what was sent on it.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(1);

/// Space for reading what is dropped.
const DISCARD_BYTES: usize = 8 * 1024;

impl Face {
    /// Runs an HTTP/1 connection.
    pub(crate) async fn serve_http1(self: &Arc<Self>, stream: Prefixed, peer: Peer) {
        let limits = &self.site.router.limits.connection;
        let seat = Arc::clone(&peer.seat);
        let (face, peer) = (Arc::clone(self), Arc::new(peer));
        #[cfg(feature = "mucp")]
        let handed = Arc::new(Handed::default());
        #[cfg(feature = "mucp")]
        let hands = Arc::clone(&handed);
        let service = service_fn(move |request: Request<Incoming>| {
            let (face, peer) = (Arc::clone(&face), Arc::clone(&peer));
            #[cfg(feature = "mucp")]
            let hands = Arc::clone(&hands);
            async move {
                #[cfg_attr(
                    not(feature = "mucp"),
                    expect(unused_mut, reason = "nothing takes over")
                )]
                let mut response = face.respond(&peer, request, true).await;
                #[cfg(feature = "mucp")]
                hands.check(&mut response).await;
                Ok::<_, Infallible>(response)
            }
        });
        let io = TokioIo::new(Paced::new(stream, Arc::clone(&seat), limits.write_timeout));
        let mut builder = http1::Builder::new();
        // The head's time is watched here without a timer for each request; the number of headers
        // stays at hyper's 100, for which it needs no memory of its own.
        builder.header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX);
        let mut connection = builder.serve_connection(io, service).with_upgrades();
        let watch = Watch::new(limits, Some(seat.since));
        let driving = drive(&mut connection, |c| c.graceful_shutdown(), &seat, watch);
        #[cfg(not(feature = "mucp"))]
        driving.await;
        #[cfg(feature = "mucp")]
        tokio::select! {
            biased;
            () = driving => {}
            () = handed.given() => {}
        }
        #[cfg(feature = "mucp")]
        if let Some(speak) = handed.take() {
            // The request is over for hyper; what it read beyond goes along.
            if let Some(parts) = connection.into_parts() {
                speak(parts.io.into_inner(), parts.read_buf).await;
            }
            return;
        }
        let unread = seat.unread.load(Ordering::Relaxed);
        // What is left of the connection is dropped before its stream is waited for.
        let rest = connection.into_parts().filter(|_| unread);
        if let Some(parts) = rest {
            discard(parts.io.into_inner()).await;
        }
        if seat.is_upgraded() {
            // The connection is its new holder's; it counts until that lets it go.
            seat.released().await;
        }
    }

    /// Runs an HTTP/2 connection.
    pub(crate) async fn serve_http2(self: &Arc<Self>, stream: Prefixed, peer: Peer) {
        let limits = &self.site.router.limits;
        let seat = Arc::clone(&peer.seat);
        let (face, peer) = (Arc::clone(self), Arc::new(peer));
        let service = service_fn(move |request: Request<Incoming>| {
            let (face, peer) = (Arc::clone(&face), Arc::clone(&peer));
            async move { Ok::<_, Infallible>(face.respond(&peer, request, false).await) }
        });
        let write_timeout = limits.connection.write_timeout;
        let io = TokioIo::new(Paced::new(stream, Arc::clone(&seat), write_timeout));
        let mut builder = http2::Builder::new(Owner(self.site.router.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(saturated(limits.stream.http2_max))
            .max_frame_size(saturated(limits.message.http2_frame_bytes_max))
            .max_header_list_size(saturated(METADATA_BYTES_MAX))
            .max_pending_accept_reset_streams(limits.stream.pending_accept_resets_max)
            .max_local_error_reset_streams(limits.stream.local_error_resets_max)
            .initial_stream_window_size(saturated(limits.stream.window_bytes))
            .initial_connection_window_size(saturated(limits.connection.outbound_bytes_max))
            .keep_alive_interval(limits.connection.keepalive_interval)
            .keep_alive_timeout(limits.connection.keepalive_timeout);
        let mut connection = builder.serve_connection(io, service);
        let watch = Watch::new(&limits.connection, None);
        drive(&mut connection, |c| c.graceful_shutdown(), &seat, watch).await;
    }

    /// Answers a request; a panic on the way is a 500 for it alone.
    async fn respond(
        &self,
        peer: &Arc<Peer>,
        request: Request<Incoming>,
        http1: bool,
    ) -> Response<Reply> {
        let busy = peer.seat.begin();
        // Until the body has been read the connection must not be closed abruptly.
        peer.seat.unread.store(!request.body().is_end_stream(), Ordering::Relaxed);
        if let Some(error) = sound::fault(&request) {
            return refused(&error, http1, busy);
        }
        let upgrade = Upgrade::of(&request);
        let mut answer = pin!(self.answer(peer, request));
        let mut response = std::future::poll_fn(|task| {
            // The future is never polled again after it unwound, so no broken state is seen.
            match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(task))) {
                Ok(polled) => polled,
                Err(_) => Poll::Ready(panicked()),
            }
        })
        .await;
        if http1 && upgrade.is_done(response.status()) {
            peer.seat.set_upgraded();
        } else if http1 && (upgrade == Upgrade::Tunnel || peer.seat.order() != Order::Serve) {
            // What follows a tunnel that was refused may be meant for its other end.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.body_mut().hold(busy);
        response
    }
}

/// Which answer turns the connection of a request into something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upgrade {
    Never,
    /// A change of protocols, as a WebSocket asks for.
    Switch,
    /// A tunnel, opened by any success.
    Tunnel,
}

impl Upgrade {
    fn of<B>(request: &Request<B>) -> Self {
        match request.method() {
            &Method::CONNECT => Self::Tunnel,
            _ if request.headers().contains_key(UPGRADE) => Self::Switch,
            _ => Self::Never,
        }
    }

    fn is_done(self, status: StatusCode) -> bool {
        match self {
            Self::Never => false,
            Self::Switch => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Tunnel => status.is_success(),
        }
    }
}

/// Answers what could be read in two ways; the rest of an HTTP/1 connection is not read at all.
#[cold]
fn refused(error: &Error, http1: bool, busy: Busy) -> Response<Reply> {
    let mut response = reply::error(error);
    if http1 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.body_mut().hold(busy);
    response
}

#[cold]
fn panicked() -> Response<Reply> {
    tracing::error!("a route, layer or policy panicked");
    reply::error(&Error::internal("micro.server", "a route, layer or policy panicked"))
}

fn saturated(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Runs a connection until it ends, is told to, or breaks its time limits.
pub(in crate::server) async fn drive<C: Future + Unpin>(
    connection: &mut C,
    graceful: impl Fn(Pin<&mut C>),
    seat: &Seat,
    mut watch: Watch,
) {
    // An order that came while the peer greeted was heard there and is not told again.
    watch.told(seat, clock::now());
    let mut timer = pin!(clock::sleep_until(watch.next));
    loop {
        tokio::select! {
            biased;
            // What went wrong between the peer and hyper concerns nobody else.
            _ended = &mut *connection => return,
            () = seat.told() => watch.told(seat, clock::now()),
            () = &mut timer => watch.tick(seat, clock::now()),
        }
        match watch.verdict {
            Verdict::Serve => {}
            Verdict::Finish => graceful(Pin::new(&mut *connection)),
            Verdict::Close => return,
        }
        timer.as_mut().reset(watch.next);
    }
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Serve,
    /// Finish the requests there are, then end.
    Finish,
    Close,
}

/// Holds a connection against its time limits with one timer, whatever the requests.
#[derive(Debug)]
pub(in crate::server) struct Watch {
    limits: ConnectionLimits,
    /// When the connection was accepted, if the heads of its requests are watched.
    heads_since: Option<Instant>,
    tick: Duration,
    next: Instant,
    old_at: Instant,
    finish_at: Option<Instant>,
    close_at: Option<Instant>,
    verdict: Verdict,
    requests: usize,
    idle_since: Instant,
}

impl Watch {
    pub(in crate::server) fn new(limits: &ConnectionLimits, heads_since: Option<Instant>) -> Self {
        let now = clock::now();
        // A head that begins after a tick is seen by the next one before its time is over.
        let tick = limits.header_read_timeout.min(limits.server_idle_timeout) / 2;
        let tick_at = clock::after(now, tick);
        let spread = limits.age_max / 100 * limits.age_jitter_percent;
        let jitter = spread.mul_f64(fastrand::f64() * 2.0);
        Self {
            limits: limits.clone(),
            heads_since,
            tick,
            next: heads_since.map_or(tick_at, |since| {
                clock::after(since, limits.handshake_timeout).min(tick_at)
            }),
            old_at: clock::after(now, limits.age_max.saturating_sub(spread) + jitter),
            finish_at: None,
            close_at: None,
            verdict: Verdict::Serve,
            requests: 0,
            idle_since: now,
        }
    }

    /// Follows an order.
    fn told(&mut self, seat: &Seat, now: Instant) {
        match seat.order() {
            Order::Serve => {}
            // HTTP/2 says goodbye at once and loses nothing, unless it has not shaken hands yet; on
            // HTTP/1 a request may be on its way.
            Order::Drain if self.heads_since.is_none() && seat.requests() > 0 => {
                self.verdict = Verdict::Finish;
            }
            Order::Drain => {
                self.finish_at = Some(clock::after(now, LINGER));
                self.next = self.next.min(clock::after(now, LINGER));
            }
            Order::Close => self.verdict = Verdict::Close,
        }
    }

    /// Takes stock.
    fn tick(&mut self, seat: &Seat, now: Instant) {
        let idle = self.idle(seat, now);
        if seat.is_active() {
            // A handler that reads nothing of its request holds up the reader of the connection.
            seat.ask_to_probe();
        }
        let head = self.head_until(seat);
        if head.is_some_and(|at| now >= at) || self.close_at.is_some_and(|at| now >= at) {
            self.verdict = Verdict::Close;
        } else if self.finish_at.is_some_and(|at| now >= at) {
            self.verdict = Verdict::Finish;
            self.finish_at = None;
        } else if self.close_at.is_none()
            && (now >= self.old_at || idle >= self.limits.server_idle_timeout)
        {
            self.verdict = Verdict::Finish;
            self.close_at = Some(clock::after(now, self.limits.age_grace));
        } else {
            self.verdict = Verdict::Serve;
        }
        let sooner = [head, self.finish_at, self.close_at].into_iter().flatten();
        self.next = sooner.fold(clock::after(now, self.tick), Instant::min);
    }

    /// Returns when the head that is on its way has to be complete; the first one with the
    /// handshake.
    fn head_until(&self, seat: &Seat) -> Option<Instant> {
        let accepted = self.heads_since.filter(|_| !seat.is_active())?;
        if seat.requests() == 0 {
            return Some(clock::after(accepted, self.limits.handshake_timeout));
        }
        seat.head_since().map(|since| clock::after(since, self.limits.header_read_timeout))
    }

    /// Returns for how long there has been no request, to a tick.
    fn idle(&mut self, seat: &Seat, now: Instant) -> Duration {
        let requests = seat.requests();
        if seat.is_active() || requests != self.requests {
            self.idle_since = now;
        }
        self.requests = requests;
        let idle = now.saturating_duration_since(self.idle_since);
        seat.set_idle(idle);
        idle
    }
}

/// Reads and drops what the peer still sends, for a while.
async fn discard(mut stream: Paced) {
    let all = async {
        let mut buffer = vec![0; DISCARD_BYTES];
        while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
    };
    let _done = clock::timeout(UNREAD_TIMEOUT, all).await;
}

/// Gives the tasks of HTTP/2 streams to the owner of all tasks.
#[derive(Clone, Debug)]
struct Owner(TaskTracker);

impl<F> hyper::rt::Executor<F> for Owner
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("http2", future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::limits::Limits;

    /// Without jitter, with the default, and with the most there may be.
    #[tokio::test(start_paused = true)]
    async fn l15_ages_spread_as_far_as_the_jitter_and_no_further() {
        fastrand::seed(15);
        let began = clock::now();
        for percent in [0, 10, 100] {
            let mut limits = Limits::DEFAULT.connection;
            limits.age_jitter_percent = percent;
            let age = |_: u32| Watch::new(&limits, None).old_at - began;
            let ages: Vec<_> = (0..10_000).map(age).collect();
            let (least, most) = (*ages.iter().min().unwrap(), *ages.iter().max().unwrap());
            let spread = limits.age_max / 100 * percent;
            let bounds = (limits.age_max - spread, limits.age_max + spread);
            assert!(bounds.0 <= least && most <= bounds.1, "{percent}: {least:?} to {most:?}");
            // Nearly all of the room is used.
            let edge = spread / 100;
            assert!(least <= bounds.0 + edge && most + edge >= bounds.1, "{percent}: {most:?}");
        }
    }
}
