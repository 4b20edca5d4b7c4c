//! Which cluster a process is a member of.

use std::net::{Ipv4Addr, SocketAddr};

use crate::core::error::Result;
use crate::core::limits::RegistryLimits;
use crate::driver::ServerUrl;

/// Which cluster a process is a member of, and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GossipConfig {
    /// The name of the cluster.
    pub cluster: String,
    /// `host:port` of members that are asked first, at most [`HOSTS_MAX`](crate::driver::HOSTS_MAX).
    pub seeds: Vec<String>,
    /// Where to listen; loopback if it is not said.
    pub listen: Option<SocketAddr>,
    /// Where others reach this member; where it listens if it is not said.
    pub advertise: Option<SocketAddr>,
    /// Bounds of what is registered and heard.
    pub limits: RegistryLimits,
}

impl Default for GossipConfig {
    fn default() -> Self {
        let seeds = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, Self::PORT)).to_string()];
        let (cluster, limits) = ("micro".to_owned(), RegistryLimits::DEFAULT);
        Self { cluster, seeds, listen: None, advertise: None, limits }
    }
}

impl GossipConfig {
    /// The port of seeds whose URL has none, and of the first member of a machine.
    pub(crate) const PORT: u16 = 7280;

    /// Names the cluster.
    #[must_use]
    pub fn with_cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = cluster.into();
        self
    }

    /// Replaces the members that are asked first, each `host:port`.
    #[must_use]
    pub fn with_seeds(mut self, seeds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.seeds = seeds.into_iter().map(Into::into).collect();
        self
    }

    /// Listens at an address; port 0 is a free one.
    #[must_use]
    pub fn with_listen(mut self, listen: SocketAddr) -> Self {
        self.listen = Some(listen);
        self
    }

    /// Says where others reach this member.
    #[must_use]
    pub fn with_advertise(mut self, advertise: SocketAddr) -> Self {
        self.advertise = Some(advertise);
        self
    }

    /// Works within other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: RegistryLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Reads the URL of the registry.
    pub(crate) fn of_url(mut url: ServerUrl) -> Result<Self> {
        let mut config = Self::default().with_seeds(url.server().addresses());
        config.listen = url.take_as("listen")?;
        config.advertise = url.take_as("advertise")?;
        config.cluster = url.take("cluster").unwrap_or(config.cluster);
        url.finish_without_path("registry")?;
        Ok(config)
    }
}
