//! What a server says to a subscription.

use rumqttc::v5::mqttbytes::v5::SubscribeReasonCode;

use crate::core::error::{Error, Retry};

use super::ERROR_ID;

/// Returns the error of a subscription that a server does not take.
pub(super) fn refusal(pattern: &str, code: SubscribeReasonCode) -> Option<Error> {
    let text = format!("subscribe to {pattern}: the server refuses it: {code:?}");
    Some(match code {
        SubscribeReasonCode::Success(_) => return None,
        SubscribeReasonCode::NotAuthorized => Error::forbidden(ERROR_ID, text),
        SubscribeReasonCode::SharedSubscriptionsNotSupported
        | SubscribeReasonCode::WildcardSubscriptionsNotSupported => {
            Error::unimplemented(ERROR_ID, text)
        }
        SubscribeReasonCode::TopicFilterInvalid => Error::bad_request(ERROR_ID, text),
        SubscribeReasonCode::QuotaExceeded => {
            Error::too_many_requests(ERROR_ID, text).with_retry(Retry::Safe)
        }
        _ => Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe),
    })
}
