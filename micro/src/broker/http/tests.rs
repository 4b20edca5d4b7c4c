//! The http broker: ends of publishers and subscribers, links, the inbox.

use std::collections::HashSet;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::*;
use crate::broker::Ack;
use crate::broker::tests::{World, decide, hang, later, message, numbered, queue, until};
use crate::core::limits::Limits;
use crate::core::stream::Streaming;

#[tokio::test(start_paused = true)]
async fn what_was_taken_is_handled_though_its_publisher_is_gone() {
    let world = World::default();
    let (here, there) = world.pair();
    let (handler, mut came) =
        decide(|delivery| if delivery.attempt == 1 { Ack::RETRY } else { Ack::Ack });
    let _subscription = there.subscribe("a", queue("q", 4), handler).await.unwrap();
    for number in 0..10 {
        here.publish(numbered("a", number)).await.unwrap();
    }
    here.inner.scope.tasks.abort_all();
    drop(here);
    world.net.cut();
    let mut bodies = HashSet::new();
    while bodies.len() < 10 {
        let delivery = came.recv().await.unwrap();
        if delivery.attempt == 2 {
            bodies.insert(delivery.message.body.clone());
        }
    }
    until("all is settled", || there.counts().in_flight == 0).await;
    assert_eq!(there.counts().acked, 10);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_leaves_takes_nothing_more_of_others_but_of_itself() {
    let (here, there) = World::default().pair();
    let (handler, mut came) = decide(|_| Ack::Ack);
    let _subscription = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    there.inbox().unwrap().leave();
    here.publish(message("a")).await.unwrap();
    assert_eq!((here.sent().unrouted, here.sent().copies), (1, 0));
    there.publish(numbered("a", 7)).await.unwrap();
    assert_eq!(&came.recv().await.unwrap().message.body[..], b"7");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_ended_is_no_failure_though_the_registry_still_has_it() {
    let world = World::default();
    let (here, there) = world.pair();
    let (handler, mut came) = decide(|_| Ack::Ack);
    let _subscription = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    let address = there.inner.reached().await.unwrap().address;
    world.ghost_at(("a", "ff.http.broadcast"), &address).await;
    clock::sleep(Duration::from_secs(1)).await;
    here.publish(message("a")).await.unwrap();
    assert!(came.recv().await.is_some());
    assert_eq!((here.sent().copies, here.sent().refused), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_link_without_copies_is_given_up_and_made_again() {
    let (here, there) = World::default().pair();
    let (handler, mut came) = decide(|_| Ack::Ack);
    let subscription = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    let node = there.inner.mailboxes.of("a")[0].node.clone();
    for _ in 0..3 {
        here.publish(message("a")).await.unwrap();
        assert!(came.recv().await.is_some());
        clock::sleep(Duration::from_secs(10)).await;
        assert_eq!(here.inner.links.load(&node), 0);
        assert_eq!(here.inner.links.len(), 0);
    }
    subscription.close();
    until("it leaves", || here.inner.groups("a").is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn the_member_with_the_least_to_do_gets_the_next_message() {
    let (here, there) = World::default().pair();
    let (handler, mut stuck) = hang();
    let _stuck = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    here.publish(message("a")).await.unwrap();
    stuck.recv().await.unwrap();
    let (handler, mut came) = decide(|_| Ack::Ack);
    let _free = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    for _ in 0..20 {
        here.publish(message("a")).await.unwrap();
        assert!(came.recv().await.is_some());
        clock::sleep(Duration::from_millis(1)).await;
    }
    assert!(stuck.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_member_out_of_reach_is_not_asked_for_each_message() {
    let world = World::default();
    let (here, there) = world.pair();
    let (handler, mut came) = decide(|_| Ack::Ack);
    let _subscription = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    world.ghost_at(("a", "q"), "memory:nowhere").await;
    clock::sleep(Duration::from_secs(1)).await;
    for _ in 0..100 {
        here.publish(message("a")).await.unwrap();
        assert!(came.recv().await.is_some());
        until("it is settled", || here.sent().unsettled == 0).await;
    }
    assert!(world.net.dials.load(SeqCst) <= 2, "{}", world.net.dials.load(SeqCst));
    assert_eq!((here.sent().acked, here.sent().refused), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_inbox_does_not_have_is_a_404_and_too_long_a_413() {
    let (here, _there) = World::default().pair();
    let inbox = here.inbox().unwrap();
    let gone = inbox.link("nobody", Streaming::from_iter([])).err().unwrap();
    let document = Bytes::from_static(br#"{"Header":{"Micro-Topic":"a"},"Body":""}"#);
    assert_eq!((gone.code(), inbox.post("nobody", &document).unwrap_err().code()), (404, 404));
    let body = Bytes::from(vec![0; Limits::DEFAULT.message.bytes_max]);
    let long = Message { body, ..message("a") };
    assert_eq!(here.publish(long).await.unwrap_err().code(), 413);
}

#[tokio::test(start_paused = true)]
async fn the_longest_message_passes() {
    let (here, there) = World::default().pair();
    let (handler, mut came) = decide(|_| Ack::Ack);
    let _subscription = there.subscribe("a", queue("q", 1), handler).await.unwrap();
    let body = Bytes::from(vec![7; Limits::DEFAULT.message.bytes_max - ENVELOPE_BYTES_MAX]);
    here.publish(Message { body: body.clone(), ..message("a") }).await.unwrap();
    assert_eq!(came.recv().await.unwrap().message.body, body);
    assert!(here.close(later(1)).await.is_ok());
}
