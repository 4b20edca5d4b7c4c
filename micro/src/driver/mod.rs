//! Connections of a process to the servers of vendors: one for each server, whatever uses it.
//!
//! A registry, a broker and a store on the same server share its connection, as the
//! [`Drivers`] of a process hand it out. A driver connects by itself, pauses longer and longer
//! between its attempts, and goes on for as long as it is held: a server that is absent at the
//! start, or that goes away, fails what is asked of it meanwhile and nothing else. The process is
//! not ready until each of its drivers [is up](Link::is_up).

#[cfg(feature = "rabbitmq")]
pub(crate) mod amqp;
#[cfg(feature = "consul")]
mod consul;
#[cfg(feature = "etcd")]
pub(crate) mod etcd;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redis")]
pub(crate) mod redis;
mod server_url;
mod shared;
#[cfg(feature = "zookeeper")]
pub(crate) mod zookeeper;

#[cfg(feature = "rabbitmq")]
pub use self::amqp::{AMQP_PORT, Amqp, AmqpHost, VIRTUAL_HOSTS_MAX};
#[cfg(feature = "consul")]
pub use self::consul::Consul;
#[cfg(feature = "consul")]
pub(crate) use self::consul::escaped;
#[cfg(feature = "etcd")]
pub use self::etcd::Etcd;
#[cfg(feature = "nats")]
pub(crate) use self::nats::{
    Begin, Bucket, Entry, Feed, Follower, Outcome, Put, decode, encode, is_key,
};
#[cfg(feature = "nats")]
pub use self::nats::{Nats, NatsSession};
#[cfg(feature = "postgres")]
pub use self::postgres::Postgres;
#[cfg(feature = "redis")]
pub use self::redis::Redis;
pub use self::server_url::{HOSTS_MAX, Server, ServerUrl};
pub use self::shared::{Drivers, Link};
#[cfg(feature = "zookeeper")]
pub use self::zookeeper::ZooKeeper;
