//! Messages as they travel: metadata as headers, the body as it is.

use std::sync::Arc;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::AMQPValue;
use lapin::types::FieldTable;
use lapin::types::LongString;

use crate::broker::message::Message;
use crate::core::content_type::ContentType;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::metadata::Metadata;

use super::ERROR_ID;
use super::names::short;

/// Written to disk before it is confirmed.
const PERSISTENT: u8 = 2;

/// How often a message was given back to its queue, as the server counts.
const DELIVERY_COUNT: &str = "x-delivery-count";

/// The content type where a publisher writes it among the headers.
const CONTENT_TYPE: &str = "Content-Type";

/// Headers that mean something to the server.
const RESERVED: [&str; 4] = ["cc", "bcc", "x-death", DELIVERY_COUNT];

/// Returns the properties of a message to publish.
///
/// # Errors
/// 400 for metadata that the protocol has no room for or the server would act on.
pub(super) fn properties(message: &Message) -> Result<BasicProperties> {
    let mut headers = FieldTable::default();
    for (key, value) in &message.metadata {
        if RESERVED.iter().any(|reserved| key.eq_ignore_ascii_case(reserved)) {
            let text = format!("publish to {}: rabbitmq keeps the key `{key}`", message.topic);
            return Err(Error::bad_request(ERROR_ID, text));
        }
        headers.insert(short("metadata", key)?, AMQPValue::LongString(LongString::from(value)));
    }
    Ok(BasicProperties::default()
        .with_content_type(short("content type", message.content_type.as_str())?)
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers)
        .with_message_id(short("message id", message.id.as_str())?))
}

/// Takes the message out of a delivery. What others publish may have no id, or one that no message
/// has, and gets one that differs with each delivery; headers that are no metadata are left out.
///
/// # Errors
/// 400 for a routing key that is no topic.
pub(super) fn read(delivery: &mut Delivery) -> Result<Arc<Message>> {
    let body = Bytes::from(std::mem::take(&mut delivery.data));
    let mut metadata = Metadata::new();
    let mut content_type = delivery.properties.content_type().as_ref().map(ToString::to_string);
    let headers = delivery.properties.headers().as_ref().map(FieldTable::inner);
    for (key, value) in headers.into_iter().flatten() {
        let key = key.as_str();
        let Some(text) = text(value) else { continue };
        if key.eq_ignore_ascii_case(CONTENT_TYPE) && content_type.is_none() {
            content_type = Some(text);
        } else if !RESERVED.iter().any(|reserved| key.eq_ignore_ascii_case(reserved)) {
            let _left_out = metadata.insert(key, text).is_err();
        }
    }
    let content_type = ContentType::parse(content_type.as_deref().unwrap_or_default());
    let topic = delivery.routing_key.to_string();
    let mut message = Message::new(topic, content_type, body).with_metadata(metadata);
    if let Some(id) = delivery.properties.message_id() {
        let other = std::mem::replace(&mut message.id, id.to_string());
        if message.validate(usize::MAX).is_err() {
            message.id = other;
        }
    }
    message.validate(usize::MAX)?;
    Ok(Arc::new(message))
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        AMQPValue::Boolean(value) => Some(value.to_string()),
        AMQPValue::ShortShortInt(_)
        | AMQPValue::ShortShortUInt(_)
        | AMQPValue::ShortInt(_)
        | AMQPValue::ShortUInt(_)
        | AMQPValue::LongInt(_)
        | AMQPValue::LongUInt(_)
        | AMQPValue::LongLongInt(_) => integer(value).map(|number| number.to_string()),
        _ => None,
    }
}

fn integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortShortUInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortUInt(number) => Some(i64::from(*number)),
        AMQPValue::LongInt(number) => Some(i64::from(*number)),
        AMQPValue::LongUInt(number) => Some(i64::from(*number)),
        AMQPValue::LongLongInt(number) => Some(*number),
        _ => None,
    }
}

/// Returns how often a message was given back to its queue before this delivery, as far as the
/// queue counts that. What a publisher writes there itself says nothing.
pub(super) fn returns(delivery: &Delivery) -> u32 {
    if !delivery.redelivered {
        return 0;
    }
    let headers = delivery.properties.headers().as_ref().map(FieldTable::inner);
    let count = headers.and_then(|headers| headers.get(DELIVERY_COUNT)).and_then(integer);
    u32::try_from(count.unwrap_or_default().max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(properties: BasicProperties) -> Delivery {
        let mut delivery =
            Delivery::mock(1, "micro".into(), "orders.created".into(), false, b"{}".to_vec());
        delivery.properties = properties;
        delivery
    }

    fn original() -> Message {
        let mut metadata = Metadata::new();
        metadata.insert("Tenant", "acme & s\u{f6}hne").unwrap();
        Message::new("orders.created", ContentType::Json, Bytes::from_static(b"{}"))
            .with_metadata(metadata)
    }

    #[test]
    fn a_message_comes_back_as_it_went() {
        let message = original();
        let mut delivery = sent(properties(&message).unwrap());
        assert_eq!(*read(&mut delivery).unwrap(), message);
        assert_eq!(returns(&delivery), 0);
    }

    #[test]
    fn metadata_that_the_server_acts_on_is_refused() {
        for key in ["CC", "bcc", "x-death", "X-Delivery-Count"] {
            let mut message = original();
            message.metadata.insert(key, "1").unwrap();
            assert_eq!(properties(&message).unwrap_err().code(), 400, "{key}");
        }
    }

    #[test]
    fn what_others_publish_is_read_as_far_as_it_is_known() {
        let mut headers = FieldTable::default();
        headers.insert("Content-Type".into(), AMQPValue::LongString("application/json".into()));
        headers.insert("n".into(), AMQPValue::LongInt(-7));
        headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(3));
        headers.insert("at".into(), AMQPValue::Timestamp(1));
        headers.insert("wild".into(), AMQPValue::LongString(LongString::from(vec![0xff])));
        let mut delivery = sent(BasicProperties::default().with_headers(headers));
        let message = read(&mut delivery).unwrap();
        assert_eq!(returns(&delivery), 0, "the count of a first delivery is its publisher's");
        delivery.redelivered = true;
        assert_eq!(message.content_type, ContentType::Json);
        assert_eq!(message.metadata.iter().collect::<Vec<_>>(), [("n", "-7")]);
        assert_eq!((message.id.len(), returns(&delivery)), (26, 3));
    }

    #[test]
    fn an_id_that_no_message_has_is_replaced() {
        for id in ["", "a b", &"x".repeat(200)] {
            let id = short("message id", id).unwrap();
            let mut delivery = sent(BasicProperties::default().with_message_id(id));
            assert_eq!(read(&mut delivery).unwrap().id.len(), 26);
        }
    }

    #[test]
    fn a_key_that_is_no_topic_is_refused() {
        let mut delivery = sent(BasicProperties::default());
        delivery.routing_key = "a/b".into();
        assert_eq!(read(&mut delivery).unwrap_err().code(), 400);
    }
}
