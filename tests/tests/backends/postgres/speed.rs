//! Publishing and delivering beside the bare client that makes the same statements.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::broker::Ack;
use micro::core::clock;
use micro::core::shutdown::TaskTracker;

use super::broker::{listen, message, queue};
use super::{Lab, PATIENCE, Process, is_long, short_or_long, tests};

/// Publishers at a time, and messages that are handled at a time.
const WIDTH: usize = 16;

pub(super) fn trials() -> Vec<Trial> {
    tests![publish_to_deliver_costs_little_more_than_the_bare_client]
}

async fn publish_to_deliver_costs_little_more_than_the_bare_client() {
    let lab = Lab::new();
    let count = short_or_long(2_000, 20_000);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    // By turns, so that whatever else the machine does meets both.
    for _ in 0..short_or_long(1, 5) {
        ours.push(through_the_broker(&lab, count).await);
        bare.push(by_hand(&lab, count).await);
    }
    let rate = |times: &mut Vec<Duration>| {
        times.sort();
        f64::from(u32::try_from(count).unwrap()) / times[times.len() / 2].as_secs_f64()
    };
    let (ours, bare) = (rate(&mut ours), rate(&mut bare));
    let ratio = ours / bare;
    println!("publish to deliver: {ours:.0}/s, the bare client {bare:.0}/s: {ratio:.2}");
    // A busy machine says little in a short run.
    assert!(!is_long() || ratio >= 0.8, "{ratio:.2}");
}

async fn through_the_broker(lab: &Lab, count: usize) -> Duration {
    let process = Process::new();
    let broker = process.broker(&lab.url(&lab.database().await));
    let (_queue, mut came) = listen(&broker, "numbers", queue("q", WIDTH), |_| Ack::Ack).await;
    let (tasks, next) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
    let began = clock::now();
    for _ in 0..WIDTH {
        let (broker, next) = (Arc::clone(&broker), Arc::clone(&next));
        tasks.spawn("publisher", async move {
            while next.fetch_add(1, Ordering::Relaxed) < count {
                broker.publish(message("numbers", 1)).await.unwrap();
            }
        });
    }
    for _ in 0..count {
        clock::timeout(PATIENCE, came.recv()).await.unwrap().unwrap();
    }
    clock::now() - began
}

/// One connection publishes message by message, with as many under way at a time; one takes and
/// acknowledges as many at a time.
async fn by_hand(lab: &Lab, count: usize) -> Duration {
    let name = lab.database().await;
    // The tables are those of the broker.
    let process = Process::new();
    let broker = process.broker(&lab.url(&name));
    drop(listen(&broker, "numbers", queue("q", 1), |_| Ack::Ack).await);
    let (publishing, consuming) = (Arc::new(lab.bare(&name).await), lab.bare(&name).await);
    consuming
        .batch_execute("SET synchronous_commit = off; SET enable_seqscan = off")
        .await
        .unwrap();
    let group: i64 =
        consuming.query_one("SELECT id FROM micro.broker_group", &[]).await.unwrap().get(0);
    let put = publishing
        .prepare(
            "INSERT INTO micro.broker_message \
               (group_id, topic, message_id, content_type, metadata, body) \
             SELECT id, $1, $2, 'text/plain', '{}', $3 FROM micro.broker_group WHERE topic = $1",
        )
        .await
        .unwrap();
    let take = consuming
        .prepare(
            "WITH due AS (SELECT id FROM micro.broker_message WHERE group_id = $1 \
               AND visible_at <= now() ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED) \
             UPDATE micro.broker_message m SET attempts = attempts + 1, \
               visible_at = now() + interval '20 seconds', first_at = now(), last_at = now() \
             FROM due WHERE m.group_id = $1 AND m.id = due.id \
             RETURNING m.id, m.attempts, m.topic, m.message_id, m.content_type, m.metadata, m.body",
        )
        .await
        .unwrap();
    let acknowledge = consuming
        .prepare("DELETE FROM micro.broker_message WHERE group_id = $1 AND id = ANY($2)")
        .await
        .unwrap();
    let (tasks, next) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
    let began = clock::now();
    for _ in 0..WIDTH {
        let (client, put, next) = (Arc::clone(&publishing), put.clone(), Arc::clone(&next));
        tasks.spawn("publisher", async move {
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let id = format!("{:032x}", next.load(Ordering::Relaxed));
                client.execute(&put, &[&"numbers", &id, &b"1".as_slice()]).await.unwrap();
            }
        });
    }
    let (mut seen, most) = (0, i64::try_from(WIDTH).unwrap());
    while seen < count {
        let rows = consuming.query(&take, &[&group, &most]).await.unwrap();
        let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        seen += ids.len();
        if ids.is_empty() {
            clock::sleep(Duration::from_millis(1)).await;
        } else {
            consuming.execute(&acknowledge, &[&group, &ids]).await.unwrap();
        }
    }
    clock::now() - began
}
