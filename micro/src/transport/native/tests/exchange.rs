//! Claims about whole exchanges over an in-memory byte stream.

use std::time::Duration;

use crate::core::clock;
use crate::core::error::Retry;
use crate::core::limits::Limits;
use crate::core::stream::Streaming;
use crate::transport::native::tests::lab::{byte, fixture, fixture_with, reply, source};

#[tokio::test(start_paused = true)]
async fn a_call_is_answered_in_place_or_later() {
    let lab = fixture().await;
    assert_eq!(lab.unary("Echo", "a").await.unwrap(), "a");
    assert_eq!(lab.unary("Later", "b").await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn messages_of_every_length_arrive_whole() {
    let lab = fixture().await;
    let frame = Limits::DEFAULT.message.frame_bytes_max;
    for length in [0, 1, frame - 100, frame - 1, frame, frame + 1, 3 * frame, 4 << 20] {
        let body: Vec<u8> = (0..length).map(byte).collect();
        for name in ["Echo", "Later"] {
            assert_eq!(lab.unary(name, body.clone()).await.unwrap(), body, "{name} {length}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_beyond_the_limit_is_refused_and_the_connection_stays() {
    let mut limits = Limits::default();
    limits.message.bytes_max = 1000;
    let lab = fixture_with(limits).await;
    for length in [1001, 10_000] {
        let error = lab.try_start("Echo", vec![0; length], None).unwrap_err();
        assert_eq!(error.code(), 413);
        assert!(error.detail().contains("1000"), "{error}");
    }
    assert_eq!(lab.unary("Echo", vec![0; 1000]).await.unwrap().len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn streams_run_each_way() {
    let lab = fixture().await;
    let counted = lab.stream("Count", &[5], None).await.collect(10).await.unwrap();
    assert_eq!(counted.concat(), [0, 1, 2, 3, 4]);
    let numbers = || Some(source(Streaming::from_iter((1..=10_u8).map(|n| vec![n]))));
    assert_eq!(reply(lab.start("Sum", "", numbers())).await.unwrap(), &[55][..]);
    let mirrored = lab.stream("Mirror", b"", numbers()).await.collect(20).await.unwrap();
    assert_eq!(mirrored.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_many_messages_passes_through_its_window() {
    let lab = fixture().await;
    let many = source(Streaming::from_iter((0..5000).map(|n| vec![byte(n); 500])));
    let mirrored = lab.stream("Mirror", b"", Some(many)).await.collect(5000).await.unwrap();
    assert_eq!(mirrored.len(), 5000);
    assert!(mirrored.iter().enumerate().all(|(n, m)| m.len() == 500 && m[0] == byte(n)));
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_own_call_only() {
    let lab = fixture().await;
    let other = lab.start("Later", "b", None);
    assert_eq!(lab.unary("Panic", "a").await.unwrap_err().code(), 500);
    assert_eq!(reply(other).await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_call_on_time() {
    let lab = fixture().await;
    let began = clock::now();
    let error = lab.unary("Never", "a").await.unwrap_err();
    assert_eq!(error.code(), 408);
    let took = clock::now() - began;
    assert!(took >= Duration::from_secs(10) && took <= Duration::from_millis(10_050), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn dropped_calls_and_streams_leave_no_task() {
    let lab = fixture().await;
    lab.unary("Echo", "a").await.unwrap();
    let (server, client) = (lab.server.tasks.len(), lab.client.tasks.len());
    for n in 0..300 {
        let exchange = lab.start("Never", "a", None);
        if n % 2 == 0 {
            tokio::task::yield_now().await;
        }
        drop(exchange);
        let mut flood = lab.stream("Flood", b"", None).await;
        flood.next().await.unwrap().unwrap();
    }
    lab.unary("Later", "a").await.unwrap();
    assert_eq!((lab.server.tasks.len(), lab.client.tasks.len()), (server, client));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_reader_holds_its_producer_and_nobody_else() {
    let lab = fixture().await;
    let flood = lab.stream("Flood", b"", None).await;
    for _ in 0..1000 {
        lab.unary("Echo", "a").await.unwrap();
    }
    drop(flood);
}

#[tokio::test(start_paused = true)]
async fn draining_refuses_new_calls_safely_and_finishes_old_ones() {
    let lab = fixture().await;
    let running = lab.start("Later", "a", None);
    lab.server.shutdown.drain();
    assert_eq!(reply(running).await.unwrap(), "a");
    clock::sleep(Duration::from_millis(1)).await;
    let error = lab.try_start("Echo", "a", None).unwrap_err();
    assert_eq!(error.retry(), Retry::Safe);
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_stream_limit_are_refused_safely() {
    let mut limits = Limits::default();
    limits.stream.native_max = 2;
    let lab = fixture_with(limits).await;
    lab.unary("Echo", "a").await.unwrap();
    let _running = (lab.start("Never", "a", None), lab.start("Never", "a", None));
    let error = lab.try_start("Echo", "a", None).unwrap_err();
    assert_eq!((error.code(), error.retry()), (429, Retry::Safe));
}
