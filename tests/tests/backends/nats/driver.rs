//! The connection.

use micro::core::clock;
use micro::core::error::Retry;
use micro::driver::{Drivers, Link, Nats, Server as Place};

use super::{Ground, tests, until};

tests! {
    a_server_that_is_absent_at_the_start_is_found_when_it_is_there
    a_killed_server_is_found_again_and_the_session_counts_up
    the_version_is_the_servers
    drivers_share_the_connection_and_readiness_follows_it
}

async fn a_server_that_is_absent_at_the_start_is_found_when_it_is_there() {
    let ground = Ground::start();
    ground.server().kill();
    let nats = ground.connect();
    let began = clock::now();
    let error = nats.connected().await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
    assert!(clock::now() - began < Nats::CONNECT_PATIENCE * 2);
    ground.server().start_again();
    until("it is connected", async || nats.is_up()).await;
    nats.connected().await.unwrap();
}

async fn a_killed_server_is_found_again_and_the_session_counts_up() {
    let ground = Ground::start();
    let nats = ground.connect();
    nats.connected().await.unwrap();
    let mut sessions = nats.sessions();
    let first = sessions.borrow().number;
    for round in 1..4 {
        ground.server().kill();
        sessions.wait_for(|session| !session.is_up).await.unwrap();
        ground.server().start_again();
        let session = *sessions.wait_for(|session| session.is_up).await.unwrap();
        assert_eq!(session.number, first + round);
    }
}

async fn the_version_is_the_servers() {
    let ground = Ground::start();
    let nats = ground.connect();
    nats.connected().await.unwrap();
    let (major, minor, _) = nats.version().unwrap();
    assert!((major, minor) >= (2, 9), "{major}.{minor}");
    assert!(nats.is_at_least(2, 9) && !nats.is_at_least(major, minor + 1));
}

async fn drivers_share_the_connection_and_readiness_follows_it() {
    let ground = Ground::start();
    let drivers = Drivers::default();
    let place = Place::new("127.0.0.1", ground.port());
    let open = |place: &Place| Nats::open(place, &ground.tasks);
    let one = drivers.share(&place, open).unwrap();
    let two = drivers.share(&place, open).unwrap();
    assert!(std::sync::Arc::ptr_eq(&one, &two));
    one.connected().await.unwrap();
    drivers.check().unwrap();
    ground.server().kill();
    until("the check fails", async || drivers.check().is_err()).await;
    let error = drivers.check().unwrap_err();
    assert_eq!(error.detail(), format!("no answer from nats at {place}"));
}
