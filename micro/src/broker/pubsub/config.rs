//! Where messages go: the project, and the servers that keep it.

/// Where the servers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PubSubEndpoint {
    /// Google's own, over TLS and with the credentials of the process: `pubsub.googleapis.com`.
    #[default]
    Google,
    /// Others of Google's, such as those of one region, as `host` or `host:port`; over TLS and with
    /// the credentials of the process.
    At(String),
    /// An emulator at `host:port`, without TLS and without credentials.
    Emulator(String),
}

/// Where messages go.
///
/// ```
/// use micro::broker::{PubSubConfig, PubSubEndpoint};
///
/// let emulator = PubSubEndpoint::Emulator("127.0.0.1:8085".into());
/// let config = PubSubConfig::new("shop-1").with_endpoint(emulator);
/// assert_eq!(config.project, "shop-1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PubSubConfig {
    /// The id of the project.
    pub project: String,
    /// Where the servers are: Google's own.
    pub endpoint: PubSubEndpoint,
}

impl PubSubConfig {
    /// Names the project.
    pub fn new(project: impl Into<String>) -> Self {
        Self { project: project.into(), endpoint: PubSubEndpoint::default() }
    }

    /// Chooses where the servers are.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: PubSubEndpoint) -> Self {
        self.endpoint = endpoint;
        self
    }
}
