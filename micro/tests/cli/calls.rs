//! Calls and streams by names, with JSON that a user types.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Value, json};

use crate::world::{Process, World};

#[test]
fn a_call_prints_its_answer() {
    let world = World::served();
    let order = r#"{"item": "tea", "count": 3}"#;
    let answer = world.micro(&["call", "shop", "Shop.Buy", order, "-m", "tenant=acme"]).json();
    assert_eq!(answer, json!({"message": "3 tea for acme", "left": 7}));
    let answer = world.micro_reading(&["call", "shop", "Shop.Buy", "-"], order).json();
    assert_eq!(answer["message"], "3 tea for nobody");
    let flags = ["--client-request-timeout", "5s", "--timeout=4s"];
    let args = [&["call", "shop", "Shop.Buy", order][..], &flags].concat();
    assert_eq!(world.micro(&args).json()["left"], 7);
}

#[test]
fn a_node_can_be_called_past_discovery() {
    let world = World::served();
    let record = world.micro(&["describe", "stock"]).json();
    let address = record[0]["nodes"][0]["address"].as_str().unwrap().to_owned();
    let args = ["call", "stock", "Stock.Take", "4", "--to", &address, "--registry", "memory"];
    assert_eq!(world.micro(&args).json(), 6);
}

#[test]
fn an_error_of_the_handler_is_told_and_fails() {
    let world = World::served();
    let args = ["call", "shop", "Shop.Buy", r#"{"item": "tea", "count": 30}"#];
    assert_eq!(world.micro(&args).failed(1), "error: sold out (409, stock)\n");
    let text = world.micro(&["call", "shop", "Shop.Buy", "{}"]).failed(1);
    assert!(text.contains("item") && text.contains("(400,"), "{text}");
    let text = world.micro(&["call", "shop", "Shop.Buy", "tea"]).failed(2);
    assert!(text.contains("not JSON") && text.contains("line 1 column 2"), "{text}");
}

#[test]
fn every_kind_of_stream_is_a_line_of_json_for_each_message() {
    let world = World::served();
    let stream = |endpoint: &str, rest: &[&str], input: &str| {
        let args = [&["stream", "numbers", endpoint][..], rest].concat();
        world.micro_reading(&args, input)
    };
    assert_eq!(stream("Numbers.Count", &["3"], "").done(), "1\n2\n3\n");
    assert_eq!(stream("Numbers.Sum", &[], "1\n\n2\n39\n").done(), "42\n");
    assert_eq!(stream("Numbers.Sum", &["1", "2"], "").done(), "3\n");
    assert_eq!(stream("Numbers.Square", &[], "2\n3").done(), "4\n9\n");
    let text = stream("Numbers.Sum", &[], "1\ntwo\n").failed(1);
    assert!(text.contains("line 2 of standard input"), "{text}");
    let text = stream("Numbers.Count", &["1", "2"], "").failed(2);
    assert!(text.contains("takes one request"), "{text}");
}

#[test]
fn calls_and_streams_are_told_apart() {
    let world = World::served();
    let text = world.micro(&["call", "numbers", "Numbers.Count", "3"]).failed(2);
    assert!(text.contains("`micro stream numbers Numbers.Count`"), "{text}");
    let text = world.micro(&["stream", "stock", "Stock.Take", "3"]).failed(2);
    assert!(text.contains("`micro call stock Stock.Take`"), "{text}");
}

#[test]
fn events_need_a_broker_that_processes_share() {
    let world = World::empty();
    for args in [&["publish", "orders.paid", "7"][..], &["subscribe", "orders.paid"]] {
        let args = [args, &["--broker", "memory"]].concat();
        let text = world.micro(&args).failed(1);
        assert!(text.contains("within one process") && text.contains("MICRO_BROKER"), "{text}");
    }
}

#[test]
fn an_event_reaches_subscribers_in_other_processes() {
    let world = World::served();
    let args = ["subscribe", "orders.paid", "-n", "1", "--broker", "http"];
    let mut subscriber = Process(world.command(&args).spawn().unwrap());
    let mut said = String::new();
    let mut err = BufReader::new(subscriber.0.stderr.take().unwrap());
    err.read_line(&mut said).unwrap();
    assert_eq!(said, "subscribed to orders.paid\n");
    // The inbox of the subscriber is no service to be called.
    assert_eq!(world.micro(&["services"]).json().as_array().unwrap().len(), 3);

    let args = ["publish", "orders.paid", "7", "-m", "tenant=acme", "--broker", "http"];
    let id = world.micro(&args).json()["id"].clone();
    let mut out = String::new();
    subscriber.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let event: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&event["id"], &event["body"]), (&id, &json!(7)));
    assert_eq!(event["metadata"]["tenant"], "acme");
    assert_eq!(subscriber.0.wait().unwrap().code(), Some(0));

    // The member of the group `shop` gets it too.
    let mut log = Process(world.command(&["logs", "-f", "shop"]).spawn().unwrap());
    let mut lines = BufReader::new(log.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("\"paid\"") && line.contains("\"order\":\"7\"")));
}
