//! JSON-RPC by `POST`.

use serde_json::{Value, json};

use super::*;
use crate::auth::Handle;
use crate::codec::glue::{DecodeSerde, EncodeSerde, Wire};
use crate::core::descriptor::{EndpointSpec, ServiceDescriptor};
use crate::core::error::{Error, Result};
use crate::core::exchange::Outgoing;
use crate::core::future::BoxFuture;
use crate::server::serve::{Endpoint, Incoming, Serve, decode, respond};
use crate::server::testing::{Two, spec};
use crate::server::{Guard, Subscription};

/// The methods of the specification's examples.
#[derive(Debug)]
struct Calc;

const CALCS: [EndpointSpec; 4] =
    [spec("Calc.Subtract"), spec("Calc.Update"), spec("Calc.Sum"), spec("Calc.GetData")];

impl Serve for Calc {
    const DESCRIPTOR: &'static ServiceDescriptor = &ServiceDescriptor {
        name: "calc",
        version: "1.0.0",
        type_name: "Calc",
        doc: "",
        endpoints: &CALCS,
        subscriptions: &[],
        metadata: &[],
    };
    const SUBSCRIPTIONS: &'static [Subscription<Self>] = &[];
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        Endpoint { call: |_, _, incoming| ready(subtract(&incoming)) },
        Endpoint { call: |_, _, incoming| ready(answered::<()>(&incoming, Ok(()))) },
        Endpoint { call: |_, _, incoming| ready(sum(&incoming)) },
        Endpoint { call: |_, _, incoming| ready(answered(&incoming, Ok(("hello".to_owned(), 5)))) },
    ];
}

fn ready(outgoing: Result<Outgoing>) -> BoxFuture<'static, Result<Outgoing>> {
    Box::pin(std::future::ready(outgoing))
}

fn answered<T: serde::Serialize + 'static>(
    incoming: &Incoming,
    result: Result<T>,
) -> Result<Outgoing> {
    respond::<_, Error>(incoming.format(), result, (&&Wire::<T>::new()).enc())
}

#[derive(serde::Deserialize)]
struct Terms {
    minuend: i64,
    subtrahend: i64,
}

fn subtract(incoming: &Incoming) -> Result<Outgoing> {
    let two: Terms = decode(incoming, (&&Wire::<Terms>::new()).dec())?;
    answered(incoming, Ok(two.minuend - two.subtrahend))
}

fn sum(incoming: &Incoming) -> Result<Outgoing> {
    let numbers: Vec<i64> = decode(incoming, (&&Wire::<Vec<i64>>::new()).dec())?;
    answered(incoming, Ok(numbers.iter().sum::<i64>()))
}

async fn sent(rig: &Rig, document: &str) -> Option<Value> {
    let got = rig.send(request("POST", "/rpc", document)).await;
    if got.status == 204 {
        assert_eq!(got.body, "");
        return None;
    }
    assert_eq!(
        (got.status, got.headers["content-type"].as_bytes()),
        (200, &b"application/json"[..])
    );
    Some(serde_json::from_str(&got.body).unwrap())
}

/// Compares but for texts and data of errors, of which the specification fixes the beginning.
fn alike(mut seen: Value, expected: &Value) {
    fn trim(value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(trim),
            Value::Object(_) => {
                if let Some(error) = value.get_mut("error").and_then(Value::as_object_mut) {
                    error.remove("data");
                    let message = error["message"].as_str().unwrap().to_owned();
                    let fixed = message.split(':').next().unwrap();
                    error.insert("message".to_owned(), json!(fixed));
                }
            }
            _ => {}
        }
    }
    trim(&mut seen);
    assert_eq!(seen, *expected);
}

fn fault(code: i32, message: &str, id: impl Into<Value>) -> Value {
    let id: Value = id.into();
    json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": id})
}

#[tokio::test(start_paused = true)]
async fn the_examples_of_the_specification_are_answered_as_it_says() {
    let rig = Rig::new(|builder| builder.mount(Calc));
    let invalid = || fault(-32600, "Invalid Request", Value::Null);
    let done = |result: Value, id: Value| json!({"jsonrpc": "2.0", "result": result, "id": id});
    for (document, expected) in [
        (
            r#"{"jsonrpc": "2.0", "method": "Calc.Subtract", "params": [42, 23], "id": 1}"#,
            Some(done(json!(19), json!(1))),
        ),
        (
            r#"{"jsonrpc": "2.0", "method": "Calc.Subtract", "params": [23, 42], "id": 2}"#,
            Some(done(json!(-19), json!(2))),
        ),
        (
            r#"{"jsonrpc": "2.0", "method": "Calc.Subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}"#,
            Some(done(json!(19), json!(3))),
        ),
        (
            r#"{"jsonrpc": "2.0", "method": "Calc.Subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}"#,
            Some(done(json!(19), json!(4))),
        ),
        (r#"{"jsonrpc": "2.0", "method": "Calc.Update", "params": [1,2,3,4,5]}"#, None),
        (r#"{"jsonrpc": "2.0", "method": "foobar"}"#, None),
        (
            r#"{"jsonrpc": "2.0", "method": "foobar", "id": "1"}"#,
            Some(fault(-32601, "Method not found", json!("1"))),
        ),
        (
            r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#,
            Some(fault(-32700, "Parse error", Value::Null)),
        ),
        (r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#, Some(invalid())),
        (
            r#"[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"]"#,
            Some(fault(-32700, "Parse error", Value::Null)),
        ),
        ("[]", Some(invalid())),
        ("[1]", Some(json!([invalid()]))),
        ("[1,2,3]", Some(json!([invalid(), invalid(), invalid()]))),
        (
            r#"[
                {"jsonrpc": "2.0", "method": "Calc.Sum", "params": [1,2,4], "id": "1"},
                {"jsonrpc": "2.0", "method": "Calc.Update", "params": [7]},
                {"jsonrpc": "2.0", "method": "Calc.Subtract", "params": [42,23], "id": "2"},
                {"foo": "boo"},
                {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
                {"jsonrpc": "2.0", "method": "Calc.GetData", "id": "9"}
            ]"#,
            Some(json!([
                done(json!(7), json!("1")),
                done(json!(19), json!("2")),
                invalid(),
                fault(-32601, "Method not found", json!("5")),
                done(json!(["hello", 5]), json!("9"))
            ])),
        ),
        (
            r#"[{"jsonrpc": "2.0", "method": "Calc.Sum", "params": [1,2,4]}, {"jsonrpc": "2.0", "method": "Calc.Update", "params": [7]}]"#,
            None,
        ),
    ] {
        match (sent(&rig, document).await, expected) {
            (None, None) => {}
            (Some(seen), Some(expected)) => alike(seen, &expected),
            other => panic!("{document}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn methods_have_a_long_name_and_a_short_one_where_that_is_one_services() {
    let rig = Rig::plain();
    for (method, code) in [
        ("sample.Sample.Echo", None),
        ("Sample.Echo", None),
        ("Echo", Some(-32601)),
        ("other.Sample.Echo", Some(-32601)),
        ("sample.Sample.Gone", Some(-32601)),
        ("", Some(-32601)),
        ("..", Some(-32601)),
        ("/sample/Sample.Echo", Some(-32601)),
    ] {
        let document = json!({"jsonrpc": "2.0", "method": method, "params": ["x"], "id": 1});
        let seen = sent(&rig, &document.to_string()).await.unwrap();
        assert_eq!(seen["error"]["code"].as_i64(), code, "{method}: {seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn errors_carry_their_document() {
    let rig = Rig::plain();
    for (endpoint, params, code, status) in [
        ("Echo", json!([7]), -32602, 400),
        ("Echo", json!([]), -32602, 400),
        ("Fail", json!([]), -32000, 409),
        ("Panic", json!([]), -32603, 500),
        ("Hang", json!([]), -32000, 408),
        ("Count", json!([3]), -32000, 501),
        ("Sum", json!([3]), -32000, 501),
        ("Double", json!([3]), -32000, 501),
        ("Gone", json!([]), -32601, 404),
    ] {
        let method = format!("Sample.{endpoint}");
        let document = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": "a"});
        let seen = sent(&rig, &document.to_string()).await.unwrap();
        assert_eq!(seen["error"]["code"], code, "{endpoint}: {seen}");
        assert_eq!(seen["error"]["data"]["code"], status, "{endpoint}: {seen}");
        assert_eq!(seen["id"], "a");
    }
    let no_params = r#"{"jsonrpc":"2.0","method":"Sample.Echo","params":"x","id":1}"#;
    assert_eq!(sent(&rig, no_params).await.unwrap()["error"]["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn the_requests_of_a_batch_run_side_by_side_and_not_all_at_once() {
    let rig = Rig::plain();
    for (length, started) in [(15, 15), (16, 16), (17, 16), (100, 16)] {
        let before = rig.started();
        let hang = r#"{"jsonrpc":"2.0","method":"Sample.Hang"}"#;
        let batch = format!("[{}]", vec![hang; length].join(","));
        let sending = sent(&rig, &batch);
        assert!(clock::timeout(Duration::from_secs(1), sending).await.is_err());
        assert_eq!(rig.started() - before, started, "{length}");
        clock::sleep(Duration::from_secs(1)).await;
        assert_eq!(rig.server.in_flight(), 0, "they end with the request");
    }
}

#[tokio::test(start_paused = true)]
async fn the_answers_of_a_batch_have_the_limit_of_a_message() {
    let rig = Rig::limited(|limits| limits.message.bytes_max = 2000);
    let echo = |id: u32| json!({"jsonrpc": "2.0", "method": "Sample.Echo", "params": ["x".repeat(300)], "id": id});
    let batch = Value::Array((0..5).map(echo).collect()).to_string();
    assert!(batch.len() <= 2000, "{}", batch.len());
    let seen = sent(&rig, &batch).await.unwrap();
    assert_eq!(seen.as_array().unwrap().len(), 5);
    let too_long = format!("[{}]", vec![echo(1).to_string(); 6].join(","));
    assert_eq!(rig.send(request("POST", "/rpc", &too_long)).await.status, 413);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_post_of_json_is_refused() {
    let rig = Rig::plain();
    let get = rig.send(request("GET", "/rpc", "")).await;
    assert_eq!((get.status, &get.headers["allow"]), (405, &"POST".parse().unwrap()));
    let xml = with(request("POST", "/rpc", "<a/>"), "content-type", "text/xml");
    assert_eq!(rig.send(xml).await.status, 415);
    let foreign = with(request("POST", "/rpc", "{}"), "origin", "https://evil.example");
    assert_eq!(rig.send(foreign).await.status, 403);
}

#[tokio::test(start_paused = true)]
async fn a_route_of_the_users_own_wins() {
    use axum::routing::{get, post};
    let own = axum::Router::new().route("/rpc", post(|body: String| async move { body }));
    let rig = Rig::new(|builder| builder.router(own));
    assert_eq!(rig.send(request("POST", "/rpc", "mine")).await.body, "mine");
    let other = axum::Router::new().route("/page", get(|| async { "page" }));
    let rig = Rig::new(|builder| builder.router(other));
    let document = r#"{"jsonrpc":"2.0","method":"Sample.Echo","params":["x"],"id":1}"#;
    assert_eq!(sent(&rig, document).await.unwrap()["result"], "x");
    assert_eq!(rig.send(request("GET", "/page", "")).await.body, "page");
}

#[tokio::test(start_paused = true)]
async fn each_request_is_admitted_by_itself() {
    let rig = Rig::new(|builder| {
        let auth = Handle::shared(Arc::new(Two::default()));
        let page = axum::Router::new().route("/page", axum::routing::get(|| async { "page" }));
        builder.policy(Arc::new(Guard::new(auth))).router(page)
    });
    let batch = r#"[{"jsonrpc":"2.0","method":"Sample.Public","params":["x"],"id":1},
                    {"jsonrpc":"2.0","method":"Sample.Echo","params":["x"],"id":2}]"#;
    for (token, public, other) in [
        ("", None, Some(401)),
        ("Bearer staff", None, None),
        ("Bearer forged", Some(401), Some(401)),
    ] {
        let mut http = rig.off_host().await;
        let mut asked = request("POST", "/rpc", batch);
        if !token.is_empty() {
            asked = with(asked, "authorization", token);
        }
        let got = got(http.send_request(asked).await.unwrap()).await;
        let seen: Value = serde_json::from_str(&got.body).unwrap();
        for (at, code) in [(0, public), (1, other)] {
            assert_eq!(seen[at]["error"]["data"]["code"].as_u64(), code, "{token}: {seen}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_are_judged_before_parameters_that_nobody_can_decode() {
    let auth = Handle::shared(Arc::new(Two::default()));
    let rig = Rig::new(|builder| builder.policy(Arc::new(Guard::new(auth))));
    let document = r#"{"jsonrpc":"2.0","method":"Sample.Echo","params":[7],"id":1}"#;
    for (token, code) in [("", 401), ("Bearer forged", 401), ("Bearer staff", 400)] {
        let mut http = rig.off_host().await;
        let mut asked = request("POST", "/rpc", document);
        if !token.is_empty() {
            asked = with(asked, "authorization", token);
        }
        let got = got(http.send_request(asked).await.unwrap()).await;
        let seen: Value = serde_json::from_str(&got.body).unwrap();
        assert_eq!(seen["error"]["data"]["code"], code, "{token}: {seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_of_an_allowed_origin_asks_and_reads() {
    let rig = Rig::new(|builder| builder.allow_origin("https://shop.example"));
    let origin = |request| with(request, "origin", "https://shop.example");
    let asked = with(request("OPTIONS", "/rpc", ""), "access-control-request-method", "POST");
    assert_eq!(rig.send(origin(asked)).await.status, 204);
    let document = r#"{"jsonrpc":"2.0","method":"Sample.Echo","params":["x"],"id":1}"#;
    let got = rig.send(origin(request("POST", "/rpc", document))).await;
    assert_eq!(got.headers["access-control-allow-origin"], "https://shop.example");
}

#[cfg(feature = "compression")]
#[tokio::test(start_paused = true)]
async fn compressed_documents_are_read_and_answers_compressed() {
    use std::io::Write;
    let rig = Rig::plain();
    let long = "x".repeat(5000);
    let document =
        json!({"jsonrpc": "2.0", "method": "Sample.Echo", "params": [long], "id": 1}).to_string();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(document.as_bytes()).unwrap();
    let asked = request("POST", "/rpc", "").map(|_| Full::new(packed.finish().unwrap().into()));
    let asked = with(with(asked, "content-encoding", "gzip"), "accept-encoding", "gzip");
    let got = rig.send(asked).await;
    assert_eq!((got.status, &got.headers["content-encoding"]), (200, &"gzip".parse().unwrap()));
}
