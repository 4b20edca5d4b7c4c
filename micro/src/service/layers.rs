//! The sources of a process's settings, in their order: code, files, environment, flags.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Env, Flat, Source};
use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::Result;
use crate::core::shutdown::TaskTracker;
use crate::driver::Drivers;
use crate::service::env::{self, CONFIG_PREFIX, Variables};
use crate::service::open;
use crate::service::settings::{SECTION, Settings};

/// How long a start waits for a server that holds settings; then it fails.
const SERVER_WAIT: Duration = Duration::from_secs(30);

/// The longest first pause before it is asked again; it doubles up to [`SERVER_PAUSE_MAX`].
const SERVER_PAUSE_FIRST: Duration = Duration::from_millis(100);

/// The longest pause before it is asked again.
const SERVER_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Where settings may come from; each overrides those before it.
#[derive(Debug)]
pub(crate) struct Layers {
    /// What the program sets itself.
    pub(crate) code: Flat,
    /// What the program reads by itself, in its order.
    pub(crate) sources: Vec<Arc<dyn Source>>,
    /// The environment.
    pub(crate) variables: Variables,
    /// The command line.
    pub(crate) flags: Flat,
}

impl Layers {
    /// Takes the environment and nothing else.
    pub(crate) fn of_variables(variables: Variables) -> Self {
        let (code, flags) = (Flat::new("code"), Flat::new("flags"));
        Self { code, sources: Vec::new(), variables, flags }
    }

    /// Puts the sources in order: those below settings in the store, and those above them. One on
    /// a server shares its connection by `drivers`.
    pub(crate) fn sources(self, tasks: &TaskTracker, drivers: &Drivers) -> Result<Sources> {
        let environment = env::settings(&self.variables)?;
        let key = format!("{SECTION}.config");
        let path = [&self.flags, &environment, &self.code].into_iter().find_map(|f| f.text(&key));
        let named = path.map(|path| open::open_config(path, tasks, drivers)).transpose()?;
        let mut below: Vec<Arc<dyn Source>> = vec![Arc::new(self.code)];
        below.extend(self.sources);
        below.extend(named);
        let variables = Env::of(CONFIG_PREFIX, self.variables);
        let above: [Arc<dyn Source>; 3] =
            [Arc::new(variables), Arc::new(environment), Arc::new(self.flags)];
        Ok(Sources { below, above })
    }

    /// Reads and merges everything once, for a process that does not follow its settings.
    pub(crate) async fn load(self) -> Result<(Config, Settings)> {
        let tasks = TaskTracker::new();
        let loaded = self.sources(&tasks, &Drivers::default())?.load().await;
        tasks.abort_all();
        loaded
    }
}

/// The sources of a process's settings, each overriding those before it.
#[derive(Debug)]
pub(crate) struct Sources {
    below: Vec<Arc<dyn Source>>,
    above: [Arc<dyn Source>; 3],
}

impl Sources {
    /// Reads and merges everything but what is in the store.
    ///
    /// A source on a server that is away is waited for: nothing can begin without its settings.
    pub(crate) async fn load(&self) -> Result<(Config, Settings)> {
        let deadline = clock::after(clock::now(), SERVER_WAIT);
        let mut backoff = Backoff::new(SERVER_PAUSE_FIRST, SERVER_PAUSE_MAX);
        loop {
            let error = match self.merged(None).await {
                Err(error) if error.code() == 503 && clock::now() < deadline => error,
                merged => return merged,
            };
            tracing::warn!(%error, "waiting for the settings");
            clock::sleep(backoff.next_delay()).await;
        }
    }

    /// Reads and merges everything, settings in the store too.
    #[cfg(feature = "server")]
    pub(crate) async fn load_with(&self, stored: Arc<dyn Source>) -> Result<(Config, Settings)> {
        self.merged(Some(stored)).await
    }

    async fn merged(&self, stored: Option<Arc<dyn Source>>) -> Result<(Config, Settings)> {
        let sources = self.below.iter().chain(&stored).chain(&self.above);
        let config = Config::load(&sources.cloned().collect::<Vec<_>>()).await?;
        let settings = Settings::read(&config)?;
        Ok((config, settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Memory;
    use serde_json::json;

    #[tokio::test]
    async fn each_layer_overrides_those_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.json");
        let text = json!({"a": "file", "b": "file", "micro": {"registry": "memory"}}).to_string();
        std::fs::write(&path, text).unwrap();
        let mut layers = Layers::of_variables(vec![
            ("MICRO_CONFIG".into(), path.clone().into()),
            ("MICRO_CONFIG_B".into(), "env".into()),
            ("MICRO_CONFIG_C".into(), "env".into()),
        ]);
        layers.code.set("micro.registry", "local", "code");
        layers.code.set("micro.server_name", "shop", "code");
        let document = json!({"a": "source", "z": "source"});
        layers.sources.push(Arc::new(Memory::new("source", document)));
        layers.flags.set("c", "flag", "--c");
        let (config, settings) = layers.load().await.unwrap();
        let get = |key: &str| config.get::<String>(key).unwrap();
        let seen = [get("a"), get("b"), get("c"), get("z")];
        assert_eq!(seen, ["file", "env", "flag", "source"]);
        assert_eq!(settings.registry.as_deref(), Some("memory"));
        assert_eq!(settings.server_name.as_deref(), Some("shop"));
        assert_eq!(config.origin("b").as_deref(), Some("MICRO_CONFIG_B"));
        assert_eq!(config.origin("micro.registry"), Some(format!("{}:1", path.display())));
    }

    #[tokio::test]
    async fn an_unknown_setting_in_a_file_is_an_error() {
        let mut layers = Layers::of_variables(Vec::new());
        let document = json!({"micro": {"registri": "memory"}});
        layers.sources.push(Arc::new(Memory::new("app.json", document)));
        let error = layers.load().await.unwrap_err();
        assert!(error.detail().contains("did you mean `registry`?"), "{error}");
        assert!(error.detail().contains("app.json"), "{error}");
    }
}
