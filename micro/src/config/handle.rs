//! The handle through which a program reads its settings.

use std::any::TypeId;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::config::document::Document;
use crate::config::listing::{self, Setting};
use crate::config::reload::{CHECKS_MAX, Check, Reloads};
use crate::config::snapshot::Snapshot;
use crate::config::values::Values;
use crate::config::{Env, Source};
use crate::core::error::{Error, Result};

/// The merged settings; a clone shares them.
///
/// They stay as they are unless [`Config::reload`] or [`Config::follow`] takes a change, which
/// replaces all of them at once. Two reads may therefore see two states; a section that is read
/// whole is of one.
#[derive(Clone)]
pub struct Config {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) sources: Vec<Arc<dyn Source>>,
    /// What each source last held; held while they are read.
    pub(super) documents: tokio::sync::Mutex<Vec<Document>>,
    pub(super) snapshot: watch::Sender<Arc<Snapshot>>,
    checks: Mutex<Vec<Check>>,
    reloads: Mutex<Reloads>,
}

impl Shared {
    fn new(sources: Vec<Arc<dyn Source>>, documents: Vec<Document>, snapshot: Snapshot) -> Self {
        Self {
            sources,
            documents: tokio::sync::Mutex::new(documents),
            snapshot: watch::Sender::new(Arc::new(snapshot)),
            checks: Mutex::default(),
            reloads: Mutex::default(),
        }
    }

    pub(super) fn checks(&self) -> MutexGuard<'_, Vec<Check>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reloads(&self) -> MutexGuard<'_, Reloads> {
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Config {
    /// Reads the sources and merges them; later ones win.
    ///
    /// # Errors
    /// When one of them cannot be read; the error names it.
    pub async fn load(sources: &[Arc<dyn Source>]) -> Result<Self> {
        let mut documents = Vec::with_capacity(sources.len());
        for source in sources {
            documents.push(source.load().await?);
        }
        let parts = sources.iter().map(|source| source.as_ref()).zip(&documents);
        let snapshot = Snapshot::merge(parts)?;
        Ok(Self { shared: Arc::new(Shared::new(sources.to_vec(), documents, snapshot)) })
    }

    /// Reads the value of a dotted key, such as a section.
    ///
    /// # Errors
    /// 412 when the key is not set, when a field of `T` is missing, unknown or of another type;
    /// the error names the key and where it is set.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        self.snapshot().get(key)
    }

    /// Reads the value of a dotted key, `None` if it is not set.
    ///
    /// # Errors
    /// As [`Config::get`], but for a key that is not set.
    pub fn find<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.snapshot().find(key)
    }

    /// Reads a value as [`Config::get`] does, and refuses every later change under which that
    /// would fail.
    ///
    /// # Errors
    /// As [`Config::get`]; 429 when more than 1,024 types are required.
    pub fn require<T: DeserializeOwned + 'static>(&self, key: &str) -> Result<T> {
        let read = key.to_owned();
        let run = move |snapshot: &Snapshot| snapshot.get::<T>(&read).map(drop);
        self.checked(TypeId::of::<T>(), key, run, || self.get(key))
    }

    /// Reads a value as [`Config::find`] does, and refuses every later change under which that
    /// would fail.
    ///
    /// # Errors
    /// As [`Config::find`]; 429 when more than 1,024 types are required.
    pub fn accept<T: DeserializeOwned + 'static>(&self, key: &str) -> Result<Option<T>> {
        let read = key.to_owned();
        let run = move |snapshot: &Snapshot| snapshot.find::<T>(&read).map(drop);
        self.checked(TypeId::of::<Option<T>>(), key, run, || self.find(key))
    }

    /// Follows the value of a dotted key: the present one comes first, then each that differs.
    ///
    /// A change under which the key cannot be read as `T` is refused, as by [`Config::require`],
    /// so every value fits.
    ///
    /// # Errors
    /// As [`Config::require`].
    pub fn watch<T>(&self, key: &str) -> Result<Values<T>>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let snapshots = self.shared.snapshot.subscribe();
        self.require::<T>(key)?;
        Ok(Values::new(key, snapshots))
    }

    /// Returns where a key is set, such as `app.json:3`.
    pub fn origin(&self, key: &str) -> Option<String> {
        self.snapshot().root.find(key).map(|node| node.origin.to_string())
    }

    /// Lists every value with its origin, in key order, secrets masked.
    pub fn settings(&self) -> Vec<Setting> {
        listing::list(&self.snapshot().root)
    }

    /// Lists the sources, each overriding those before it.
    pub fn sources(&self) -> Vec<String> {
        self.shared.sources.iter().map(|source| source.name().to_owned()).collect()
    }

    /// Reads `MICRO_CONFIG_*` alone, for programs without a service.
    ///
    /// # Errors
    /// When a variable is not well formed.
    pub async fn from_env() -> Result<Self> {
        Self::load(&[Arc::new(Env::new("MICRO_CONFIG_"))]).await
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.snapshot.borrow())
    }

    /// Reads a value and keeps the check of it for later changes, both under one state.
    fn checked<V>(
        &self,
        kind: TypeId,
        key: &str,
        run: impl Fn(&Snapshot) -> Result<()> + Send + Sync + 'static,
        read: impl FnOnce() -> Result<V>,
    ) -> Result<V> {
        // Invariant: whoever replaces the settings holds this lock from the checks on.
        let mut checks = self.shared.checks();
        let value = read()?;
        if checks.iter().any(|check| check.kind == kind && check.key == key) {
            return Ok(value);
        }
        if checks.len() >= CHECKS_MAX {
            let detail = format!("more than {CHECKS_MAX} types of settings are required");
            return Err(Error::too_many_requests("micro.config", detail));
        }
        checks.push(Check { kind, key: key.to_owned(), run: Box::new(run) });
        Ok(value)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { shared: Arc::new(Shared::new(Vec::new(), Vec::new(), Snapshot::empty())) }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.settings()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flat, Memory};
    use serde::Deserialize;
    use serde_json::json;
    use std::time::Duration;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Smtp {
        host: String,
        port: u16,
        #[serde(default)]
        tls: bool,
        #[serde(default)]
        to: Vec<String>,
        password: Option<String>,
        wait: Option<Duration>,
        mode: Option<Mode>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Plain,
        Relay { via: String },
    }

    async fn load(layers: Vec<Arc<dyn Source>>) -> Config {
        Config::load(&layers).await.unwrap()
    }

    fn flat(entries: &[(&str, &str)]) -> Arc<dyn Source> {
        let mut flat = Flat::new("flags");
        for (key, text) in entries {
            flat.set(*key, *text, format!("--{key}"));
        }
        Arc::new(flat)
    }

    fn file(document: serde_json::Value) -> Arc<dyn Source> {
        Arc::new(Memory::new("app.json", document))
    }

    #[tokio::test]
    async fn later_sources_win_key_by_key() {
        let config = load(vec![
            file(json!({"smtp": {"host": "a", "port": 25}})),
            flat(&[("smtp.host", "b")]),
        ])
        .await;
        let smtp: Smtp = config.get("smtp").unwrap();
        assert_eq!((smtp.host.as_str(), smtp.port), ("b", 25));
        assert_eq!(config.origin("smtp.host").as_deref(), Some("--smtp.host"));
        assert_eq!(config.origin("smtp.port").as_deref(), Some("app.json"));
    }

    #[tokio::test]
    async fn text_is_read_as_the_type_asked_for() {
        let config = load(vec![flat(&[
            ("smtp.host", "123"),
            ("smtp.port", "25"),
            ("smtp.tls", "true"),
            ("smtp.to", "a, b"),
            ("smtp.password", ""),
            ("smtp.wait", "1m30s"),
            ("smtp.mode", r#"{"relay": {"via": "x"}}"#),
        ])])
        .await;
        let expected = Smtp {
            host: "123".into(),
            port: 25,
            tls: true,
            to: vec!["a".into(), "b".into()],
            password: None,
            wait: Some(Duration::from_secs(90)),
            mode: Some(Mode::Relay { via: "x".into() }),
        };
        assert_eq!(config.get::<Smtp>("smtp").unwrap(), expected);
        let config = load(vec![flat(&[("mode", "plain")])]).await;
        assert_eq!(config.get::<Mode>("mode").unwrap(), Mode::Plain);
    }

    #[tokio::test]
    async fn each_fault_names_the_key_and_its_source() {
        for (document, parts) in [
            (json!({"host": "a", "port": "x"}), ["`smtp.port`", "app.json", "u16"]),
            (json!({"host": "a", "port": 70_000}), ["`smtp.port`", "app.json", "70000"]),
            (json!({"host": "a", "prt": 1}), ["`smtp.prt`", "unknown key", "`port`"]),
            (json!({"host": "a", "port": 1, "wait": 5}), ["`smtp.wait`", "unit", "`5`"]),
            (json!({"host": "a", "port": 1, "to": [1]}), ["`smtp.to[0]`", "app.json", "string"]),
            (json!({"port": 1}), ["`smtp.host`", "is missing", "read as `Smtp`"]),
            (json!({"host": "a", "port": 1, "mode": "fast"}), ["`smtp.mode`", "fast", "plain"]),
        ] {
            let config = load(vec![file(json!({ "smtp": document }))]).await;
            let error = config.get::<Smtp>("smtp").unwrap_err();
            assert!(parts.iter().all(|part| error.detail().contains(part)), "{error}");
        }
    }

    #[tokio::test]
    async fn a_key_that_is_not_set_names_the_sources_and_the_variable() {
        let config = load(vec![file(json!({})), flat(&[])]).await;
        let error = config.get::<Smtp>("mail.smtp").unwrap_err();
        for part in ["`mail.smtp`", "`Smtp`", "app.json, flags", "MICRO_CONFIG_MAIL__SMTP"] {
            assert!(error.detail().contains(part), "{error}");
        }
        assert_eq!(config.find::<u8>("mail").unwrap(), None);
    }

    #[tokio::test]
    async fn secrets_show_neither_in_errors_nor_in_listings() {
        let config = load(vec![flat(&[("db.password", "hunter2")])]).await;
        let error = config.get::<u16>("db.password").unwrap_err();
        assert!(!error.detail().contains("hunter2"), "{error}");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(config.settings().first().unwrap().value, "***");
        let config = load(vec![file(json!({"db": {"password": 1234}}))]).await;
        let error = config.get::<String>("db.password").unwrap_err();
        assert!(!error.detail().contains("1234"), "{error}");
    }

    #[tokio::test]
    async fn the_password_of_a_url_shows_neither_in_errors_nor_in_listings() {
        let url = "nats://u:hunter2@h,redis://v:hunter2@g";
        let lists = json!({"text": url, "urls": [url, {"deep": url}]});
        let config = load(vec![file(lists), flat(&[("loose", url)])]).await;
        for key in ["text", "loose"] {
            for error in [
                config.get::<u16>(key).unwrap_err(),
                config.get::<Mode>(key).unwrap_err(),
                config.get::<Duration>(key).unwrap_err(),
            ] {
                assert!(!error.detail().contains("hunter2"), "{error}");
            }
        }
        let error = config.get::<Vec<u16>>("urls").unwrap_err();
        assert!(error.detail().contains("nats://u:***@h,redis://v:***@g"), "{error}");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(config.settings().iter().all(|setting| setting.value.contains("redis://v:***@g")));
    }

    #[tokio::test]
    async fn values_are_never_expanded() {
        let config = load(vec![flat(&[("a", "${HOME}")])]).await;
        assert_eq!(config.get::<String>("a").unwrap(), "${HOME}");
    }

    #[tokio::test]
    async fn a_document_that_is_no_object_is_refused() {
        let error = Config::load(&[file(json!([1]))]).await.unwrap_err();
        assert!(error.detail().contains("app.json"), "{error}");
    }
}
