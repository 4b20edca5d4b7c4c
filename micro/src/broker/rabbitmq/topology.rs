//! What has to be on the server: exchanges, and the queues of groups. Declaring again what is there
//! changes nothing, so that each channel declares what it needs.

use lapin::Channel;
use lapin::ExchangeKind;
use lapin::options::ExchangeDeclareOptions;
use lapin::options::QueueBindOptions;
use lapin::options::QueueDeclareOptions;
use lapin::types::AMQPValue;
use lapin::types::FieldTable;
use lapin::types::ShortString;

use crate::broker::dead_letter::DEAD_SUFFIX;
use crate::core::error::Result;
use crate::driver::amqp::answer;

use super::names::DEAD_QUEUE;
use super::names::Exchanges;
use super::names::group;
use super::names::key;

/// Messages in one queue; the server refuses more to the publisher.
pub(super) const QUEUE_MESSAGES_MAX: i32 = 1_000_000;

/// How often the server gives a message back before it drops it: never. Deliveries are counted
/// here, and what fails goes to the dead letters with what is known of it.
const DELIVERY_LIMIT: i32 = i32::MAX;

/// Declares the exchanges.
pub(super) async fn exchanges(channel: &Channel, exchanges: &Exchanges) -> Result<()> {
    for name in [&exchanges.alive, &exchanges.dead] {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared =
            channel.exchange_declare(name.clone(), ExchangeKind::Topic, options, nothing());
        answer(&format!("declare the exchange `{name}`"), declared).await?;
    }
    Ok(())
}

/// Declares the queue of a group and binds it to the topic; returns its name.
pub(super) async fn durable(
    channel: &Channel,
    exchanges: &Exchanges,
    topic: &str,
    queue: &str,
) -> Result<ShortString> {
    let mut arguments = bounded();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let name = group(topic, queue)?;
    let declared = channel.queue_declare(name.clone(), options, arguments);
    answer(&format!("declare the queue `{name}`"), declared).await?;
    bind(channel, exchanges, topic, &name).await?;
    Ok(name)
}

/// Declares a queue that ends with its consumer or connection and binds it to the topic; returns
/// its name, which is another each time: the server may hold on to that of a connection that was
/// lost.
pub(super) async fn passing(
    channel: &Channel,
    exchanges: &Exchanges,
    topic: &str,
) -> Result<ShortString> {
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare("".into(), options, bounded());
    let name = answer("declare a queue", declared).await?.name().clone();
    bind(channel, exchanges, topic, &name).await?;
    Ok(name)
}

/// Declares the queue that keeps the dead letters of a topic.
pub(super) async fn dead(channel: &Channel, exchanges: &Exchanges, topic: &str) -> Result<()> {
    let topic = format!("{topic}{DEAD_SUFFIX}");
    durable(channel, exchanges, &topic, DEAD_QUEUE).await.map(drop)
}

async fn bind(
    channel: &Channel,
    exchanges: &Exchanges,
    topic: &str,
    queue: &ShortString,
) -> Result<()> {
    let options = QueueBindOptions::default();
    let bound =
        channel.queue_bind(queue.clone(), exchanges.of(topic), key(topic)?, options, nothing());
    answer(&format!("bind the queue `{queue}`"), bound).await
}

/// Returns the arguments that bound a queue.
fn bounded() -> FieldTable {
    let mut arguments = nothing();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(QUEUE_MESSAGES_MAX));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn nothing() -> FieldTable {
    FieldTable::default()
}
