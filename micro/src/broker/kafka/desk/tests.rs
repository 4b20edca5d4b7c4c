//! What a desk holds through retries, lost partitions and its limits.

use bytes::Bytes;

use super::*;
use crate::core::content_type::ContentType;

fn message() -> Message {
    Message::new("a.b", ContentType::Json, Bytes::from_static(b"{}"))
}

fn partitions<const N: usize>(partitions: [i32; N]) -> BTreeSet<i32> {
    partitions.into()
}

fn desk(messages_max: usize) -> Arc<Desk> {
    let desk = Arc::new(Desk::new(messages_max, usize::MAX));
    desk.assign(&partitions([0, 1]), |_| BTreeMap::new());
    desk
}

/// A group that is at this offset.
fn at(offset: i64) -> impl FnOnce(&BTreeSet<i32>) -> BTreeMap<i32, i64> {
    move |kept| kept.iter().map(|partition| (*partition, offset)).collect()
}

async fn next(desk: &Arc<Desk>) -> Taken {
    clock::timeout(Duration::from_secs(5), desk.next()).await.expect("a message")
}

async fn is_empty(desk: &Arc<Desk>) -> bool {
    clock::timeout(Duration::from_millis(10), desk.next()).await.is_err()
}

#[tokio::test]
async fn a_message_that_waits_holds_up_what_is_told_and_nothing_else() {
    let desk = desk(10);
    for offset in 0..3 {
        assert!(desk.put(0, offset, message()));
    }
    next(&desk).await.again(Duration::from_millis(20), Duration::ZERO);
    next(&desk).await.settle();
    next(&desk).await.settle();
    assert_eq!(desk.news(), [], "the first is not settled");
    let again = next(&desk).await;
    assert_eq!(again.item.attempt, 2);
    again.settle();
    assert_eq!(desk.news(), [(0, 3)]);
}

#[tokio::test]
async fn a_log_that_went_back_is_read_anew() {
    let desk = desk(10);
    for offset in 5..8 {
        assert!(desk.put(0, offset, message()));
    }
    desk.put(1, 0, message());
    let running = next(&desk).await;
    next(&desk).await.again(Duration::ZERO, Duration::ZERO);
    assert!(desk.put(0, 0, message()), "the topic was made anew");
    running.settle();
    for wanted in [(1, 0), (0, 0)] {
        let taken = next(&desk).await;
        assert_eq!((taken.item.place.partition, taken.item.place.offset), wanted);
        taken.settle();
    }
    assert!(is_empty(&desk).await, "what was held of the partition is let go");
    assert_eq!(desk.news(), [(0, 1), (1, 1)]);
    assert!(desk.put(0, 1, message()) && desk.put(0, 1, message()), "it went back again");
}

#[tokio::test]
async fn a_partition_whose_group_lost_its_place_is_read_anew() {
    let desk = desk(10);
    desk.put(0, 0, message());
    next(&desk).await.settle();
    desk.put(0, 1, message());
    assert_eq!(desk.news(), [(0, 1)]);
    desk.suspend(&partitions([0, 1]), Duration::ZERO);
    desk.assign(&partitions([0, 1]), at(-1));
    assert!(is_empty(&desk).await);
    assert!(desk.put(0, 0, message()), "the topic was made anew");
}

#[tokio::test]
async fn a_partition_that_is_added_leaves_the_others_alone() {
    let desk = desk(10);
    assert!(desk.put(0, 3, message()) && !desk.put(2, 0, message()));
    desk.add(&partitions([2]));
    assert!(desk.put(2, 0, message()));
    assert_eq!(desk.here(), partitions([0, 1, 2]));
    assert!(desk.put(0, 2, message()), "that the log went back shows as before");
}

#[tokio::test]
async fn what_is_dropped_without_a_word_stays_unsettled() {
    let desk = desk(10);
    desk.put(0, 0, message());
    drop(next(&desk).await);
    assert!(is_empty(&desk).await);
    assert_eq!(desk.news(), []);
}

#[tokio::test]
async fn a_partition_that_comes_back_goes_on_where_it_was() {
    let desk = desk(10);
    for offset in 0..3 {
        desk.put(0, offset, message());
    }
    let running = next(&desk).await;
    next(&desk).await.settle();
    desk.suspend(&partitions([0, 1]), Duration::ZERO);
    assert!(is_empty(&desk).await, "nothing is started meanwhile");
    desk.assign(&partitions([0]), at(0));
    running.settle();
    assert_eq!(desk.news(), [(0, 2)], "what ran was settled by whom it was with");
    assert!(!desk.put(0, 1, message()) && !desk.put(0, 2, message()), "they are here");
    next(&desk).await.settle();
    assert_eq!(desk.news(), [(0, 3)]);
}

#[tokio::test]
async fn a_partition_that_others_had_is_read_anew() {
    let desk = desk(10);
    for offset in 0..3 {
        desk.put(0, offset, message());
    }
    let running = next(&desk).await;
    desk.suspend(&partitions([0, 1]), Duration::ZERO);
    desk.assign(&partitions([0]), at(2));
    running.settle();
    assert_eq!(desk.news(), [], "it was settled elsewhere");
    assert!(is_empty(&desk).await);
    assert!(desk.put(0, 2, message()));
    next(&desk).await.settle();
    assert_eq!(desk.news(), [(0, 3)]);
    desk.assign(&partitions([1]), at(3));
    assert!(!desk.put(0, 3, message()), "others have it");
}

#[tokio::test]
async fn leaving_waits_for_the_handlers_that_run() {
    let desk = desk(10);
    desk.put(0, 0, message());
    let running = next(&desk).await;
    let began = std::time::Instant::now();
    desk.suspend(&partitions([1]), Duration::from_secs(5));
    assert!(began.elapsed() < Duration::from_secs(1), "nothing of 1 runs");
    let leaving = {
        let desk = Arc::clone(&desk);
        std::thread::spawn(move || {
            desk.suspend(&partitions([0]), Duration::from_secs(60));
            desk.last_news(&partitions([0]))
        })
    };
    running.settle();
    assert_eq!(leaving.join().unwrap(), [(0, 1)]);
}

/// At the limit, one above it and ten times as many.
#[tokio::test]
async fn what_is_held_is_bounded() {
    let desk = desk(4);
    for offset in 0..3 {
        desk.put(0, offset, message());
    }
    assert!(!desk.is_full());
    desk.put(0, 3, message());
    assert!(desk.is_full() && !desk.wait_for_room(Duration::from_millis(1)));
    desk.put(1, 0, message());
    next(&desk).await.settle();
    assert!(!desk.wait_for_room(Duration::from_millis(1)), "it fetches on at three quarters");
    next(&desk).await.settle();
    next(&desk).await.settle();
    assert!(desk.wait_for_room(Duration::from_millis(1)));
    for offset in 4..40 {
        desk.put(0, offset, message());
    }
    assert!(desk.is_full());
    desk.assign(&partitions([1]), at(0));
    assert!(!desk.is_full(), "what is forgotten takes no room");
    let heavy = Desk::new(usize::MAX / 8, 100);
    heavy.assign(&partitions([0]), |_| BTreeMap::new());
    heavy.put(0, 0, Message { body: vec![0; 1000].into(), ..message() });
    assert!(heavy.is_full());
}

#[tokio::test]
async fn a_partition_runs_ahead_so_far_and_no_further() {
    let desk = Arc::new(Desk::new(usize::MAX / 8, usize::MAX));
    desk.assign(&partitions([0]), |_| BTreeMap::new());
    let first = {
        desk.put(0, 0, message());
        next(&desk).await
    };
    let none = BTreeSet::new();
    let last = i64::try_from(AHEAD_MAX).unwrap();
    for offset in 1..last - 1 {
        desk.put(0, offset, message());
        next(&desk).await.settle();
    }
    assert_eq!(desk.too_far(&none), none);
    desk.put(0, last - 1, message());
    assert_eq!(desk.too_far(&none), partitions([0]), "at the limit");
    first.settle();
    assert_eq!(desk.too_far(&partitions([0])), none, "it goes on when half is settled");
}
