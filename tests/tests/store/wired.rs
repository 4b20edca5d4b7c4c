//! A store as a field of a struct, and as a setting.

use micro::prelude::*;
use micro::registry::Memory as Registry;
use micro::store::Memory;

/// Counts visits.
#[service]
#[derive(Debug)]
struct Visits {
    store: Store,
}

#[service]
impl Visits {
    /// Counts one more visit.
    #[handler]
    async fn visit(&self, who: String) -> Result<u32> {
        self.store.update(&who, |count: Option<u32>| count.unwrap_or_default() + 1).await
    }
}

fn service() -> Service {
    Service::new("visits").registry(Registry::new()).no_env().wire::<Visits>()
}

#[tokio::test]
async fn a_wired_store_is_the_database_of_its_service() {
    let memory = Memory::new();
    let running = service().store(memory.clone()).start().await.unwrap();
    let visits: VisitsClient = running.client();
    assert_eq!(visits.visit("ada".into()).await.unwrap(), 1);
    assert_eq!(visits.visit("ada".into()).await.unwrap(), 2);
    assert_eq!(running.store().space().to_string(), "visits/default");
    assert_eq!(running.store().get::<u32>("ada").await.unwrap(), Some(2));
    assert_eq!(running.store().database("other").unwrap_err().code(), 403);
    running.stop().await;
    let all = Store::new(memory);
    let kept = all.database("visits").unwrap().get::<u32>("ada").await.unwrap();
    assert_eq!(kept, Some(2), "a store that was handed over outlives the process");
}

#[tokio::test]
async fn a_store_that_is_not_there_does_not_start() {
    let error = service().env([("MICRO_STORE", "memroy")]).start().await.unwrap_err();
    assert!(error.detail().contains("did you mean `memory`?"), "{error}");
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn a_file_keeps_what_a_process_wrote_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/", dir.path().display());
    for count in 1..4 {
        let running = service().args(["--store", &url]).start().await.unwrap();
        let visits: VisitsClient = running.client();
        assert_eq!(visits.visit("ada".into()).await.unwrap(), count);
        running.stop().await;
    }
    assert!(dir.path().join("visits.redb").exists());
}
