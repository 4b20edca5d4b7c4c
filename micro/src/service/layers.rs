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

    /// Reads and merges everything.
    pub(crate) async fn load(self) -> Result<(Config, Settings)> {
        let environment = env::settings(&self.variables)?;
        let key = format!("{SECTION}.config");
        let path = [&self.flags, &environment, &self.code].into_iter().find_map(|f| f.text(&key));
        let file = path.map(|path| path.strip_prefix("file://").unwrap_or(path).to_owned());
        let mut sources: Vec<Arc<dyn Source>> = vec![Arc::new(self.code)];
        sources.extend(self.sources);
        if let Some(path) = file {
            sources.push(Arc::new(File::new(path)));
        }
        sources.push(Arc::new(Env::of(CONFIG_PREFIX, self.variables)));
        sources.push(Arc::new(environment));
        sources.push(Arc::new(self.flags));
        let config = Config::load(&sources).await?;
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
        assert_eq!(config.origin("micro.registry"), Some(path.display().to_string()));
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
