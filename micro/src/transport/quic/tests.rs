//! Calls over QUIC on this machine, in real time.

use std::time::Duration;

use super::*;
use crate::core::clock;
use crate::core::error::Retry;
use crate::core::limits::Limits;
use crate::core::stream::Streaming;
use crate::transport::native::tests::lab::{Fixture, Lab, byte, reply, source};
use crate::transport::tls::files::tests::{Office, Wanted};

/// A listener and a dialed connection.
struct Wire {
    lab: Fixture,
    quic: Quic,
    office: Office,
    address: Address,
}

impl Wire {
    async fn with(limits: Limits) -> Self {
        let office = Office::open();
        office.keep("server", &Wanted::of("127.0.0.1"));
        let roots = Arc::new(Roots::open(office.client()).unwrap());
        let quic = Quic::new().serving(office.files()).trusting(roots);
        let limits = Arc::new(limits);
        let scope = || Scope { limits: Arc::clone(&limits), ..Scope::default() };
        let (server, client, handlers) = (scope(), scope(), Arc::new(Lab::default()));
        let any: Address = "127.0.0.1:0".parse().unwrap();
        let address = quic.listen(&any, handlers.clone(), &server).await.unwrap();
        let connection = quic.dial(&address, &client).await.unwrap();
        let lab = Fixture { connection, server, client, lab: handlers };
        Self { lab, quic, office, address }
    }

    async fn open() -> Self {
        Self::with(Limits::default()).await
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
    }
}

/// Waits until something holds; fails when it does not for long.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        clock::sleep(Duration::from_millis(5)).await;
    }
    panic!("in vain: {what}");
}

#[tokio::test]
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

#[tokio::test]
async fn messages_of_every_length_arrive_whole() {
    let wire = Wire::open().await;
    for length in [0, 1, 1199, 1200, 1201, 65_536, 1_000_000, 4 * 1024 * 1024] {
        let body: Vec<u8> = (0..length).map(byte).collect();
        assert_eq!(wire.lab.unary("Echo", body.clone()).await.unwrap(), body, "{length}");
    }
    wire.close().await;
}

#[tokio::test]
async fn a_call_that_is_given_up_drops_its_handler() {
    let wire = Wire::open().await;
    let alive = Arc::clone(&wire.lab.lab.alive);
    let count = || alive.load(std::sync::atomic::Ordering::Relaxed);
    for name in ["Never", "Hold"] {
        let call = wire.lab.start(name, "", None);
        until("it runs", || count() == 1).await;
        drop(call);
        until("it is dropped", || count() == 0).await;
    }
    wire.close().await;
}

#[tokio::test]
async fn a_drain_finishes_calls_and_takes_no_more() {
    let wire = Wire::open().await;
    assert_eq!(wire.lab.unary("Echo", "a").await.unwrap(), "a");
    let running = wire.lab.start("Later", "b", None);
    until("it has arrived", || wire.lab.lab.called.load(std::sync::atomic::Ordering::Relaxed) == 2)
        .await;
    wire.lab.server.shutdown.drain();
    assert_eq!(reply(running).await.unwrap(), "b");
    until("the client knows", || !wire.lab.connection.is_open()).await;
    let refused = wire.lab.try_start("Echo", "c", None).unwrap_err();
    assert_eq!(refused.retry(), Retry::Safe);
    let late = wire.quic.dial(&wire.address, &wire.lab.client).await.unwrap_err();
    assert_eq!((late.code(), late.retry()), (503, Retry::Safe));
    wire.close().await;
}

#[tokio::test]
async fn a_server_that_is_gone_fails_the_calls_that_run() {
    let wire = Wire::open().await;
    let running = wire.lab.start("Never", "", None);
    until("it runs", || wire.lab.lab.alive.load(std::sync::atomic::Ordering::Relaxed) == 1).await;
    wire.lab.server.shutdown.close();
    let error = reply(running).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Unknown));
    wire.lab.connection.closed().await;
    wire.close().await;
}

#[tokio::test]
async fn nobody_is_called_who_is_not_vouched_for() {
    let wire = Wire::open().await;
    let other = Office::open();
    let stranger = Quic::new().trusting(Arc::new(Roots::open(other.client()).unwrap()));
    let error = stranger.dial(&wire.address, &wire.lab.client).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe));
    let error = Quic::new().dial(&wire.address, &wire.lab.client).await.unwrap_err();
    assert!(error.code() == 412 && error.detail().contains("client_tls_ca"), "{error}");
    let none: Arc<dyn Dispatch> = Arc::new(Lab::default());
    let any = "127.0.0.1:0".parse().unwrap();
    let error = Quic::new().listen(&any, none, &wire.lab.server).await.unwrap_err();
    assert!(error.code() == 412 && error.detail().contains("server_tls_cert"), "{error}");
    wire.close().await;
}

#[tokio::test]
async fn another_certificate_is_shown_without_a_restart() {
    let wire = Wire::open().await;
    let other = Office::open();
    other.keep("server", &Wanted::of("127.0.0.1"));
    for file in ["server.pem", "server.key"] {
        let text = std::fs::read_to_string(other.folder.path().join(file)).unwrap();
        wire.office.write(file, &text);
    }
    assert!(wire.quic.files.as_ref().unwrap().reload().unwrap());
    let next = Quic::new().trusting(Arc::new(Roots::open(other.client()).unwrap()));
    let dialed = next.dial(&wire.address, &wire.lab.client).await.unwrap();
    assert!(dialed.is_open());
    assert_eq!(wire.lab.unary("Echo", "a").await.unwrap(), "a", "the earlier connection goes on");
    wire.close().await;
}

#[tokio::test]
async fn a_listener_admits_as_many_as_its_limits_say() {
    let mut limits = Limits::default();
    limits.connection.total_max = 2;
    let wire = Wire::with(limits).await;
    let second = wire.quic.dial(&wire.address, &wire.lab.client).await.unwrap();
    let third = wire.quic.dial(&wire.address, &wire.lab.client).await.unwrap_err();
    assert_eq!((third.code(), third.retry()), (503, Retry::Safe));
    second.close();
    second.closed().await;
    for _ in 0..1000 {
        if wire.quic.dial(&wire.address, &wire.lab.client).await.is_ok() {
            return wire.close().await;
        }
        clock::sleep(Duration::from_millis(10)).await;
    }
    panic!("no place was given back");
}

#[tokio::test]
async fn noise_on_the_port_stops_nobody() {
    let wire = Wire::open().await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..2000 {
        let mut noise: Vec<u8> = (0..rng.usize(1..1400)).map(|_| rng.u8(..)).collect();
        // Half of it looks like the long header of a first packet.
        if rng.bool() {
            noise.splice(0..noise.len().min(5), [0xc3, 0, 0, 0, 1]).for_each(drop);
        }
        socket.send_to(&noise, wire.address.to_string()).unwrap();
    }
    assert_eq!(wire.lab.unary("Echo", "a").await.unwrap(), "a");
    let other = wire.quic.dial(&wire.address, &wire.lab.client).await.unwrap();
    assert!(other.is_open());
    wire.close().await;
}
