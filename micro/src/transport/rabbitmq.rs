//! Calls over RabbitMQ: sessions of the native protocol over queues.
//!
//! Every call kind, cancellation, deadlines, credit, drains and errors are those of the native
//! transport, frame by frame; processes reach each other by the server alone and open no port. A
//! node's address is `rabbitmq://micro.node.` and 32 hexadecimal digits unless it is given the name
//! of a queue of its own, and is dialed by whoever is connected to the same virtual host.
//!
//! A listener and each end of a session has a queue of that name: exclusive to its connection, not
//! durable, and gone with it. Messages go to queues by the default exchange and are not stored.
//!
//! # Consistency
//!
//! Messages are carried once or lost: nothing is acknowledged by its receiver. One that is lost
//! breaks the connection on which it was missed, within about a second; calls that were on the way
//! have an unknown outcome (503, `Retry::Unknown`) and are repeated by themselves only where that is
//! declared harmless.
//!
//! # Durability
//!
//! None: what is on the way when a process ends is lost, as over TCP.
//!
//! # Limits
//!
//! Those of native connections. On the way of one connection are 256 KiB each way and 256 messages;
//! a message of the bus has 64 KiB at most; a longer one that somebody else sends is dropped. A queue
//! holds 1,024; what its client has fetched and this process has not read waits in memory beyond. Each connection takes a channel
//! at both ends, of which the server gives a process 2,047 unless it is told otherwise
//! (`channel_max`).
//!
//! # When the server fails
//!
//! Connections break at once: calls on the way end with `Retry::Unknown`, further calls with
//! `Retry::Safe` and the server's address. A listener is there again within some seconds of the
//! server's return, at the same address; one that starts before its server listens once it is there.
//! A node that is gone is noticed by the server: dialing it fails at once, and calls that it was
//! running end within some ten seconds.
//!
//! # Configuration
//!
//! `MICRO_TRANSPORT=rabbitmq://user:password@host:5672,host/vhost`; without a port 5672, without a
//! path the virtual host `/`. `MICRO_SERVER_ADDRESS` may be `rabbitmq://queue`, letters, digits, `-`
//! and `_` between dots; or the `host:port` of a port that serves HTTP and everything else besides.
//!
//! Whoever may write to the default exchange of the virtual host can call what it reaches: let users
//! of RabbitMQ say who may. Callers count as callers on another host, who reach what is public and
//! what accounts let them; with `?local=true`, on a server that is on loopback and reached from
//! nowhere else, as callers on this machine.
//!
//! # Not supported
//!
//! TLS to the server; go-micro's transport of this name.
//!
//! # Tested against
//!
//! RabbitMQ 3.10, by the conformance suite of transports.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Consumer, PublisherConfirm};

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::driver::amqp::{answer, failed};
use crate::driver::{AmqpHost, Server};
use crate::transport::tunnel::{Arrival, BUS_WITHIN, Bus, Care, Claim, ERROR_ID, Inbox, Tunnel};
use crate::transport::{Scope, Transport};

/// Bytes of a message: what a frame holds that every server takes.
const MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// Messages that a queue holds: four windows, so that only who keeps to no window finds it full.
const QUEUE_MESSAGES_MAX: i64 = 1024;

/// Messages that the server has not confirmed to hold or to have returned; whoever sends more waits.
const UNCONFIRMED_MAX: usize = 512;

/// Dials and listens on `rabbitmq://queue`; clones share the connection to the server.
///
/// ```
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{Amqp, Server};
/// use micro::transport::{RabbitMq, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> micro::Result<()> {
/// let server = Server::new("127.0.0.1", 5672);
/// let amqp = Amqp::open(&server, &TaskTracker::new())?;
/// let transport = RabbitMq::new(amqp.host("/")?, &server);
/// let address = transport.own_address().unwrap().to_string();
/// assert!(address.starts_with("rabbitmq://micro.node."));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RabbitMq(Tunnel);

impl RabbitMq {
    /// Makes the transport over a connection to a virtual host of a server, which other components
    /// may use as well.
    pub fn new(host: Arc<AmqpHost>, server: &Server) -> Self {
        Self(Tunnel::new(Arc::new(Queues { host, server: server.to_string() })))
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

impl Transport for RabbitMq {
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

/// The queues of a virtual host.
#[derive(Debug)]
struct Queues {
    host: Arc<AmqpHost>,
    server: String,
}

impl Bus for Queues {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn open<'a>(&'a self, name: &'a str, _: Claim) -> BoxFuture<'a, Result<Box<dyn Inbox>>> {
        Box::pin(async move {
            let up = clock::timeout(BUS_WITHIN, self.host.up()).await;
            up.unwrap_or_else(|_| Err(away(&self.server)))?;
            let channel = self.host.channel().await?;
            let opened = self.declare(&channel, name).await;
            // Another connection has the queue, or another channel of this one its messages.
            let consumer = opened.map_err(|error| match error.code() {
                403 | 409 => {
                    let detail = format!("rabbitmq://{name} has a listener already");
                    Error::conflict(ERROR_ID, detail).with_source(error)
                }
                _ => error,
            })?;
            let server = self.server.clone();
            let name = name.to_owned();
            let unconfirmed = VecDeque::new();
            let queue: Box<dyn Inbox> =
                Box::new(Queue { channel, consumer, unconfirmed, returned: 0, name, server });
            Ok(queue)
        })
    }
}

impl Queues {
    async fn declare(&self, channel: &Channel, name: &str) -> Result<Consumer> {
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        answer("ask for confirms", confirms).await?;
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let mut table = FieldTable::default();
        table.insert("x-max-length".into(), AMQPValue::LongLongInt(QUEUE_MESSAGES_MAX));
        let refuses = AMQPValue::LongString("reject-publish".into());
        table.insert("x-overflow".into(), refuses);
        answer("declare a queue", channel.queue_declare(name.into(), options, table)).await?;
        let options =
            BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
        let table = FieldTable::default();
        answer("consume", channel.basic_consume(name.into(), "".into(), options, table)).await
    }
}

/// A queue and who sends from it.
struct Queue {
    channel: Channel,
    consumer: Consumer,
    /// What the server has yet to say of messages, in the order in which they were sent.
    unconfirmed: VecDeque<PublisherConfirm>,
    /// Messages that were returned and of which nobody has heard yet.
    returned: usize,
    name: String,
    server: String,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Queue {
    /// Polls for a message that the server has not taken; pending while it has taken all so far.
    fn poll_confirmed(&mut self, task: &mut Context<'_>) -> Poll<Result<Arrival>> {
        // Progress: each turn takes what the server says of one message.
        while let Some(first) = self.unconfirmed.front_mut() {
            let confirmed = std::task::ready!(Pin::new(first).poll(task));
            self.unconfirmed.pop_front();
            match confirmed {
                Ok(Confirmation::Ack(None) | Confirmation::NotRequested) => {}
                // A queue that takes no more is as good as none: its owner keeps to no window.
                Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(_)) => {
                    return Poll::Ready(Ok(Arrival::Returned));
                }
                Err(error) => return Poll::Ready(Err(self.lost(&error))),
            }
        }
        Poll::Pending
    }

    fn lost(&self, error: &lapin::Error) -> Error {
        failed(&format!("rabbitmq at {} is away", self.server), error).with_retry(Retry::Safe)
    }
}

impl Inbox for Queue {
    fn message_bytes_max(&self) -> usize {
        MESSAGE_BYTES_MAX
    }

    fn send<'a>(
        &'a mut self,
        to: &'a str,
        message: Bytes,
        care: Care,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if self.unconfirmed.len() >= UNCONFIRMED_MAX
                && let Some(first) = self.unconfirmed.front_mut()
            {
                let confirmed = Pin::new(first).await;
                self.unconfirmed.pop_front();
                match confirmed {
                    Ok(Confirmation::Ack(None) | Confirmation::NotRequested) => {}
                    Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(_)) => self.returned += 1,
                    Err(error) => return Err(self.lost(&error)),
                }
            }
            let options = BasicPublishOptions {
                mandatory: care == Care::Returned,
                ..BasicPublishOptions::default()
            };
            let properties = BasicProperties::default();
            let channel = &self.channel;
            let sent =
                channel.basic_publish("".into(), to.into(), options, &message, properties).await;
            match sent {
                Ok(confirm) => {
                    self.unconfirmed.push_back(confirm);
                    Ok(())
                }
                Err(error) => Err(self.lost(&error)),
            }
        })
    }

    fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Result<Arrival>> {
        if let Some(left) = self.returned.checked_sub(1) {
            self.returned = left;
            return Poll::Ready(Ok(Arrival::Returned));
        }
        if let Poll::Ready(returned) = self.poll_confirmed(task) {
            return Poll::Ready(returned);
        }
        // Progress: each turn takes a delivery.
        loop {
            match std::task::ready!(self.consumer.poll_next_unpin(task)) {
                Some(Ok(delivery)) if delivery.data.len() > MESSAGE_BYTES_MAX => {}
                Some(Ok(delivery)) => {
                    return Poll::Ready(Ok(Arrival::Message(delivery.data.into())));
                }
                Some(Err(error)) => return Poll::Ready(Err(self.lost(&error))),
                None => return Poll::Ready(Err(away(&self.server))),
            }
        }
    }
}

fn away(server: &str) -> Error {
    let detail = format!("rabbitmq at {server} is away");
    Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe)
}
