//! Who is asked, and as whom.

use std::time::Duration;

use micro::driver::{Etcd, Link, Server, ServerUrl};
use micro::registry::Registry;
use micro::store::{Key, Space, Store, Write};
use serde_json::json;

use micro_tests::server::{etcd, free_port};

use super::{Process, gateway, record, until};

const TTL: Duration = Duration::from_secs(15);

pub(super) async fn the_next_member_is_asked_when_one_is_away() {
    // Two servers of their own stand for members: only one of them is there at a time.
    let (mut first, second) = (etcd(), etcd());
    let hosts = [free_port(), first.port(), second.port()].map(|port| format!("127.0.0.1:{port}"));
    let url = ServerUrl::parse(&format!("etcd://{}", hosts.join(",")), Etcd::PORT).unwrap();
    let process = Process::of(url.server());
    let registry = process.registry();
    registry.register(&record("a", "1"), TTL).await.unwrap();
    assert_eq!(gateway::range(first.port(), "/micro/registry/").await.len(), 1);
    first.kill();
    until("the other member is asked", async || {
        registry.register(&record("a", "1"), TTL).await.is_ok()
    })
    .await;
    assert_eq!(gateway::range(second.port(), "/micro/registry/").await.len(), 1);
    // One that takes connections and says nothing is left as well.
    first.start_again();
    second.pause();
    until("the first member is asked again", async || {
        let found = registry.lookup("a").await;
        found.is_ok_and(|records| records.is_some()) && process.etcd.is_up()
    })
    .await;
    second.resume();
}

/// Has the server ask for a user and its password.
async fn close(port: u16) {
    for (path, question) in [
        ("/v3/auth/role/add", json!({"name": "root"})),
        ("/v3/auth/user/add", json!({"name": "root", "password": "p:ss/word%"})),
        ("/v3/auth/user/grant", json!({"user": "root", "role": "root"})),
        ("/v3/auth/enable", json!({})),
    ] {
        gateway::post(port, path, question).await;
    }
}

pub(super) async fn a_user_logs_in_and_again_when_its_token_is_gone() {
    let mut server = etcd();
    close(server.port()).await;
    let root = Server::new("127.0.0.1", server.port()).with_user("root", "p:ss/word%");
    let process = Process::of(&root);
    let (registry, store) = (process.registry(), process.store());
    registry.register(&record("a", "1"), TTL).await.unwrap();
    registry.register(&record("a", "1"), TTL).await.unwrap();
    let mut watch = registry.watch(Some("a")).await.unwrap();
    watch.next().await.unwrap();
    // Tokens are in the memory of the server.
    server.kill();
    server.start_again();
    let (space, key) = (Space::unbound(), Key::new("k").unwrap());
    until("the store is written", async || {
        store.write(&space, Write::new(key.clone(), "1")).await.is_ok()
    })
    .await;
    until("the record is renewed", async || {
        registry.register(&record("a", "2"), TTL).await.is_ok()
    })
    .await;
    watch.next().await.unwrap();
}

pub(super) async fn a_wrong_password_is_said() {
    let server = etcd();
    close(server.port()).await;
    for user in [Some(("root", "hunter2")), None] {
        let address = Server::new("127.0.0.1", server.port());
        let server = user.map_or(address.clone(), |(name, pass)| address.with_user(name, pass));
        let process = Process::of(&server);
        let error = process.registry().lookup("a").await.unwrap_err();
        let text = error.to_string();
        let said = ["authentication failed", "user name is empty"];
        assert!(said.iter().any(|said| text.contains(said)), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
