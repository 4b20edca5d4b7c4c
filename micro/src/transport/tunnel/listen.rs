//! The listening side of sessions.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::exchange::Dispatch;
use crate::core::net::Pipe;
use crate::transport::Scope;
use crate::transport::native::{Guest, Guests, serve_socket};
use crate::transport::tunnel::message::{End, Message, Reason};
use crate::transport::tunnel::session::Session;
use crate::transport::tunnel::socket::Carried;
use crate::transport::tunnel::window::{WINDOW_BYTES, agreed};
use crate::transport::tunnel::{Arrival, Bus, Care, Claim, Inbox};

/// The longest first pause before an inbox that was lost is opened again.
const REOPEN_BASE: Duration = Duration::from_millis(50);

/// The longest pause of all: what comes back is found within it.
const REOPEN_MAX: Duration = Duration::from_secs(1);

/// What a listener needs.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) bus: Arc<dyn Bus>,
    /// What peers are said to be; their names where there is nothing.
    pub(super) nearby: Option<Arc<str>>,
    pub(super) name: String,
    pub(super) dispatch: Arc<dyn Dispatch>,
    pub(super) scope: Scope,
}

impl Host {
    /// Serves sessions until the lifecycle closes; a bus that is away is waited for by a task.
    ///
    /// # Errors
    /// 409 when somebody else listens at the name.
    pub(super) async fn listen(self) -> Result<()> {
        let timeout = self.scope.limits.connection.dial_timeout;
        let opening = self.bus.open(&self.name, Claim::Sole);
        let inbox = match clock::timeout(timeout, opening).await {
            Ok(Ok(inbox)) => Some(inbox),
            Ok(Err(error)) if error.code() == 409 => return Err(error),
            Ok(Err(error)) => {
                tracing::warn!(name = %self.name, %error, "listens once the bus is there");
                None
            }
            Err(_) => {
                tracing::warn!(name = %self.name, ?timeout, "listens once the bus answers");
                None
            }
        };
        let tasks = self.scope.tasks.clone();
        tasks.spawn("bus listener", async move {
            let shutdown = self.scope.shutdown.clone();
            tokio::select! {
                () = follow(self, inbox) => {}
                () = shutdown.closed() => {}
            }
        });
        Ok(())
    }
}

/// Receives at the inbox, and at another one whenever it is lost; never ends.
async fn follow(host: Host, mut inbox: Option<Box<dyn Inbox>>) {
    let guests = Arc::new(Guests::default());
    let mut backoff = Backoff::new(REOPEN_BASE, REOPEN_MAX);
    // Progress: each turn serves for as long as there is an inbox, then pauses.
    loop {
        if let Some(inbox) = &mut inbox {
            backoff.reset();
            let error = receive(inbox.as_mut(), &host, &guests).await;
            tracing::warn!(name = %host.name, %error, "lost the inbox of the listener");
        }
        // The lost one is closed before its name is claimed again.
        drop(inbox.take());
        clock::sleep(backoff.next_delay()).await;
        match host.bus.open(&host.name, Claim::Sole).await {
            Ok(opened) => inbox = Some(opened),
            Err(error) => tracing::debug!(name = %host.name, %error, "cannot listen yet"),
        }
    }
}

/// Takes wishes for sessions until the inbox is lost; no fault of one peer ends it.
async fn receive(inbox: &mut dyn Inbox, host: &Host, guests: &Arc<Guests>) -> Error {
    // Progress: each turn takes a message.
    loop {
        let bytes = match poll_fn(|task| inbox.poll_next(task)).await {
            Ok(Arrival::Message(bytes)) => bytes,
            Ok(Arrival::Returned) => continue,
            Err(error) => return error,
        };
        if let Err(error) = wish(inbox, bytes, host, guests).await {
            return error;
        }
    }
}

/// Gives a session its place and its task, or refuses it; what is no wish for one is dropped.
async fn wish(
    inbox: &mut dyn Inbox,
    bytes: Bytes,
    host: &Host,
    guests: &Arc<Guests>,
) -> Result<()> {
    let Some(Message::Open { from, window }) = Message::read(bytes) else { return Ok(()) };
    let limits = &host.scope.limits.connection;
    let Ok(window) = agreed(window) else {
        return refuse(inbox, from, Reason::Broken, limits.write_timeout).await;
    };
    let reason = if host.scope.shutdown.is_draining() {
        Reason::Draining
    } else if let Some(guest) = guests.admit(None, limits) {
        host.scope.tasks.spawn("bus guest", serve(host.clone(), guest, from, window));
        return Ok(());
    } else {
        Reason::Busy
    };
    refuse(inbox, from, reason, limits.write_timeout).await
}

async fn refuse(inbox: &mut dyn Inbox, peer: End, reason: Reason, timeout: Duration) -> Result<()> {
    let (name, refusal) = (peer.to_string(), Message::Reset(reason).write());
    let sending = inbox.send(&name, refusal, Care::Lost);
    clock::timeout(timeout, sending).await.unwrap_or(Ok(()))
}

/// Serves one session to its end.
async fn serve(host: Host, guest: Guest, from: End, window: u32) {
    let _guest = guest;
    let limits = &host.scope.limits.connection;
    let peer = from.to_string();
    let own = End::random();
    let opening = async {
        let mut inbox = host.bus.open(&own.to_string(), Claim::Fresh).await?;
        let accept = Message::Accept { from: own, window: WINDOW_BYTES };
        inbox.send(&peer, accept.write(), Care::Returned).await?;
        Ok::<_, Error>(inbox)
    };
    // A peer that gets no answer dials again.
    let Ok(Ok(inbox)) = clock::timeout(limits.handshake_timeout, opening).await else { return };
    let remote = match &host.nearby {
        Some(nearby) => Arc::clone(nearby),
        None => format!("{}:{peer}", host.bus.name()).into(),
    };
    let session = Session::new(inbox, peer, window, limits);
    let (ours, theirs) = Pipe::pair();
    let socket = Arc::new(Carried { pipe: ours, fate: session.fate() });
    let serving = serve_socket(socket, remote, BytesMut::new(), host.dispatch, &host.scope);
    tokio::join!(serving, session.carry(theirs));
}
