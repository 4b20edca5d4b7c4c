//! The sources of the crate conform; those broken on purpose do not.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::broken::{Broken, Flaw};
use super::*;
use crate::config::{Env, File, Flat, Memory};

async fn conforms(subject: Subject) {
    if let Err(failures) = conformance(&subject).await {
        panic!("{failures}");
    }
}

struct InMemory(Memory);

impl Place for InMemory {
    fn source(&self) -> Arc<dyn Source> {
        Arc::new(self.0.clone())
    }

    fn put(&self, document: Value) -> BoxFuture<'_, ()> {
        self.0.set(document);
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn memory_conforms() {
    let make = |document| Box::new(InMemory(Memory::new("memory", document))) as Box<dyn Place>;
    conforms(Subject::changing(make)).await;
}

/// A file in a folder of its own.
struct OnDisk(tempfile::TempDir, PathBuf);

impl OnDisk {
    fn place(document: &Value) -> Box<dyn Place> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.json");
        std::fs::write(&path, document.to_string()).unwrap();
        Box::new(Self(folder, path))
    }

    /// Replaces the file as editors do.
    fn write(&self, text: &str) {
        let new = self.0.path().join("app.json.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.1).unwrap();
    }
}

impl Place for OnDisk {
    fn source(&self) -> Arc<dyn Source> {
        Arc::new(File::new(&self.1))
    }

    fn put(&self, document: Value) -> BoxFuture<'_, ()> {
        self.write(&document.to_string());
        Box::pin(std::future::ready(()))
    }

    fn spoil(&self) -> Option<BoxFuture<'_, ()>> {
        self.write("{\"smtp\": ");
        Some(Box::pin(std::future::ready(())))
    }
}

#[tokio::test]
async fn file_conforms() {
    conforms(Subject::changing(|document| OnDisk::place(&document))).await;
}

/// A source whose document was made with it.
struct Fixed(Arc<dyn Source>);

impl Place for Fixed {
    fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.0)
    }

    fn put(&self, _: Value) -> BoxFuture<'_, ()> {
        unreachable!("what never changes is not changed")
    }
}

/// Returns the dotted keys of a document with their texts.
fn flat(document: &Value) -> Vec<(String, String)> {
    fn walk(prefix: &str, value: &Value, out: &mut Vec<(String, String)>) {
        match value {
            Value::Object(fields) => {
                let key = |key: &str| match prefix {
                    "" => key.to_owned(),
                    prefix => format!("{prefix}.{key}"),
                };
                fields.iter().for_each(|(name, value)| walk(&key(name), value, out));
            }
            Value::String(text) => out.push((prefix.to_owned(), text.clone())),
            other => out.push((prefix.to_owned(), other.to_string())),
        }
    }
    let mut out = Vec::new();
    walk("", document, &mut out);
    out
}

#[tokio::test]
async fn environment_conforms() {
    let make = |document: Value| {
        let name = |key: String| format!("MICRO_CONFIG_{}", key.replace('.', "__").to_uppercase());
        let variables = flat(&document).into_iter().map(|(key, text)| (name(key), text));
        Box::new(Fixed(Arc::new(Env::of("MICRO_CONFIG_", variables)))) as Box<dyn Place>
    };
    conforms(Subject::fixed(make)).await;
}

#[tokio::test]
async fn flags_conform() {
    let make = |document: Value| {
        let mut flags = Flat::new("flags");
        for (key, text) in flat(&document) {
            let origin = format!("--set {key}");
            flags.set(key, text, origin);
        }
        Box::new(Fixed(Arc::new(flags))) as Box<dyn Place>
    };
    conforms(Subject::fixed(make)).await;
}

/// Records of a store, one for each part of the document.
#[cfg(feature = "server")]
mod stored {
    use super::*;
    use crate::service::Stored;
    use crate::store::{Handle, Memory, Query};

    struct InStore(Handle);

    /// Runs what never waits to its end.
    fn at_once<T>(future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let mut task = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut task) {
            std::task::Poll::Ready(value) => value,
            std::task::Poll::Pending => panic!("a store in memory waits"),
        }
    }

    async fn replace(handle: &Handle, document: &Value) {
        let document = document.as_object().unwrap();
        for (key, value) in document {
            handle.put(key, value).await.unwrap();
        }
        let mut scan = handle.scan(Query::new());
        let mut gone = Vec::new();
        while let Some(record) = scan.next().await.unwrap() {
            gone.extend((!document.contains_key(&record.key)).then_some(record.key));
        }
        for key in gone {
            handle.delete(&key).await.unwrap();
        }
    }

    impl Place for InStore {
        fn source(&self) -> Arc<dyn Source> {
            Arc::new(Stored::new(self.0.clone()))
        }

        fn put(&self, document: Value) -> BoxFuture<'_, ()> {
            Box::pin(async move { replace(&self.0, &document).await })
        }

        fn spoil(&self) -> Option<BoxFuture<'_, ()>> {
            Some(Box::pin(async {
                let _version = self.0.write("spoiled", "{").await.unwrap();
            }))
        }
    }

    #[tokio::test]
    async fn records_of_a_store_conform() {
        let make = |document: Value| {
            let place = InStore(Handle::new(Memory::new()).table("config").unwrap());
            at_once(replace(&place.0, &document));
            Box::new(place) as Box<dyn Place>
        };
        conforms(Subject::changing(make)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn broken_sources_fail() {
    let sound = Subject::changing(|document| Broken::place(Flaw::None, document));
    conformance(&sound).await.unwrap();
    let signalled = "a_change_is_signalled";
    for (flaw, claim) in [
        (Flaw::Nameless, "it_has_one_name"),
        (Flaw::NamedAnew, "it_has_one_name"),
        (Flaw::LosesKeys, "what_was_put_is_loaded_as_types"),
        (Flaw::TextForNumbers, "what_was_put_is_loaded_as_types"),
        (Flaw::OnlyOnce, "loading_again_gives_the_same"),
        (Flaw::BrokenByADrop, "a_load_that_is_dropped_harms_none"),
        (Flaw::TellsSecrets, "debug_shows_no_values"),
        (Flaw::Stale, "a_change_is_loaded"),
        (Flaw::Unwatched, signalled),
        (Flaw::Deaf, "a_change_right_after_the_watch_began_is_not_missed"),
        (Flaw::TellsOne, "every_watch_hears_of_a_change"),
        (Flaw::EndsWithOne, "a_dropped_watch_harms_no_other"),
        (Flaw::SwallowsFaults, "what_cannot_be_read_is_an_error_that_names_the_source"),
        (Flaw::NamelessFault, "what_cannot_be_read_is_an_error_that_names_the_source"),
        (Flaw::NeverRecovers, "it_recovers_from_what_could_not_be_read"),
    ] {
        let subject = Subject::changing(move |document| Broken::place(flaw, document));
        let failures = conformance(&subject).await.expect_err("it is broken");
        assert!(failures.names().any(|name| name == claim), "{flaw:?}: {failures}");
    }
    let watched = Subject::fixed(|_| Broken::place(Flaw::None, json!({"smtp": {}})));
    assert!(conformance(&watched).await.unwrap_err().names().any(|name| name == signalled));
}
