//! Joining a group.

use crate::broker::SubscribeOptions;
use crate::broker::dead_letter::is_dead;
use crate::broker::{Overflow, topic};
use crate::core::error::{Error, Result, Retry};
use crate::driver::postgres::{column, params};

use super::statements as sql;
use super::{ERROR_ID, Inner};

/// Bytes of the name of a queue; a longer one is a 400.
pub(super) const QUEUE_BYTES_MAX: usize = 255;

/// Checks a subscription and returns whether it is to a pattern.
pub(super) fn check(topic: &str, options: &SubscribeOptions) -> Result<bool> {
    let is_pattern = topic::validate_pattern(topic)?;
    if options.overflow != Overflow::Block {
        let detail = "the broker `postgres` makes no publisher wait and drops nothing";
        return Err(Error::unimplemented(ERROR_ID, detail));
    }
    let queue = options.queue.as_deref().unwrap_or_default();
    if queue.len() > QUEUE_BYTES_MAX || queue.chars().any(char::is_control) {
        let detail = format!("`{}` is not the name of a queue", queue.escape_debug());
        return Err(Error::bad_request(ERROR_ID, detail));
    }
    Ok(is_pattern)
}

/// Joins a group by its name, or a temporary one, and returns its id.
pub(super) async fn group(
    inner: &Inner,
    topic: &str,
    (name, temporary): (&str, bool),
    is_pattern: bool,
) -> Result<i64> {
    let covers = is_pattern.then(|| expression(topic));
    let most = i64::try_from(inner.limits.topics_max).unwrap_or(i64::MAX);
    let params = params![topic.to_owned(), name.to_owned(), temporary, covers, most];
    let rows = inner.database.rows(sql::JOIN, params).await?;
    let Some(row) = rows.first() else {
        let detail = format!("subscribe to {topic}: groups are limited to {most}");
        return Err(Error::too_many_requests(ERROR_ID, detail).with_retry(Retry::Safe));
    };
    let id = column(row, 0)?;
    if !temporary && is_dead(topic) {
        inner.database.rows(sql::ADOPT, params![id, expression(topic)]).await?;
    }
    Ok(id)
}

/// Writes a topic or a pattern as a regular expression of PostgreSQL.
fn expression(pattern: &str) -> String {
    let words = pattern.split('.').map(|word| match word {
        "*" => "[^.]+",
        ">" => ".+",
        word => word,
    });
    format!("^{}$", words.collect::<Vec<_>>().join("[.]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_an_expression() {
        for (pattern, wanted) in [
            ("a.b-c_D", "^a[.]b-c_D$"),
            ("a.*.dead", "^a[.][^.]+[.]dead$"),
            ("a.>", "^a[.].+$"),
            (">", "^.+$"),
        ] {
            assert_eq!(expression(pattern), wanted);
        }
    }

    /// At the limit, above it and far above it.
    #[test]
    fn names_of_queues_are_checked() {
        let options = |queue: &str| SubscribeOptions::default().with_queue(queue);
        assert!(!check("a", &options(&"q".repeat(QUEUE_BYTES_MAX))).unwrap());
        for queue in ["q".repeat(QUEUE_BYTES_MAX + 1), "q".repeat(QUEUE_BYTES_MAX * 10)] {
            assert_eq!(check("a", &options(&queue)).unwrap_err().code(), 400);
        }
        assert_eq!(check("a", &options("a\0")).unwrap_err().code(), 400);
        assert!(check("a.*", &options("q")).unwrap());
    }
}
