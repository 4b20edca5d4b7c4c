//! Calls over NATS: sessions of the native protocol over subjects.
//!
//! Every call kind, cancellation, deadlines, credit, drains and errors are those of the native
//! transport, frame by frame; processes reach each other by the server alone and open no port. A
//! node's address is `nats://micro.node.` and 32 hexadecimal digits unless it is given a subject of
//! its own, and is dialed by whoever is connected to the same server or cluster.
//!
//! # Consistency
//!
//! NATS carries a message once or loses it. A message that is lost or comes twice breaks the
//! connection on which it was missed, within about a second; calls that were on the way have an
//! unknown outcome (503, `Retry::Unknown`) and are repeated by themselves only where that is
//! declared harmless.
//!
//! # Durability
//!
//! None: what is on the way when a process ends is lost, as over TCP.
//!
//! # Limits
//!
//! Those of native connections. On the way of one connection are 256 KiB each way and 256 messages;
//! a message of the bus has 64 KiB at most, or the server's limit if that is less. A listener takes
//! as many connections as [`ConnectionLimits::total_max`] says; which host a peer is on is not known,
//! so no other limit counts them.
//!
//! [`ConnectionLimits::total_max`]: crate::core::limits::ConnectionLimits::total_max
//!
//! # When the server fails
//!
//! Connections break at once: calls on the way end with `Retry::Unknown`, further calls with
//! `Retry::Safe` and the server's address. A listener is there again within about a second of the
//! server's return, at the same address; one that starts before its server listens once it is there.
//! A node that is gone is noticed by the server: dialing it fails at once, and calls that it was
//! running end within some ten seconds.
//!
//! # Configuration
//!
//! `MICRO_TRANSPORT=nats://user:password@host:4222,host`; without a port 4222. `MICRO_SERVER_ADDRESS`
//! may be `nats://subject`, letters, digits, `-` and `_` between dots; or the `host:port` of a port
//! that serves HTTP and everything else besides.
//!
//! Whoever may publish on the server can call what it reaches, and whoever may subscribe can read
//! along: let accounts of NATS say who may use `micro.node.*` and `micro.session.*`. Callers count as
//! callers on another host, who reach what is public and what accounts let them; with `?local=true`,
//! on a server that is on loopback and reached from nowhere else, as callers on this machine.
//!
//! # Not supported
//!
//! TLS to the server; go-micro's transport of this name, which carries no streams. Two processes that
//! begin to listen at one subject in the same instant both may; sessions break then.
//!
//! # Tested against
//!
//! nats-server 2.15.1, by the conformance suite of transports.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{Client, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::driver;
use crate::driver::{Link, Server};
use crate::transport::tunnel::{
    Arrival, BUS_WITHIN, Bus, Care, Claim, ERROR_ID, End, Inbox, Tunnel, is_heard,
};
use crate::transport::{Scope, Transport};

/// How long the server may take to pass a message on to its sender.
const ECHO_WITHIN: Duration = Duration::from_secs(1);

/// What a listener sends to itself, to know that the server passes messages on to it.
const ECHO: &[u8] = b"micro";

/// Dials and listens on `nats://subject`; clones share the connection to the server.
///
/// ```
/// use std::sync::Arc;
///
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{self, Server};
/// use micro::transport::{Nats, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> micro::Result<()> {
/// let nats = driver::Nats::open(&Server::new("127.0.0.1", 4222), &TaskTracker::new())?;
/// let transport = Nats::new(Arc::new(nats));
/// let address = transport.own_address().unwrap().to_string();
/// assert!(address.starts_with("nats://micro.node."));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Nats(Tunnel);

impl Nats {
    /// Makes the transport over a connection, which other components may use as well.
    pub fn new(nats: Arc<driver::Nats>) -> Self {
        Self(Tunnel::new(Arc::new(Subjects(nats))))
    }

    /// Takes every caller for one on this machine, who reaches everything unless accounts are
    /// configured. Whoever says so vouches that the server is reached from nowhere else.
    ///
    /// # Errors
    /// 412 when the server is not on loopback.
    pub fn within_this_machine(self, server: &Server) -> Result<Self> {
        self.0.within_this_machine(server).map(Self)
    }
}

impl Transport for Nats {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn own_address(&self) -> Option<Address> {
        Some(self.0.own_address())
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        Box::pin(self.0.dial(address, scope))
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        Box::pin(self.0.listen(address, dispatch, scope))
    }
}

/// The subjects of a server.
#[derive(Debug)]
struct Subjects(Arc<driver::Nats>);

impl Bus for Subjects {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn open<'a>(&'a self, name: &'a str, claim: Claim) -> BoxFuture<'a, Result<Box<dyn Inbox>>> {
        Box::pin(async move {
            if claim == Claim::Fresh {
                let subject: Box<dyn Inbox> = Box::new(self.subscribe(name).await?);
                return Ok(subject);
            }
            let from = End::random();
            let mut probe = self.subscribe(&from.to_string()).await?;
            if is_heard(&mut probe, from, name).await? {
                let detail = format!("nats://{name} has a listener already");
                return Err(Error::conflict(ERROR_ID, detail));
            }
            let mut subject = Box::new(self.subscribe(name).await?);
            subject.hear_itself().await?;
            let subject: Box<dyn Inbox> = subject;
            Ok(subject)
        })
    }
}

impl Subjects {
    async fn subscribe(&self, name: &str) -> Result<Subject> {
        let mut sessions = self.0.sessions();
        let standing = sessions.wait_for(|session| session.is_up);
        let number = match clock::timeout(BUS_WITHIN, standing).await {
            Ok(Ok(session)) => session.number,
            _ => return Err(away(&self.0)),
        };
        let client = self.0.client_now().clone();
        let subscriber = client.subscribe(name.to_owned()).await.map_err(|error| {
            let detail = format!("cannot subscribe to {name}: {error}");
            Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe).with_source(error)
        })?;
        let lost = Box::pin(async move {
            // An error means that the process ends.
            let _ended = sessions.wait_for(|s| !s.is_up || s.number != number).await.map(drop);
        });
        let (driver, name) = (Arc::clone(&self.0), name.to_owned());
        Ok(Subject { driver, client, subscriber, name, lost })
    }
}

/// A subject and who sends from it.
struct Subject {
    driver: Arc<driver::Nats>,
    client: Client,
    subscriber: Subscriber,
    name: String,
    /// Ends with the connection that the subscription was made on: what comes to the next one may
    /// come after what was lost in between.
    lost: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Subject {
    /// Returns once the server passes messages to the subject on.
    async fn hear_itself(&mut self) -> Result<()> {
        let sent = self.client.publish(self.name.clone(), Bytes::from_static(ECHO)).await;
        sent.map_err(|error| away(&self.driver).with_source(error))?;
        match clock::timeout(ECHO_WITHIN, self.subscriber.next()).await {
            Ok(Some(_)) => Ok(()),
            _ => Err(away(&self.driver)),
        }
    }
}

impl Inbox for Subject {
    fn message_bytes_max(&self) -> usize {
        self.client.max_payload()
    }

    fn send<'a>(
        &'a mut self,
        to: &'a str,
        message: Bytes,
        care: Care,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            // What the client is given while there is no connection would be sent by the next one.
            if !self.driver.is_up() {
                return Err(away(&self.driver));
            }
            let (client, to) = (&self.client, to.to_owned());
            let sent = match care {
                Care::Lost => client.publish(to, message).await,
                // The server answers with a status where nobody is subscribed.
                Care::Returned => client.publish_with_reply(to, self.name.clone(), message).await,
            };
            sent.map_err(|error| away(&self.driver).with_source(error))
        })
    }

    fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Result<Arrival>> {
        if self.lost.as_mut().poll(task).is_ready() {
            return Poll::Ready(Err(away(&self.driver)));
        }
        let message = std::task::ready!(self.subscriber.poll_next_unpin(task));
        let message = message.ok_or_else(|| away(&self.driver))?;
        Poll::Ready(Ok(match message.status {
            Some(StatusCode::NO_RESPONDERS) => Arrival::Returned,
            _ => Arrival::Message(message.payload),
        }))
    }
}

fn away(driver: &driver::Nats) -> Error {
    let detail = format!("nats at {} is away, or was for a moment", driver.server());
    Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
}
