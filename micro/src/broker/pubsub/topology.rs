//! What has to be on the servers: topics and subscriptions. Creating again what is there changes
//! nothing, and where that is not allowed it is enough that it is there.

use crate::core::error::Error;
use crate::core::error::Result;

use super::calls::{
    CREATE_SUBSCRIPTION, CREATE_TOPIC, Call, DELETE_SUBSCRIPTION, GET_SUBSCRIPTION, GET_TOPIC,
};
use super::link::Link;
use super::messages::{
    DeadLetterPolicy, ExpirationPolicy, Named, Nothing, Subscription, Time, Topic,
};

/// Seconds for which a message is lent to whoever takes it; then it is delivered again. At least ten,
/// and several times the pause after which what is still needed is borrowed for longer.
pub(super) const LEASE_SECONDS: i32 = 20;

/// Seconds without a reader after which the servers delete a subscription that has no group: a day,
/// the least. Its subscriber deletes it before, unless it dies.
const PASSING_SECONDS: i64 = 24 * 60 * 60;

/// Deliveries after which the servers themselves give a message up, the most that they allow: the
/// deliveries are counted by the servers for this alone, and what fails is given up here before.
pub(super) const DELIVERIES_MAX: i32 = 100;

/// How long a subscription lasts that nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasting {
    Forever,
    Passing,
}

/// Sees to it that there is a topic.
pub(super) async fn topic(link: &Link, name: &str) -> Result<()> {
    let question = Topic { name: name.to_owned() };
    let created: Result<Nothing> = link.ask(&CREATE_TOPIC, name, question).await;
    there(link, &GET_TOPIC, name, created).await
}

/// Sees to it that there is a subscription to a topic that is there. With a topic for dead letters
/// the servers count the deliveries.
pub(super) async fn subscription(
    link: &Link,
    name: &str,
    topic: &str,
    dead: Option<&str>,
    lasting: Lasting,
) -> Result<()> {
    let ttl = match lasting {
        Lasting::Forever => None,
        Lasting::Passing => Some(Time { seconds: PASSING_SECONDS, nanos: 0 }),
    };
    let question = Subscription {
        name: name.to_owned(),
        topic: topic.to_owned(),
        ack_deadline_seconds: LEASE_SECONDS,
        expiration_policy: Some(ExpirationPolicy { ttl }),
        dead_letter_policy: dead.map(|dead| DeadLetterPolicy {
            dead_letter_topic: dead.to_owned(),
            max_delivery_attempts: DELIVERIES_MAX,
        }),
    };
    let created: Result<Nothing> = link.ask(&CREATE_SUBSCRIPTION, name, question).await;
    there(link, &GET_SUBSCRIPTION, name, created).await
}

/// Deletes a subscription; an absent one is no error.
pub(super) async fn remove(link: &Link, name: &str) -> Result<()> {
    let deleted = link.ask(&DELETE_SUBSCRIPTION, name, Named { name: name.to_owned() }).await;
    match deleted {
        Ok(Nothing {}) => Ok(()),
        Err(error) if error.code() == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

async fn there(link: &Link, get: &Call, name: &str, created: Result<Nothing>) -> Result<()> {
    let error: Error = match created {
        Ok(Nothing {}) => return Ok(()),
        Err(error) if error.code() == 409 => return Ok(()),
        Err(error) => error,
    };
    if error.code() != 403 {
        return Err(error);
    }
    match link.ask(get, name, Named { name: name.to_owned() }).await {
        Ok(Nothing {}) => Ok(()),
        Err(_absent) => Err(error),
    }
}
