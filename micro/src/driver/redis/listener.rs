//! The connection that hears what is published.

use std::sync::Arc;
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::shutdown::TaskHandle;
use crate::driver::redis::ears::{Channel, Ear, Ears, Listening, Told};
use crate::driver::redis::line::{self, Line};
use crate::driver::redis::{BACKOFF_BASE, BACKOFF_MAX, ERROR_ID, Origin, PING_INTERVAL};

/// How long it may take until the server has a subscription; then it is given up.
const LISTEN_WAIT: Duration = Duration::from_secs(3);

/// Channels that are subscribed to at once.
const BATCH: usize = 500;

/// Keeps the connection while anybody listens.
pub(super) struct Listener {
    ears: Arc<Ears>,
    origin: Arc<Origin>,
    _keeper: TaskHandle,
}

impl Listener {
    pub(super) fn start(origin: &Arc<Origin>) -> Self {
        let ears = Arc::new(Ears::default());
        let keeper = keep(Arc::clone(origin), Arc::clone(&ears));
        let keeper = origin.tasks.spawn("driver.redis.listener", keeper).abort_on_drop();
        Self { ears, origin: Arc::clone(origin), _keeper: keeper }
    }

    pub(super) async fn listen(&self, name: &str, pattern: bool, ear: Ear) -> Result<Listening> {
        let channel = Channel { name: name.to_owned(), pattern };
        let (listening, mut heard) = self.ears.add(channel, ear)?;
        match clock::timeout(LISTEN_WAIT, heard.wait_for(|heard| *heard)).await {
            Ok(Ok(_)) => Ok(listening),
            _ => {
                let detail = format!("listen: redis at {} cannot be reached", self.origin.server);
                Err(Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe))
            }
        }
    }
}

async fn keep(origin: Arc<Origin>, ears: Arc<Ears>) {
    let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_MAX);
    // Progress: each turn holds a connection until it is lost, or waits.
    loop {
        while !ears.is_wanted() {
            ears.changed.notified().await;
        }
        let told = Arc::clone(&ears);
        let push = Box::new(move |info| pass_on(&told, info));
        match line::connect(&origin, Some(push)).await {
            Ok(line) => {
                backoff.reset();
                let error = hold(line, &ears).await;
                tracing::debug!(server = %origin.server, %error, "redis is heard no more");
            }
            Err(error) => tracing::debug!(server = %origin.server, %error, "cannot listen yet"),
        }
        ears.lose();
        clock::sleep(backoff.next_delay()).await;
    }
}

/// Has the server's subscriptions follow what is wanted, until the connection is lost.
async fn hold(mut line: Line, ears: &Ears) -> Error {
    // Progress: each turn waits for a change or a pause.
    loop {
        if let Err(error) = follow(&line, ears).await {
            return error;
        }
        let idle = tokio::select! {
            () = line.ended() => {
                return Error::unavailable(ERROR_ID, "the connection was closed");
            }
            () = ears.changed.notified() => false,
            () = clock::sleep(PING_INTERVAL) => true,
        };
        if idle && let Err(error) = line.ping().await {
            return error;
        }
    }
}

async fn follow(line: &Line, ears: &Ears) -> Result<()> {
    let left = ears.take_left();
    for pattern in [false, true] {
        for batch in names(&left, pattern).chunks(BATCH) {
            line.unsubscribe(batch, pattern).await?;
        }
    }
    let missing = ears.missing();
    for pattern in [false, true] {
        for batch in names(&missing, pattern).chunks(BATCH) {
            line.subscribe(batch, pattern).await?;
            let channel = |name: &String| Channel { name: name.clone(), pattern };
            ears.confirm(&batch.iter().map(channel).collect::<Vec<_>>());
        }
    }
    Ok(())
}

fn names(channels: &[Channel], pattern: bool) -> Vec<String> {
    let kind = channels.iter().filter(|channel| channel.pattern == pattern);
    kind.map(|channel| channel.name.clone()).collect()
}

/// Tells the ears what the server says.
fn pass_on(ears: &Ears, info: PushInfo) {
    let pattern = match info.kind {
        PushKind::Message => false,
        PushKind::PMessage => true,
        _ => return,
    };
    let mut parts = info.data.into_iter().map(|part| match part {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    let mut part = || parts.next().flatten();
    // Channels are named by this crate, in text.
    let mut text = || part().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(name) = text() else { return };
    let channel = if pattern { text() } else { None };
    let Some(payload) = part() else { return };
    let of = Channel { name, pattern };
    let payload = payload.into();
    ears.tell(&of, &Told::Message(channel.as_ref().unwrap_or(&of.name), &payload));
}
