//! Answers to questions, of what this process has registered.

use std::sync::Arc;

use super::Shared;
use super::message::{Action, Message, QUERY, write_answer};
use crate::registry::record::Record;

/// Answers until it is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let Ok(mut questions) = shared.nats.listen(QUERY).await else { return };
    while let Some(message) = questions.next().await {
        let (Some(question), Some(reply)) = (Message::read(&message.body), message.reply) else {
            continue;
        };
        for record in answers(&shared, &question) {
            let told = match write_answer(&record) {
                Ok(answer) => shared.nats.tell(&reply, answer).await,
                Err(error) => Err(error),
            };
            if let Err(error) = told {
                tracing::debug!(%error, "a question about services is not answered");
            }
        }
    }
}

fn answers(shared: &Shared, question: &Message) -> Vec<Record> {
    let of = |service: &str| shared.own.lookup(service).unwrap_or_default();
    let records = match (question.action, &question.service) {
        (Action::Get, Some(asked)) => of(&asked.name),
        (Action::List, _) => shared.own.list().iter().flat_map(|service| of(service)).collect(),
        _ => Vec::new(),
    };
    records.iter().flat_map(Record::split).collect()
}
