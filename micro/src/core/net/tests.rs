//! What a peer learns of how the other end was left.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use crate::core::clock;
use crate::core::net::{Address, Listener, Stream};

async fn pair(address: &Address) -> (Stream, Stream) {
    let listener = Listener::bind(address).await.unwrap();
    let bound = listener.address().unwrap();
    let dialed = Stream::connect(&bound, Duration::from_secs(10)).await.unwrap();
    (dialed, listener.accept().await.unwrap())
}

/// Returns whether the stream turns out to be severed, which nobody wakes anybody for.
async fn becomes_severed(stream: &Stream) -> bool {
    let seen = async {
        while !stream.is_severed() {
            tokio::task::yield_now().await;
        }
    };
    clock::timeout(Duration::from_secs(20), seen).await.is_ok()
}

#[tokio::test]
async fn a_peer_that_is_gone_is_known_to_be_without_reading() {
    let temp = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", temp.path().join("here").display());
    for address in ["127.0.0.1:0", &unix] {
        let (mut dialed, accepted) = pair(&address.parse().unwrap()).await;
        dialed.write_all(b"unread").await.unwrap();
        assert!(!accepted.is_severed(), "{address}");
        dialed.sever();
        drop(dialed);
        assert!(becomes_severed(&accepted).await, "{address}");
    }
}

#[tokio::test]
async fn a_peer_that_has_said_all_over_tcp_is_read_to_its_end() {
    let (mut dialed, accepted) = pair(&"127.0.0.1:0".parse().unwrap()).await;
    dialed.write_all(b"all").await.unwrap();
    drop(dialed);
    let mut read = BytesMut::new();
    while accepted.read(&mut read).await.unwrap() > 0 {}
    assert_eq!(&read[..], b"all");
    assert!(!accepted.is_severed());
}
