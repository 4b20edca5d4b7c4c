//! What a server says to a subscription or a connection that it does not take.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, SubscribeReasonCode};

use crate::core::error::{Error, Retry};

use super::ERROR_ID;

/// Returns the error of a subscription that a server does not take.
pub(super) fn refusal(pattern: &str, code: SubscribeReasonCode) -> Option<Error> {
    let text = format!("subscribe to {pattern}: the server refuses it: {code:?}");
    Some(match code {
        SubscribeReasonCode::Success(QoS::AtMostOnce) => {
            // What fails could not come again.
            let text = format!("subscribe to {pattern}: the server has no more than QoS 0");
            Error::unimplemented(ERROR_ID, text)
        }
        SubscribeReasonCode::Success(QoS::AtLeastOnce | QoS::ExactlyOnce) => return None,
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

/// Returns the error of what needs a connection to a server that does not let us in: `what` is what
/// was wanted. `None` where another try may help.
pub(super) fn login_refusal(what: &str, code: ConnectReturnCode) -> Option<Error> {
    let text = format!("{what}: mqtt refuses the login: {code:?}");
    match code {
        ConnectReturnCode::BadUserNamePassword => Some(Error::unauthorized(ERROR_ID, text)),
        ConnectReturnCode::NotAuthorized => Some(Error::forbidden(ERROR_ID, text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_without_confirmation_is_a_501() {
        let code = |code| refusal("a", code).map(|error| error.code());
        assert_eq!(code(SubscribeReasonCode::Success(QoS::AtMostOnce)), Some(501));
        assert_eq!(code(SubscribeReasonCode::Success(QoS::AtLeastOnce)), None);
        assert_eq!(code(SubscribeReasonCode::NotAuthorized), Some(403));
    }

    #[test]
    fn a_login_that_is_refused_says_whether_the_user_is_known() {
        let code = |code| login_refusal("a", code).map(|error| error.code());
        assert_eq!(code(ConnectReturnCode::BadUserNamePassword), Some(401));
        assert_eq!(code(ConnectReturnCode::NotAuthorized), Some(403));
        assert_eq!(code(ConnectReturnCode::ServerBusy), None);
    }
}
