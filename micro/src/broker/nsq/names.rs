//! Names of topics and channels.

use crate::broker::dead_letter::DEAD_SUFFIX;
use crate::broker::message::Message;
use crate::core::content_type::ContentType;
use crate::core::error::{Error, Result};

use super::ERROR_ID;

/// Bytes of a name that nsqd takes.
const NAME_BYTES_MAX: usize = 64;

/// What the name of a channel ends with that is gone when its last client is.
const EPHEMERAL: &str = "#ephemeral";

/// Checks that nsqd takes a topic, which is valid otherwise, and that of its dead letters.
///
/// # Errors
/// 400 when it is too long.
pub(super) fn check_topic(topic: &str) -> Result<()> {
    let alive = topic.strip_suffix(DEAD_SUFFIX).unwrap_or(topic);
    if alive.len() + DEAD_SUFFIX.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let most = NAME_BYTES_MAX - DEAD_SUFFIX.len();
    let text = format!("{topic:?} is no topic of nsq: it is longer than {most} bytes");
    Err(Error::bad_request(ERROR_ID, text))
}

/// Returns the name of the channel of a subscription: that of its group, or one of its own.
///
/// # Errors
/// 400 for a group whose name is none of a channel.
pub(super) fn channel(queue: Option<&str>) -> Result<String> {
    let Some(queue) = queue else { return Ok(own_channel()) };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if queue.is_empty() || queue.len() > NAME_BYTES_MAX || !queue.bytes().all(is_plain) {
        let text = format!(
            "{queue:?} is no queue of nsq: it has 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . - _"
        );
        return Err(Error::bad_request(ERROR_ID, text));
    }
    Ok(queue.to_owned())
}

fn own_channel() -> String {
    // Ids of messages are as unique as a channel has to be, and of its letters.
    let unique = Message::new("", ContentType::Bytes, bytes::Bytes::new()).id;
    format!("micro-{unique}{EPHEMERAL}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_room_for_its_dead_letters() {
        let longest = "x".repeat(59);
        for topic in [longest.clone(), format!("{longest}.dead"), "a".into()] {
            assert!(check_topic(&topic).is_ok(), "{topic}");
        }
        for topic in [format!("{longest}x"), format!("{longest}x.dead"), "x".repeat(590)] {
            assert_eq!(check_topic(&topic).unwrap_err().code(), 400, "{topic}");
        }
    }

    #[test]
    fn a_group_is_a_channel_of_its_name() {
        for queue in ["a", "mail.er-1_B", &"x".repeat(64)] {
            assert_eq!(channel(Some(queue)).unwrap(), queue);
        }
        for queue in ["", "a b", "a\n", "s\u{f6}hne", "a#ephemeral", "a:b", &"x".repeat(65)] {
            assert_eq!(channel(Some(queue)).unwrap_err().code(), 400, "{queue:?}");
        }
    }

    #[test]
    fn a_subscription_without_a_group_has_a_channel_of_its_own() {
        let (one, two) = (channel(None).unwrap(), channel(None).unwrap());
        assert_ne!(one, two);
        assert!(one.ends_with("#ephemeral") && one.len() <= 64, "{one}");
    }
}
