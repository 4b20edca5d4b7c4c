//! The broker on Google Cloud Pub/Sub: `pubsub://project?endpoint=127.0.0.1:8085`.

use std::sync::Arc;

use crate::broker::{self, Broker, PubSubConfig, PubSubEndpoint};
use crate::core::error::Result;
use crate::driver::{Drivers, Server};
use crate::service::url::Url;
use crate::transport::Scope;

/// The port of Google's servers; a project has none.
const PORT: u16 = 443;

/// Where Google's own tools find an emulator.
const EMULATOR: &str = "PUBSUB_EMULATOR_HOST";

pub(super) fn broker(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Broker>> {
    let config = config(url, std::env::var(EMULATOR).ok())?;
    let place = match &config.endpoint {
        PubSubEndpoint::At(host) | PubSubEndpoint::Emulator(host) => host.as_str(),
        _ => "pubsub.googleapis.com",
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(PORT)),
        None => (place, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // What tells brokers apart: one on another project is another.
    let server = Server::new(host, port).with_user(&config.project, "");
    Ok(drivers.share(&server, |_| broker::PubSub::new(&config, scope))?)
}

fn config(url: &Url, emulator: Option<String>) -> Result<PubSubConfig> {
    let mut url = url.server(PORT)?;
    let endpoint = url.take("endpoint").or(emulator.filter(|host| !host.is_empty()));
    url.finish_without_path("broker")?;
    let project = url.server().hosts().first().map(|(host, _)| host.clone()).unwrap_or_default();
    let endpoint = match endpoint {
        None => PubSubEndpoint::Google,
        Some(text) => match text.strip_prefix("https://") {
            Some(host) => PubSubEndpoint::At(host.to_owned()),
            None => {
                PubSubEndpoint::Emulator(text.strip_prefix("http://").unwrap_or(&text).to_owned())
            }
        },
    };
    Ok(PubSubConfig::new(project).with_endpoint(endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, emulator: Option<&str>) -> Result<PubSubConfig> {
        config(&Url::parse(url).unwrap(), emulator.map(ToOwned::to_owned))
    }

    #[test]
    fn the_url_says_where_the_servers_are_and_then_the_environment() {
        let emulator = |host: &str| PubSubEndpoint::Emulator(host.to_owned());
        let at = PubSubEndpoint::At("europe-west1-pubsub.googleapis.com".to_owned());
        for (url, variable, endpoint) in [
            ("pubsub://shop-1", None, PubSubEndpoint::Google),
            ("pubsub://shop-1", Some(""), PubSubEndpoint::Google),
            ("pubsub://shop-1", Some("[::1]:8085"), emulator("[::1]:8085")),
            ("pubsub://shop-1?endpoint=127.0.0.1:1", Some("h:2"), emulator("127.0.0.1:1")),
            ("pubsub://shop-1?endpoint=http://h:1", None, emulator("h:1")),
            (
                "pubsub://shop-1?endpoint=https://europe-west1-pubsub.googleapis.com",
                Some("h:2"),
                at,
            ),
        ] {
            let config = read(url, variable).unwrap();
            assert_eq!((config.project.as_str(), config.endpoint), ("shop-1", endpoint), "{url}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for wrong in ["pubsub://shop-1/topic", "pubsub://shop-1?topic=x"] {
            assert_eq!(read(wrong, None).unwrap_err().code(), 412, "{wrong}");
        }
    }

    #[tokio::test]
    async fn brokers_of_one_project_and_place_are_one() {
        let (scope, drivers) = (Scope::default(), Drivers::default());
        let open = |url: &str| broker(&Url::parse(url).unwrap(), &scope, &drivers);
        let first = open("pubsub://a1?endpoint=127.0.0.1:1").unwrap();
        let second = open("pubsub://a1?endpoint=127.0.0.1:1").unwrap();
        let other = open("pubsub://a2?endpoint=127.0.0.1:1").unwrap();
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
        assert_eq!(open("pubsub://?endpoint=a b").map(drop).unwrap_err().code(), 412);
    }
}
