//! `micro subscribe TOPIC`: events as they come, a line of JSON for each.

use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use micro::broker::{Ack, Broker, Delivery, Handler, Message, RawEvent, SubscribeOptions};
use micro::codec::Codecs;
use micro::codec::glue::{DecodeSerde, Wire};
use micro::core::clock;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::cli::Bench;
use crate::commands::publish::shared;
use crate::failure::{Outcome, say};
use crate::screen::Screen;

/// Events that wait to be printed.
const EVENTS_AHEAD: usize = 1;

/// How long an event that is being printed holds up the end.
const DRAIN: Duration = Duration::from_secs(2);

/// An event, and whom to tell that it was printed.
type Printing = (Delivery, oneshot::Sender<()>);

pub(crate) fn command() -> Command {
    Command::new("subscribe")
        .about("Print the events of a topic as they come")
        .arg(Arg::new("topic").value_name("TOPIC").required(true).help("The topic, or a pattern"))
        .arg(
            Arg::new("queue")
                .long("queue")
                .value_name("NAME")
                .help("Share the events with the others of this group"),
        )
        .arg(
            Arg::new("count")
                .short('n')
                .long("count")
                .value_name("NUMBER")
                .value_parser(clap::value_parser!(usize))
                .help("End after so many events"),
        )
}

pub(crate) async fn run(args: &ArgMatches, bench: &Bench) -> Outcome {
    let topic = args.get_one::<String>("topic").map_or("", String::as_str);
    let mut options = SubscribeOptions::default();
    if let Some(queue) = args.get_one::<String>("queue") {
        options = options.with_queue(queue);
    }
    let count = args.get_one::<usize>("count").copied();
    follow(shared(bench)?, topic, options, count, bench.screen).await
}

/// Prints events until there were enough, the subscription ends, or somebody interrupts.
async fn follow(
    broker: &dyn Broker,
    topic: &str,
    options: SubscribeOptions,
    count: Option<usize>,
    screen: Screen,
) -> Outcome {
    let (events, mut incoming) = mpsc::channel(EVENTS_AHEAD);
    let subscription = broker.subscribe(topic, options, handler(events)).await?;
    say(&format!("subscribed to {topic}"));
    let mut left = count.unwrap_or(usize::MAX);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    while left > 0 {
        let next: Option<Printing> = tokio::select! {
            next = incoming.recv() => next,
            _ = &mut interrupted => break,
        };
        let Some((delivery, printed)) = next else { break };
        screen.line(&event(&delivery))?;
        // A handler that is gone has its event delivered again.
        let _told = printed.send(());
        left = left.saturating_sub(1);
    }
    // What arrives from here on goes back.
    drop(incoming);
    let deadline = clock::after(clock::now(), DRAIN);
    subscription.drain(deadline).await?;
    Ok(broker.close(deadline).await?)
}

/// Makes the handler: an event is done when it is printed.
fn handler(events: mpsc::Sender<Printing>) -> Handler {
    Arc::new(move |delivery| {
        let events = events.clone();
        Box::pin(async move {
            let (sender, printed) = oneshot::channel();
            if events.send((delivery, sender)).await.is_err() || printed.await.is_err() {
                return Ack::Retry { after: None };
            }
            Ack::Ack
        })
    })
}

/// Returns what is printed of an event.
fn event(delivery: &Delivery) -> Value {
    let message: &Message = &delivery.message;
    let metadata: Map<String, Value> =
        message.metadata.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let (raw, _settled) = RawEvent::new(delivery.clone(), Arc::new(Codecs::default()));
    let body = raw.decode::<Value>((&&Wire::<Value>::new()).dec());
    let mut line = json!({
        "topic": message.topic,
        "id": message.id,
        "attempt": delivery.attempt,
        "content_type": message.content_type.to_string(),
        "metadata": metadata,
    });
    match (body, line.as_object_mut()) {
        (Ok(body), Some(line)) => drop(line.insert("body".to_owned(), body)),
        // One that is of no form that is known here is told by its length.
        (Err(_), Some(line)) => {
            drop(line.insert("body_bytes".to_owned(), message.body.len().into()))
        }
        (_, None) => {}
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use micro::core::content_type::ContentType;
    use micro::core::shutdown::TaskTracker;

    #[tokio::test]
    async fn an_event_is_shown_with_its_envelope() {
        let message = Message::new("orders.paid", ContentType::Json, "{\"order\":7}".into());
        let shown = event(&Delivery::new(Arc::new(message), 1));
        assert_eq!((&shown["topic"], &shown["body"]["order"]), (&json!("orders.paid"), &json!(7)));
        let odd = Message::new("a", ContentType::parse("application/odd"), "xyz".into());
        assert_eq!(event(&Delivery::new(Arc::new(odd), 1))["body_bytes"], 3);
    }

    #[tokio::test]
    async fn it_ends_after_as_many_events_as_were_asked_for() {
        let limits = micro::core::limits::Limits::default();
        let broker = micro::broker::Memory::with_limits(&limits, TaskTracker::new());
        let screen = Screen::new(Some(crate::screen::Form::Json));
        let printing = follow(&broker, "a", SubscribeOptions::default(), Some(2), screen);
        let publishing = async {
            for _ in 0..2 {
                let message = Message::new("a", ContentType::Json, "1".into());
                broker.publish(message).await.unwrap();
            }
        };
        let (printed, ()) = tokio::join!(printing, publishing);
        assert!(printed.is_ok(), "{printed:?}");
    }
}
