//! Sources that are broken on purpose, each in one way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::config::{Changes, Document, Signal, Source};
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::testkit::config::Place;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Nothing.
    None,
    Nameless,
    NamedAnew,
    LosesKeys,
    TextForNumbers,
    OnlyOnce,
    BrokenByADrop,
    TellsSecrets,
    Stale,
    Unwatched,
    Deaf,
    TellsOne,
    EndsWithOne,
    SwallowsFaults,
    NamelessFault,
    NeverRecovers,
}

#[derive(Clone)]
pub(super) struct Broken {
    flaw: Flaw,
    name: String,
    first: Value,
    document: Arc<Mutex<Value>>,
    told: watch::Sender<()>,
    spoilt: Arc<AtomicBool>,
    used: Arc<AtomicBool>,
    only: Arc<Mutex<Option<Signal>>>,
}

impl Broken {
    pub(super) fn place(flaw: Flaw, document: Value) -> Box<dyn Place> {
        Box::new(Self {
            flaw,
            name: if flaw == Flaw::Nameless { " ".to_owned() } else { "broken".to_owned() },
            first: document.clone(),
            document: Arc::new(Mutex::new(document)),
            told: watch::Sender::new(()),
            spoilt: Arc::default(),
            used: Arc::default(),
            only: Arc::default(),
        })
    }

    fn read(&self, document: &Value) -> Result<Document> {
        let spoilt = self.spoilt.load(Ordering::SeqCst);
        if spoilt && self.flaw != Flaw::SwallowsFaults {
            let place = if self.flaw == Flaw::NamelessFault { "it" } else { &self.name };
            let detail = format!("{place} cannot be read");
            return Err(Error::precondition_failed("micro.config", detail));
        }
        let again = self.used.swap(true, Ordering::SeqCst);
        Ok(match self.flaw {
            Flaw::LosesKeys => Document::new(json!({"smtp": {"host": "a"}})),
            Flaw::TextForNumbers => {
                let text = document.to_string().replace("25", "\"25\"").replace("26", "\"26\"");
                Document::new(serde_json::from_str(&text).unwrap())
            }
            Flaw::OnlyOnce if again => Document::new(json!({})),
            Flaw::Stale => Document::new(self.first.clone()),
            _ => Document::new(document.clone()),
        })
    }
}

impl std::fmt::Debug for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.flaw == Flaw::TellsSecrets {
            return write!(f, "Broken({})", self.first);
        }
        f.write_str("Broken")
    }
}

impl Source for Broken {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self) -> BoxFuture<'_, Result<Document>> {
        Box::pin(async move {
            if self.flaw == Flaw::BrokenByADrop {
                let begun = self.used.swap(true, Ordering::SeqCst);
                tokio::task::yield_now().await;
                if begun {
                    return Err(Error::conflict("micro.config", "a load of broken has begun"));
                }
                self.used.store(false, Ordering::SeqCst);
                return Ok(Document::new(self.first.clone()));
            }
            let document = self.document.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.read(&document)
        })
    }

    fn watch(&self) -> BoxFuture<'_, Result<Option<Changes>>> {
        Box::pin(async move {
            let (signal, changes) = Signal::channel();
            match self.flaw {
                Flaw::Unwatched => return Ok(None),
                // Begins to listen when somebody waits.
                Flaw::Deaf => {
                    let told = self.told.clone();
                    return Ok(Some(changes.with_driver(async move {
                        let mut told = told.subscribe();
                        while told.changed().await.is_ok() && signal.send() {}
                    })));
                }
                Flaw::TellsOne => {
                    let mut only = self.only.lock().unwrap_or_else(PoisonError::into_inner);
                    only.get_or_insert(signal);
                    return Ok(Some(changes));
                }
                Flaw::EndsWithOne if self.told.receiver_count() > 0 => return Ok(Some(changes)),
                _ => {}
            }
            let mut told = self.told.subscribe();
            let driver = async move { while told.changed().await.is_ok() && signal.send() {} };
            Ok(Some(changes.with_driver(driver)))
        })
    }
}

impl Place for Broken {
    fn source(&self) -> Arc<dyn Source> {
        let mut source = self.clone();
        if self.flaw == Flaw::NamedAnew {
            source.name = format!("broken {}", fastrand::u64(..));
        }
        Arc::new(source)
    }

    fn put(&self, document: Value) -> BoxFuture<'_, ()> {
        *self.document.lock().unwrap_or_else(PoisonError::into_inner) = document;
        if self.flaw != Flaw::NeverRecovers {
            self.spoilt.store(false, Ordering::SeqCst);
        }
        self.told.send_replace(());
        if let Some(only) = &*self.only.lock().unwrap_or_else(PoisonError::into_inner) {
            only.send();
        }
        Box::pin(std::future::ready(()))
    }

    fn spoil(&self) -> Option<BoxFuture<'_, ()>> {
        self.spoilt.store(true, Ordering::SeqCst);
        Some(Box::pin(std::future::ready(())))
    }
}
