//! Asks every process that runs, and keeps what each answers.

use std::collections::BTreeMap;
use std::time::Duration;

use micro::registry::Record;
use micro::{Call, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::Bench;
use crate::failure::{Failure, Outcome};
use crate::find;
use crate::progress::Progress;

/// Processes that are asked at a time.
const ASKED_MAX: usize = 32;

/// A process, with the services that it serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Process {
    /// The services, sorted.
    pub(crate) services: Vec<String>,
    /// Where it is.
    pub(crate) address: String,
}

impl Process {
    /// Returns the name under which it is asked; all of them know the same.
    pub(crate) fn service(&self) -> &str {
        self.services.first().map_or("", String::as_str)
    }

    /// Returns the names of its services.
    pub(crate) fn names(&self) -> String {
        self.services.join(", ")
    }
}

/// What a process answered.
#[derive(Debug, Serialize)]
pub(crate) struct Answer<T> {
    #[serde(flatten)]
    pub(crate) process: Process,
    #[serde(flatten)]
    pub(crate) given: Given<T>,
}

/// An answer, or why there is none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Given<T> {
    /// The answer.
    Answer(T),
    /// Why there is none.
    Error(String),
}

/// Finds the processes that serve one service, or any.
pub(crate) async fn processes(bench: &Bench, service: Option<&str>) -> Outcome<Vec<Process>> {
    let records = find::services(bench.tools.registry().as_ref(), service).await?;
    Ok(by_address(&records))
}

/// Joins the nodes that are one process: a process serves everything at one address.
fn by_address(records: &[Record]) -> Vec<Process> {
    let mut processes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for record in records {
        for node in &record.nodes {
            processes.entry(&node.address).or_default().push(record.name.clone());
        }
    }
    let join = |(address, mut services): (&str, Vec<String>)| {
        services.sort();
        services.dedup();
        Process { services, address: address.to_owned() }
    };
    let mut processes: Vec<_> = processes.into_iter().map(join).collect();
    processes.sort();
    processes
}

/// Asks processes the same, several at a time; the answers are in the order of the processes.
pub(crate) async fn each<Q, R>(
    bench: &Bench,
    processes: Vec<Process>,
    endpoint: &'static str,
    question: &Q,
) -> Outcome<Vec<Answer<R>>>
where
    Q: Serialize + 'static,
    R: DeserializeOwned + Send + 'static,
{
    let usual = bench.tools.limits().call.default_timeout;
    each_within(usual, bench, processes, (endpoint, question)).await
}

/// Asks as [`each`] does, where an answer takes its time.
pub(crate) async fn each_within<Q, R>(
    timeout: Duration,
    bench: &Bench,
    processes: Vec<Process>,
    (endpoint, question): (&'static str, &Q),
) -> Outcome<Vec<Answer<R>>>
where
    Q: Serialize + 'static,
    R: DeserializeOwned + Send + 'static,
{
    let client = bench.tools.client().build();
    let progress = Progress::counting("asking", processes.len());
    let mut answers = Vec::with_capacity(processes.len());
    for some in processes.chunks(ASKED_MAX) {
        let ask = |process| ask(&client, process, endpoint, question).timeout(timeout);
        let asked: Vec<_> = some.iter().map(ask).collect();
        let tasks: Vec<_> =
            asked.into_iter().map(|call| bench.tools.tasks().spawn("ask", call)).collect();
        for (process, task) in some.iter().zip(tasks) {
            let given = match task.await.and_then(|answer| answer) {
                Ok(answer) => Given::Answer(answer),
                Err(error) => Given::Error(error.detail().to_owned()),
            };
            answers.push(Answer { process: process.clone(), given });
            progress.step();
        }
    }
    Ok(answers)
}

fn ask<Q, R>(client: &Client, process: &Process, endpoint: &str, question: &Q) -> Call<R>
where
    Q: Serialize + 'static,
    R: DeserializeOwned + Send + 'static,
{
    client.call(process.service(), endpoint, question).to(&process.address)
}

/// Says which processes did not answer; the command has failed then.
pub(crate) fn told<T>(answers: &[Answer<T>]) -> Outcome {
    let mut all = true;
    for answer in answers {
        if let Given::Error(error) = &answer.given {
            let (names, address) = (answer.process.names(), &answer.process.address);
            crate::failure::warn(&format!("{names} at {address} does not answer: {error}"));
            all = false;
        }
    }
    if all { Ok(()) } else { Err(Failure::Unwell) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use micro::registry::Node;

    #[test]
    fn a_process_is_asked_once_whatever_it_serves() {
        let record = |name: &str, addresses: &[&str]| Record {
            name: name.to_owned(),
            nodes: addresses
                .iter()
                .map(|address| Node { address: (*address).to_owned(), ..Node::default() })
                .collect(),
            ..Record::default()
        };
        let processes = by_address(&[record("shop", &["h:1"]), record("mail", &["h:1", "h:2"])]);
        let expected = [(vec!["mail"], "h:2"), (vec!["mail", "shop"], "h:1")];
        assert_eq!(processes.len(), expected.len());
        for (process, (services, address)) in processes.iter().zip(expected) {
            assert_eq!(
                (&process.services, process.address.as_str()),
                (&services.iter().map(|s| (*s).to_owned()).collect(), address)
            );
        }
    }
}
