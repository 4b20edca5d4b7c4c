//! The claims.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::{Changes, Config, Source};
use crate::core::clock;
use crate::core::future::BoxFuture;
use crate::testkit::config::{Claim, Subject, Verdict, ensure};

/// How long a signal may take: no measure of speed, the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A value that must show in no log.
const SECRET: &str = "hunter2-hunter2";

/// What the documents say, as a program reads it.
#[derive(Debug, PartialEq, Deserialize)]
struct Smtp {
    host: String,
    port: u16,
    verify: bool,
}

fn document(port: u16) -> Value {
    json!({"smtp": {"host": SECRET, "port": port, "verify": true}, "name": "shop"})
}

macro_rules! claims {
    ($($name:ident)*) => {
        /// Every claim, in the order in which they are examined.
        pub const CLAIMS: &[Claim] = &[$(Claim {
            name: stringify!($name),
            check: |subject| -> BoxFuture<'_, Verdict> { Box::pin($name(subject)) },
        },)*];
    };
}

claims! {
    it_has_one_name
    what_was_put_is_loaded_as_types
    it_says_where_a_key_is_set
    loading_again_gives_the_same
    a_load_that_is_dropped_harms_none
    debug_shows_no_values
    a_change_is_loaded
    a_change_is_signalled
    a_change_right_after_the_watch_began_is_not_missed
    every_watch_hears_of_a_change
    a_dropped_watch_harms_no_other
    what_cannot_be_read_is_an_error_that_names_the_source
    it_recovers_from_what_could_not_be_read
}

async fn port(source: &Arc<dyn Source>) -> Result<u16, String> {
    let config = Config::load(&[Arc::clone(source)]).await.map_err(|e| e.to_string())?;
    config.get::<Smtp>("smtp").map(|smtp| smtp.port).map_err(|e| e.to_string())
}

/// Begins a watch; `None` where there must be none, and is none.
async fn watch(subject: &Subject, source: &Arc<dyn Source>) -> Result<Option<Changes>, String> {
    let watched = source.watch().await.map_err(|e| format!("it cannot be watched: {e}"))?;
    match (watched, subject.is_fixed) {
        (Some(_), true) => Err("what never changes can be watched".to_owned()),
        (None, false) => Err("what changes cannot be watched".to_owned()),
        (watched, _) => Ok(watched),
    }
}

/// Waits for signals until the source holds a port.
async fn follows(changes: &mut Changes, source: &Arc<dyn Source>, expected: u16) -> Verdict {
    let followed = async {
        // Progress: each turn takes a signal. A source may signal more than it changes.
        while changes.next().await.is_some() {
            if port(source).await == Ok(expected) {
                return Ok(());
            }
        }
        Err("the watch ended".to_owned())
    };
    clock::timeout(PATIENCE, followed).await.unwrap_or_else(|_| Err("nobody was told".to_owned()))
}

async fn it_has_one_name(subject: &Subject) -> Verdict {
    let place = subject.place(document(25));
    let (source, other) = (place.source(), place.source());
    ensure(!source.name().trim().is_empty(), || "it has no name".to_owned())?;
    ensure(source.name() == other.name(), || "each source of a place has its own".to_owned())
}

async fn what_was_put_is_loaded_as_types(subject: &Subject) -> Verdict {
    let place = subject.place(document(25));
    let config = Config::load(&[place.source()]).await.map_err(|e| e.to_string())?;
    let smtp: Smtp = config.get("smtp").map_err(|e| e.to_string())?;
    let expected = Smtp { host: SECRET.to_owned(), port: 25, verify: true };
    ensure(smtp == expected, || format!("the section is {smtp:?}"))?;
    let name: String = config.get("name").map_err(|e| e.to_string())?;
    ensure(name == "shop", || format!("`name` is {name}"))
}

async fn it_says_where_a_key_is_set(subject: &Subject) -> Verdict {
    let place = subject.place(document(25));
    let config = Config::load(&[place.source()]).await.map_err(|e| e.to_string())?;
    let origin = config.origin("smtp.port").unwrap_or_default();
    ensure(!origin.trim().is_empty(), || "a key has no origin".to_owned())
}

async fn loading_again_gives_the_same(subject: &Subject) -> Verdict {
    let place = subject.place(document(25));
    let source = place.source();
    for _ in 0..3 {
        let port = port(&source).await?;
        ensure(port == 25, || format!("the port is {port}"))?;
    }
    Ok(())
}

async fn a_load_that_is_dropped_harms_none(subject: &Subject) -> Verdict {
    let place = subject.place(document(25));
    let source = place.source();
    for _ in 0..3 {
        let mut load = source.load();
        let once = std::future::poll_fn(|task| {
            std::task::Poll::Ready(load.as_mut().poll(task).is_ready())
        });
        let _done = once.await;
    }
    let port = port(&source).await?;
    ensure(port == 25, || format!("the port is {port}"))
}

async fn debug_shows_no_values(subject: &Subject) -> Verdict {
    let place = subject.place(document(25));
    let source = place.source();
    let loaded = source.load().await.map_err(|e| e.to_string())?;
    let shown = format!("{source:?} {loaded:?}");
    ensure(!shown.contains(SECRET), || "a value shows in Debug".to_owned())
}

async fn a_change_is_loaded(subject: &Subject) -> Verdict {
    if subject.is_fixed {
        return Ok(());
    }
    let place = subject.place(document(25));
    let source = place.source();
    let before = port(&source).await?;
    place.put(document(26)).await;
    let after = port(&source).await?;
    ensure((before, after) == (25, 26), || format!("the port went from {before} to {after}"))
}

async fn a_change_is_signalled(subject: &Subject) -> Verdict {
    let place = subject.place(document(25));
    let source = place.source();
    let Some(mut changes) = watch(subject, &source).await? else { return Ok(()) };
    for port in [26, 27] {
        let (followed, ()) =
            tokio::join!(follows(&mut changes, &source, port), place.put(document(port)));
        followed?;
    }
    Ok(())
}

async fn a_change_right_after_the_watch_began_is_not_missed(subject: &Subject) -> Verdict {
    let place = subject.place(document(25));
    let source = place.source();
    let Some(mut changes) = watch(subject, &source).await? else { return Ok(()) };
    place.put(document(26)).await;
    follows(&mut changes, &source, 26).await
}

async fn every_watch_hears_of_a_change(subject: &Subject) -> Verdict {
    let place = subject.place(document(25));
    let (source, other) = (place.source(), place.source());
    let Some(mut changes) = watch(subject, &source).await? else { return Ok(()) };
    let Some(mut others) = watch(subject, &other).await? else { return Ok(()) };
    place.put(document(26)).await;
    follows(&mut changes, &source, 26).await?;
    follows(&mut others, &other, 26).await.map_err(|why| format!("of the second watch: {why}"))
}

async fn a_dropped_watch_harms_no_other(subject: &Subject) -> Verdict {
    let place = subject.place(document(25));
    let source = place.source();
    let Some(first) = watch(subject, &source).await? else { return Ok(()) };
    let Some(mut changes) = watch(subject, &source).await? else { return Ok(()) };
    drop(first);
    place.put(document(26)).await;
    follows(&mut changes, &source, 26).await
}

async fn what_cannot_be_read_is_an_error_that_names_the_source(subject: &Subject) -> Verdict {
    let place = subject.place(document(25));
    let source = place.source();
    let Some(spoil) = place.spoil() else { return Ok(()) };
    spoil.await;
    match source.load().await {
        Ok(_) => Err("it is loaded".to_owned()),
        Err(error) => ensure(error.to_string().contains(source.name()), || {
            format!("the error does not name {}: {error}", source.name())
        }),
    }
}

async fn it_recovers_from_what_could_not_be_read(subject: &Subject) -> Verdict {
    let place = subject.place(document(25));
    let source = place.source();
    let Some(spoil) = place.spoil() else { return Ok(()) };
    spoil.await;
    let _refused = source.load().await;
    place.put(document(26)).await;
    let port = port(&source).await?;
    ensure(port == 26, || format!("the port is {port}"))
}
