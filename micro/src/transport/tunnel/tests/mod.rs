//! Sessions over a bus within the process, which loses and doubles messages as it is told.

mod bus;
mod hostile;
mod losses;
#[cfg(feature = "testkit")]
mod suite;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::bus::Local;
use crate::core::clock;
use crate::core::error::{Result, Retry};
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::limits::Limits;
use crate::core::net::Address;
use crate::core::stream::Streaming;
use crate::driver::Server;
use crate::transport::native::tests::lab::{Fixture, Lab, byte, reply, source};
use crate::transport::tunnel::message::End;
use crate::transport::tunnel::{Tunnel, is_heard, is_name, nearby};
use crate::transport::{Native, Schemes, Scope, Transport};

/// A listener on a bus, and a connection to it.
struct Wire {
    lab: Fixture,
    bus: Local,
    tunnel: Tunnel,
    address: Address,
}

fn over(bus: &Local) -> Tunnel {
    let tunnel = Tunnel::new(Arc::new(bus.clone()));
    tunnel.within_this_machine(&Server::new("127.0.0.1", 4222)).unwrap()
}

fn scope(limits: &Limits) -> Scope {
    Scope { limits: Arc::new(limits.clone()), ..Scope::default() }
}

impl Wire {
    async fn with(limits: Limits) -> Self {
        let bus = Local::default();
        let tunnel = over(&bus);
        let (server, client) = (scope(&limits), scope(&limits));
        let handlers = Arc::new(Lab::default());
        let address = tunnel.own_address();
        tunnel.listen(&address, handlers.clone(), &server).await.unwrap();
        let connection = tunnel.dial(&address, &client).await.unwrap();
        let lab = Fixture { connection, server, client, lab: handlers };
        Self { lab, bus, tunnel, address }
    }

    async fn open() -> Self {
        Self::with(Limits::default()).await
    }

    fn alive(&self) -> usize {
        self.lab.lab.alive.load(Ordering::Relaxed)
    }

    async fn dial(&self) -> Result<()> {
        let connection = self.tunnel.dial(&self.address, &self.lab.client).await?;
        connection.close();
        Ok(())
    }

    /// Closes both ends, whose tasks all end.
    async fn close(self) {
        for scope in [&self.lab.client, &self.lab.server] {
            scope.shutdown.close();
        }
        for scope in [&self.lab.client, &self.lab.server] {
            let until = clock::after(clock::now(), Duration::from_secs(10));
            assert_eq!(scope.tasks.wait(until).await, 0, "{:?}", scope.tasks.names());
        }
        assert_eq!(self.bus.names(), [""; 0], "an inbox was left");
    }
}

/// The transport of a bus, as those of vendors are.
#[derive(Debug)]
struct Carried(Tunnel);

impl Transport for Carried {
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

/// Waits until something holds; fails when it does not for long.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..4000 {
        if holds() {
            return;
        }
        clock::sleep(Duration::from_millis(5)).await;
    }
    panic!("in vain: {what}");
}

#[tokio::test(start_paused = true)]
async fn all_four_kinds_of_calls_are_carried() {
    let wire = Wire::open().await;
    let lab = &wire.lab;
    assert_eq!(lab.unary("Echo", "a").await.unwrap(), "a");
    assert_eq!(lab.unary("Conflict", "").await.unwrap_err().code(), 409);
    let counted = lab.stream("Count", &[100], None).await.collect(1000).await.unwrap();
    assert_eq!(counted.len(), 100);
    let numbers = || source(Streaming::from_iter((0..10).map(|n| vec![byte(n)])));
    assert_eq!(reply(lab.start("Sum", "", Some(numbers()))).await.unwrap(), vec![45]);
    let mirrored = lab.stream("Mirror", b"", Some(numbers())).await.collect(1000).await.unwrap();
    assert_eq!(mirrored.len(), 10);
    wire.close().await;
}

#[tokio::test(start_paused = true)]
async fn messages_of_every_length_arrive_whole() {
    for message_bytes_max in [100, 4096, 1024 * 1024] {
        let wire = Wire::open().await;
        wire.bus.take_at_most(message_bytes_max);
        for length in [0, 1, 65_535, 65_536, 1_000_000] {
            let body: Vec<u8> = (0..length).map(byte).collect();
            assert_eq!(wire.lab.unary("Echo", body.clone()).await.unwrap(), body, "{length}");
        }
        wire.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_drops_its_handler() {
    let wire = Wire::open().await;
    for name in ["Never", "Hold"] {
        let call = wire.lab.start(name, "", None);
        until("it runs", || wire.alive() == 1).await;
        drop(call);
        until("it is dropped", || wire.alive() == 0).await;
    }
    wire.close().await;
}

#[tokio::test(start_paused = true)]
async fn dialing_a_name_that_nobody_has_fails_at_once_and_safely() {
    let wire = Wire::open().await;
    let began = clock::now();
    for (text, part) in [
        ("local://nobody", "nobody listens there"),
        ("local://a..b", "write `local://` and a name"),
        ("local://a*", "write `local://` and a name"),
        ("other://name", "write `local://` and a name"),
        ("10.0.0.1:80", "write `local://` and a name"),
    ] {
        let address = text.parse().unwrap();
        let error = wire.tunnel.dial(&address, &wire.lab.client).await.map(drop).unwrap_err();
        assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
        assert!(error.detail().contains(part), "{error}");
    }
    assert_eq!(clock::now(), began);
    wire.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_has_one_listener() {
    let wire = Wire::open().await;
    let other = scope(&Limits::default());
    let again = wire.tunnel.listen(&wire.address, Arc::new(Lab::default()), &other).await;
    assert_eq!(again.unwrap_err().code(), 409);
    wire.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_listener_tells_whoever_asks_whether_its_name_is_taken() {
    let wire = Wire::open().await;
    let from = End::random();
    let mut inbox = wire.bus.look(&from.to_string()).await;
    let name = wire.tunnel.name_of(&wire.address).unwrap();
    assert!(is_heard(inbox.as_mut(), from, name).await.unwrap());
    assert!(!is_heard(inbox.as_mut(), from, "somebody.else").await.unwrap());
    let silent = wire.bus.look("silent").await;
    let error = is_heard(inbox.as_mut(), from, "silent").await.unwrap_err();
    assert!(error.detail().contains("nobody says within"), "{error}");
    drop((inbox, silent));
    wire.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_listener_has_as_many_sessions_as_its_limit() {
    let mut limits = Limits::default();
    limits.connection.total_max = 2;
    let wire = Wire::with(limits).await;
    let second = wire.tunnel.dial(&wire.address, &wire.lab.client).await.unwrap();
    for _ in 0..20 {
        let error = wire.dial().await.unwrap_err();
        assert_eq!(error.retry(), Retry::Safe);
        assert!(error.detail().contains("too many connections"), "{error}");
    }
    assert_eq!(wire.lab.unary("Echo", "a").await.unwrap(), "a");
    second.close();
    // A place is free again once the other end is.
    let mut tries = 0;
    while wire.dial().await.is_err() {
        tries += 1;
        assert!(tries < 1000);
        clock::sleep(Duration::from_millis(5)).await;
    }
    wire.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_drains_refuses_and_finishes_what_runs() {
    let wire = Wire::open().await;
    let running = wire.lab.start("Later", "b", None);
    until("it runs", || wire.alive() == 1).await;
    wire.lab.server.shutdown.drain();
    assert_eq!(reply(running).await.unwrap(), "b");
    let error = wire.dial().await.unwrap_err();
    assert_eq!(error.retry(), Retry::Safe);
    assert!(error.detail().contains("about to stop"), "{error}");
    wire.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_bus_is_reached_by_its_scheme_whether_it_is_the_default_or_not() {
    let bus = Local::default();
    let carried = || Arc::new(Carried(over(&bus)));
    let default = Schemes::over(carried());
    let other = Schemes::over(Arc::new(Native)).with("local", carried());
    let scope = scope(&Limits::default());
    for (n, (serving, dialing)) in [(&default, &other), (&other, &default)].into_iter().enumerate()
    {
        let address: Address = format!("local://name.{n}").parse().unwrap();
        let bound = serving.listen(&address, Arc::new(Lab::default()), &scope).await.unwrap();
        assert_eq!(bound, address);
        dialing.dial(&bound, &scope).await.unwrap();
    }
    assert!(default.own_address().is_some() && other.own_address().is_none());
    let error = default.dial(&"other://name".parse().unwrap(), &scope).await.map(drop).unwrap_err();
    assert!(error.detail().contains("no transport for other://name"), "{error}");
}

#[test]
fn names_are_what_every_bus_takes() {
    let longest = "a".repeat(128);
    for name in ["a", "a.b", "A-1_b.2", longest.as_str()] {
        assert!(is_name(name), "{name}");
    }
    let (one_more, tenfold) = ("a".repeat(129), "a".repeat(1280));
    for name in ["", ".", "a.", ".a", "a..b", "a b", "a*", "a.>", "\u{e4}", &one_more, &tenfold] {
        assert!(!is_name(name), "{name}");
    }
}

#[test]
fn only_a_bus_on_loopback_is_of_this_machine() {
    let of = |host: &str| nearby(&Server::new(host, 4222)).map(|text| text.to_string());
    assert_eq!(of("127.0.0.1").as_deref(), Some("127.0.0.1:4222"));
    assert_eq!(of("::1").as_deref(), Some("[::1]:4222"));
    assert_eq!(of("localhost").as_deref(), Some("127.0.0.1:4222"));
    for elsewhere in ["10.0.0.1", "0.0.0.0", "nats.internal", "localhost.evil.example"] {
        assert_eq!(of(elsewhere), None, "{elsewhere}");
    }
}
