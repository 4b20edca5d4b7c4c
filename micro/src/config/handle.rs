//! The handle through which a program reads its settings.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::config::fault::is_secret;
use crate::config::reader::Reader;
use crate::config::tree::{Kind, Node};
use crate::config::{Env, Source};
use crate::core::error::{Error, Result};

/// The merged settings; a clone shares them.
#[derive(Clone)]
pub struct Config {
    inner: Arc<Inner>,
}

struct Inner {
    root: Node,
    sources: Vec<String>,
}

/// One value as [`Config::settings`] lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The dotted key.
    pub key: String,
    /// The value as JSON; `***` where the key looks as if it held a secret.
    pub value: String,
    /// Where it is set.
    pub origin: String,
}

impl Config {
    /// Reads the sources and merges them; later ones win.
    ///
    /// # Errors
    /// When one of them cannot be read; the error names it.
    pub async fn load(sources: &[Arc<dyn Source>]) -> Result<Self> {
        let mut root = Node::empty();
        for source in sources {
            root.overlay(source.as_ref(), source.load().await?)?;
        }
        let mut sources: Vec<_> = sources.iter().map(|source| source.name().to_owned()).collect();
        sources.dedup();
        Ok(Self { inner: Arc::new(Inner { root, sources }) })
    }

    /// Reads the value of a dotted key, such as a section.
    ///
    /// # Errors
    /// 412 when the key is not set, when a field of `T` is missing, unknown or of another type;
    /// the error names the key and where it is set.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        self.find(key)?.ok_or_else(|| {
            let hint =
                format!("{}{}", "MICRO_CONFIG_", key.to_ascii_uppercase().replace('.', "__"));
            let looked = self.inner.sources.join(", ");
            let detail = if looked.is_empty() {
                format!("`{key}` is not set: nothing is configured")
            } else {
                format!("`{key}` is not set; looked in {looked} (a variable would be {hint})")
            };
            Error::precondition_failed("micro.config", detail)
        })
    }

    /// Reads the value of a dotted key, `None` if it is not set.
    ///
    /// # Errors
    /// As [`Config::get`], but for a key that is not set.
    pub fn find<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let Some(node) = self.inner.root.find(key) else { return Ok(None) };
        let value = T::deserialize(Reader::new(node, key));
        value.map(Some).map_err(|fault| Error::precondition_failed("micro.config", fault))
    }

    /// Returns where a key is set.
    pub fn origin(&self, key: &str) -> Option<String> {
        self.inner.root.find(key).map(|node| node.origin.to_string())
    }

    /// Lists every value with its origin, in key order, secrets masked.
    pub fn settings(&self) -> Vec<Setting> {
        let mut out = Vec::new();
        collect(&self.inner.root, "", &mut out);
        out
    }

    /// Reads `MICRO_CONFIG_*` alone, for programs without a service.
    ///
    /// # Errors
    /// When a variable is not well formed.
    pub async fn from_env() -> Result<Self> {
        Self::load(&[Arc::new(Env::new("MICRO_CONFIG_"))]).await
    }
}

fn collect(node: &Node, key: &str, out: &mut Vec<Setting>) {
    if let Kind::Table(table) = &node.kind {
        for (name, node) in table {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            collect(node, &key, out);
        }
        return;
    }
    let value = if is_secret(key) { "***".to_owned() } else { show(node) };
    out.push(Setting { key: key.to_owned(), value, origin: node.origin.to_string() });
}

fn show(node: &Node) -> String {
    match &node.kind {
        Kind::Null => "null".to_owned(),
        Kind::Bool(value) => value.to_string(),
        Kind::Number(value) => value.to_string(),
        Kind::Text(text) => format!("\"{}\"", text.escape_debug()),
        Kind::Loose(text) => text.escape_debug().to_string(),
        // Lists may hold tables with keys of their own; their parts are not shown.
        Kind::List(items) => format!("[{} items]", items.len()),
        Kind::Table(table) => format!("{{{} keys}}", table.len()),
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { inner: Arc::new(Inner { root: Node::empty(), sources: Vec::new() }) }
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
            (json!({"port": 1}), ["`smtp.host`", "is missing", ""]),
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
        for part in ["`mail.smtp`", "app.json, flags", "MICRO_CONFIG_MAIL__SMTP"] {
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
