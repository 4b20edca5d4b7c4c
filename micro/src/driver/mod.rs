//! Connections of a process to the servers of vendors: one for each server, whatever uses it.
//!
//! A registry, a broker and a store on the same server share its connection, as the
//! [`Drivers`] of a process hand it out. A driver connects by itself, pauses longer and longer
//! between its attempts, and goes on for as long as it is held: a server that is absent at the
//! start, or that goes away, fails what is asked of it meanwhile and nothing else. The process is
//! not ready until each of its drivers [is up](Link::is_up).

#[cfg(feature = "rabbitmq")]
pub(crate) mod amqp;
#[cfg(feature = "nats")]
mod nats;
mod server_url;
mod shared;

#[cfg(feature = "rabbitmq")]
pub use self::amqp::{AMQP_PORT, Amqp, AmqpHost, VIRTUAL_HOSTS_MAX};
#[cfg(feature = "nats")]
pub(crate) use self::nats::{
    Begin, Bucket, Entry, Feed, Follower, Outcome, Put, decode, encode, is_key,
};
#[cfg(feature = "nats")]
pub use self::nats::{Nats, NatsSession};
pub use self::server_url::{HOSTS_MAX, Server, ServerUrl};
pub use self::shared::{Drivers, Link};
