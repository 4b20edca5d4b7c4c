//! What a watcher does: it hears changes, and reads the state where it may have missed some.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::AcqRel;
use std::sync::atomic::Ordering::Release;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::core::clock;
use crate::driver::redis::{Ear, Told, reply};
use crate::registry::Event;
use crate::registry::record::Record;
use crate::registry::redis::name::plain;
use crate::registry::redis::{Shared, scripts};

/// Changes that wait for one watcher; when there are more, it gets the state instead.
const HEARD_MAX: usize = 1024;

/// The longest and the shortest pause between two looks for leases that are over.
const SWEEP_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

/// Pause after a question that failed.
const FAILED_PAUSE: Duration = Duration::from_millis(200);

/// What a watcher has heard and not read.
pub(super) struct Heard {
    messages: mpsc::Receiver<(String, Bytes)>,
    gap: Arc<Gap>,
}

/// Whether something was missed.
#[derive(Default)]
struct Gap {
    is_there: AtomicBool,
    rung: Notify,
}

impl Gap {
    fn open(&self) {
        self.is_there.store(true, Release);
        self.rung.notify_one();
    }
}

/// Makes the ear of a watcher.
pub(super) fn ear() -> (Ear, Heard) {
    let (sender, messages) = mpsc::channel(HEARD_MAX);
    let gap = Arc::new(Gap::default());
    let told_gap = Arc::clone(&gap);
    let ear: Ear = Arc::new(move |told| match told {
        Told::Gap => told_gap.open(),
        Told::Message(channel, payload) => {
            let message = ((*channel).to_owned(), Bytes::clone(payload));
            if sender.try_send(message).is_err() {
                told_gap.open();
            }
        }
    });
    (ear, Heard { messages, gap })
}

/// Tells changes from `revision` on until nobody reads them.
pub(super) async fn follow(
    shared: Arc<Shared>,
    service: Option<String>,
    mut heard: Heard,
    events: mpsc::Sender<Event>,
    mut revision: i64,
) {
    let mut sweep_at = clock::now();
    // Progress: each turn waits for a change, a gap or a pause, and ends with the reader.
    loop {
        let event = tokio::select! {
            biased;
            () = heard.gap.rung.notified() => {
                if !heard.gap.is_there.swap(false, AcqRel) {
                    continue;
                }
                // What was heard before the state is part of it.
                while heard.messages.try_recv().is_ok() {}
                match shared.state(service.as_deref()).await {
                    Ok((at, records)) => {
                        revision = at;
                        Some(Event::Reset(Record::merge(records)))
                    }
                    Err(_) => {
                        clock::sleep(FAILED_PAUSE).await;
                        heard.gap.open();
                        continue;
                    }
                }
            }
            message = heard.messages.recv() => {
                let Some((channel, payload)) = message else { return };
                read(&channel, &payload).filter(|(at, _)| *at > revision).map(|(at, event)| {
                    revision = at;
                    event
                })
            }
            () = clock::sleep_until(sweep_at) => {
                let next = shared.ask("sweep", &scripts::SWEEP, &[]).await.and_then(reply::number);
                let pause = match next.map(u64::try_from) {
                    Ok(Ok(millis)) => Duration::from_millis(millis).saturating_add(SWEEP_PAUSE.0),
                    Ok(Err(_none)) => SWEEP_PAUSE.1,
                    Err(_) => FAILED_PAUSE,
                };
                sweep_at = clock::after(clock::now(), pause.min(SWEEP_PAUSE.1));
                None
            }
        };
        if let Some(event) = event
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}

/// Reads an event and its number.
fn read(channel: &str, payload: &[u8]) -> Option<(i64, Event)> {
    let end = payload.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(payload.get(..end)?).ok()?;
    let (revision, node) = head.get(1..)?.split_once(' ')?;
    let revision = revision.parse().ok()?;
    if head.starts_with('U') {
        let record: Record = serde_json::from_slice(payload.get(end + 1..)?).ok()?;
        return Some((revision, Event::Update(record)));
    }
    let service = channel.rsplit(':').next()?;
    let (service, node) = (plain(service)?, plain(node)?);
    head.starts_with('R').then_some((revision, Event::Remove { service, node }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_what_is_none_is_left_out() {
        let gone = Event::Remove { service: "a:b".into(), node: "n 1".into() };
        assert_eq!(read("p:0:a%3Ab", b"R7 n%201\n"), Some((7, gone)));
        let update = read("p:0:a", b"U8 n\n{\"name\":\"a\",\"nodes\":[]}");
        assert!(matches!(update, Some((8, Event::Update(record))) if record.name == "a"));
        for payload in [&b""[..], b"R7", b"R7\n", b"Rx n\n", b"U8 n\n{", b"X8 n\n", b"\n"] {
            assert_eq!(read("p:0:a", payload), None, "{payload:?}");
        }
    }
}
