//! Backends on NSQ: `nsq://host:4150,other:4150?lookup=host:4161`.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{self, Broker};
use crate::core::error::{Error, Result};
use crate::driver::{Drivers, ServerUrl};
use crate::service::url::Url;
use crate::transport::Scope;

pub(super) fn broker(url: &Url, scope: &Scope, drivers: &Drivers) -> Result<Arc<dyn Broker>> {
    let mut url = url.server(broker::Nsqd::PORT)?;
    without_user(&url, "the URL")?;
    let mut config = broker::NsqConfig::default();
    if let Some(hosts) = url.take("lookup") {
        let lookup = ServerUrl::parse(&format!("lookup://{hosts}"), broker::Nsqd::LOOKUP_PORT)?;
        lookup.finish_without_path("option")?;
        without_user(&lookup, "the option `lookup`")?;
        config = config.with_lookup(lookup.server().clone());
    }
    if let Some(seconds) = positive(&mut url, "lookup_seconds")? {
        config = config.with_lookup_interval(Duration::from_secs(seconds));
    }
    if let Some(bytes) = positive(&mut url, "message_bytes")? {
        config = config.with_message_bytes_max(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    if url.take_as("durable")?.unwrap_or_default() {
        config = config.vouched_durable();
    }
    url.finish_without_path("broker")?;
    let open = |server: &_| Ok(broker::Nsqd::open(server, &scope.tasks));
    let nsqd = drivers.share(url.server(), open)?;
    Ok(Arc::new(broker::Nsq::new(nsqd, &config, scope)))
}

/// Checks that a URL has neither user nor password: neither nsqd nor nsqlookupd is told one.
fn without_user(url: &ServerUrl, what: &str) -> Result<()> {
    let server = url.server();
    if server.user().is_none() && server.password().is_none() {
        return Ok(());
    }
    let text = format!("{what} of the broker `nsq` has a user, and NSQ is told none: leave it out");
    Err(Error::precondition_failed("micro.open", text))
}

/// Takes an option that is a number above zero.
fn positive(url: &mut ServerUrl, option: &str) -> Result<Option<u64>> {
    let number = url.take_as(option)?;
    if number == Some(0) {
        let text = format!("the option `{option}` of the broker `nsq` is a number above 0");
        return Err(Error::precondition_failed("micro.open", text));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn options_are_those_of_the_broker() {
        let (scope, drivers) = (Scope::default(), Drivers::default());
        let open = |text: &str| broker(&Url::parse(text).unwrap(), &scope, &drivers);
        for good in [
            "nsq",
            "nsq://h1,h2:5?lookup=l1,l2:6",
            "nsq://h?lookup=l&lookup_seconds=1&message_bytes=1000",
        ] {
            assert_eq!(open(good).unwrap().name(), "nsq", "{good}");
        }
        for bad in [
            "nsq://h?topic=t",
            "nsq://h/path",
            "nsq://h?lookup=l/path",
            "nsq://h?lookup=a%20b",
            "nsq://h?lookup_seconds=0",
            "nsq://h?message_bytes=-1",
            "nsq://h?durable=yes",
            "nsq://user:secret@h",
            "nsq://user@h",
            "nsq://h?lookup=user:secret@l",
        ] {
            let error = open(bad).unwrap_err();
            assert_eq!(error.code(), 412, "{bad}");
            assert!(!error.detail().contains("secret"), "{error}");
        }
        for (url, is_durable) in
            [("nsq", false), ("nsq://h?durable=false", false), ("nsq://h?durable=true", true)]
        {
            assert_eq!(open(url).unwrap().capabilities().durable, is_durable, "{url}");
        }
        scope.tasks.abort_all();
    }
}
