//! What the servers are asked.

use std::time::Duration;

use super::fault::Effect;

/// One kind of question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// Where it goes, and what it is called in errors.
    pub(super) path: &'static str,
    /// The field that says which of the servers it goes to.
    pub(super) routed_by: &'static str,
    pub(super) effect: Effect,
    /// The longest that its answer may take; then whether it ran is not known.
    pub(super) patience: Duration,
}

/// The longest that an answer may take whose question is short.
const SHORT: Duration = Duration::from_secs(5);

/// The longest that the answer to a question of 10 MB may take.
const LONG: Duration = Duration::from_secs(15);

/// The longest that the server waits for messages: Google's and the emulator give up after 90 s.
const POLL: Duration = Duration::from_secs(95);

pub(super) const PUBLISH: Call = Call {
    path: "/google.pubsub.v1.Publisher/Publish",
    routed_by: "topic",
    effect: Effect::Repeated,
    patience: LONG,
};

pub(super) const CREATE_TOPIC: Call = once("/google.pubsub.v1.Publisher/CreateTopic", "name");

pub(super) const GET_TOPIC: Call = once("/google.pubsub.v1.Publisher/GetTopic", "topic");

pub(super) const CREATE_SUBSCRIPTION: Call =
    once("/google.pubsub.v1.Subscriber/CreateSubscription", "name");

pub(super) const GET_SUBSCRIPTION: Call =
    once("/google.pubsub.v1.Subscriber/GetSubscription", "subscription");

pub(super) const DELETE_SUBSCRIPTION: Call =
    once("/google.pubsub.v1.Subscriber/DeleteSubscription", "subscription");

pub(super) const ACKNOWLEDGE: Call =
    once("/google.pubsub.v1.Subscriber/Acknowledge", "subscription");

pub(super) const MODIFY_ACK_DEADLINE: Call =
    once("/google.pubsub.v1.Subscriber/ModifyAckDeadline", "subscription");

pub(super) const PULL: Call =
    Call { patience: POLL, ..once("/google.pubsub.v1.Subscriber/Pull", "subscription") };

const fn once(path: &'static str, routed_by: &'static str) -> Call {
    Call { path, routed_by, effect: Effect::Once, patience: SHORT }
}
