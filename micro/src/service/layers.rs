//! The sources of a process's settings, in their order: code, files, environment, flags.

use std::sync::Arc;

use crate::config::{Config, Env, File, Flat, Source};
use crate::core::error::Result;
use crate::service::env::{self, CONFIG_PREFIX, Variables};
use crate::service::settings::{SECTION, Settings};

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

    /// Puts the sources in order: those below settings in the store, and those above them.
    pub(crate) fn sources(self) -> Result<Sources> {
        let environment = env::settings(&self.variables)?;
        let key = format!("{SECTION}.config");
        let path = [&self.flags, &environment, &self.code].into_iter().find_map(|f| f.text(&key));
        let file = path.map(|path| path.strip_prefix("file://").unwrap_or(path).to_owned());
        let mut below: Vec<Arc<dyn Source>> = vec![Arc::new(self.code)];
        below.extend(self.sources);
        if let Some(path) = file {
            below.push(Arc::new(File::new(path)));
        }
        let variables = Env::of(CONFIG_PREFIX, self.variables);
        let above: [Arc<dyn Source>; 3] =
            [Arc::new(variables), Arc::new(environment), Arc::new(self.flags)];
        Ok(Sources { below, above })
    }

    /// Reads and merges everything.
    pub(crate) async fn load(self) -> Result<(Config, Settings)> {
        self.sources()?.load().await
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
    pub(crate) async fn load(&self) -> Result<(Config, Settings)> {
        self.merged(None).await
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
