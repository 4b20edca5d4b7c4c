//! tonic's client calls a service of ours.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use micro::Running;
use micro_tests::shop::{Number, Shop, Text, number, start, text};

/// Connects tonic's client.
async fn client(running: &Running) -> Grpc<Channel> {
    let url = format!("http://{}", running.address());
    Grpc::new(Endpoint::from_shared(url).unwrap().connect().await.unwrap())
}

fn path(method: &str) -> PathAndQuery {
    format!("/shop.Shop/{method}").parse().unwrap()
}

async fn unary(client: &mut Grpc<Channel>, method: &str, message: Text) -> Result<Text, Status> {
    ask(client, method, Request::new(message)).await
}

async fn ask(client: &mut Grpc<Channel>, method: &str, ask: Request<Text>) -> Result<Text, Status> {
    client.ready().await.unwrap();
    let codec = ProstCodec::<Text, Text>::default();
    Ok(client.unary(ask, path(method), codec).await?.into_inner())
}

fn codec() -> ProstCodec<Number, Number> {
    ProstCodec::default()
}

fn numbers(count: u32) -> Request<futures_util::stream::Iter<std::vec::IntoIter<Number>>> {
    Request::new(futures_util::stream::iter((0..count).map(number).collect::<Vec<_>>()))
}

#[tokio::test]
async fn one_message_each_way() {
    let running = start(Shop::default()).await;
    let mut client = client(&running).await;
    assert_eq!(unary(&mut client, "Echo", text("x")).await.unwrap(), text("x"));
    assert_eq!(unary(&mut client, "Echo", text("")).await.unwrap(), text(""));
    let missing = unary(&mut client, "Gone", text("x")).await.unwrap_err();
    assert_eq!(missing.code(), Code::Unimplemented);
    running.stop().await;
}

#[tokio::test]
async fn streams_of_either_side_and_of_both() {
    let running = start(Shop::default()).await;
    let mut client = client(&running).await;
    client.ready().await.unwrap();
    let counted = client.server_streaming(Request::new(number(1000)), path("Count"), codec()).await;
    let mut counted = counted.unwrap().into_inner();
    let mut next = 0;
    while let Some(counted) = counted.message().await.unwrap() {
        assert_eq!(counted.number, next);
        next += 1;
    }
    assert_eq!(next, 1000);
    client.ready().await.unwrap();
    let sum = client.client_streaming(numbers(101), path("Sum"), codec()).await.unwrap();
    assert_eq!(sum.into_inner().number, 5050);
    client.ready().await.unwrap();
    let doubled = client.streaming(numbers(3), path("Double"), codec()).await.unwrap();
    let mut doubled = doubled.into_inner();
    let mut all = Vec::new();
    while let Some(doubled) = doubled.message().await.unwrap() {
        all.push(doubled.number);
    }
    assert_eq!(all, [0, 2, 4]);
    assert!(doubled.trailers().await.unwrap().is_some());
    running.stop().await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_its_status() {
    let running = start(Shop::default()).await;
    let mut client = client(&running).await;
    client.ready().await.unwrap();
    let broken = client.server_streaming(Request::new(number(7)), path("BreakOff"), codec()).await;
    let mut broken = broken.unwrap().into_inner();
    assert_eq!(broken.message().await.unwrap(), Some(number(7)));
    let status = broken.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Aborted, "broken off"));
    running.stop().await;
}

/// `google.rpc.Status`, as far as it is looked at here.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[tokio::test]
async fn an_error_is_text_for_people_and_details_for_programs() {
    let running = start(Shop::default()).await;
    let mut client = client(&running).await;
    let status = unary(&mut client, "Fail", text("100% gr\u{fc}n")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "100% gr\u{fc}n"));
    let details = Details::decode(status.details()).unwrap();
    assert_eq!((details.code, details.message.as_str()), (3, "100% gr\u{fc}n"));
    let names: Vec<_> = details.details.iter().map(|any| any.name.as_str()).collect();
    let expected =
        ["type.googleapis.com/errors.Error", "type.googleapis.com/google.protobuf.Value"];
    assert_eq!(names, expected);
    running.stop().await;
}

#[tokio::test]
async fn the_deadline_of_the_caller_ends_the_handler() {
    let shop = Shop::default();
    let running = start(shop.clone()).await;
    let mut client = client(&running).await;
    let mut request = Request::new(text("x"));
    request.set_timeout(Duration::from_millis(200));
    let began = Instant::now();
    let status = ask(&mut client, "Hang", request).await.unwrap_err();
    // Which of both ends was first to notice decides on the code.
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    assert!(began.elapsed() < Duration::from_secs(3));
    shop.seen.until_dropped(1).await;
    running.stop().await;
}

#[tokio::test]
async fn metadata_trace_and_deadline_reach_the_handler() {
    let running = start(Shop::default()).await;
    let mut client = client(&running).await;
    let mut request = Request::new(text("x"));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request.metadata_mut().insert("tenant", "acme".parse().unwrap());
    request.metadata_mut().insert("traceparent", trace.parse().unwrap());
    let bytes = tonic::metadata::MetadataValue::from_bytes(&[0, 1, 2]);
    request.metadata_mut().insert_bin("key-bin", bytes);
    request.set_timeout(Duration::from_secs(4));
    let about = ask(&mut client, "About", request).await.unwrap();
    assert_eq!(about.text, "acme AAEC true 4bf92f3577b34da6a3ce929d0e0e4736");
    running.stop().await;
}

#[tokio::test]
async fn messages_travel_compressed_both_ways() {
    let running = start(Shop::default()).await;
    let client = client(&running).await;
    let mut client = client
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    for length in [1, 1000, 100_000] {
        let message = text(&"x".repeat(length));
        assert_eq!(unary(&mut client, "Echo", message.clone()).await.unwrap(), message);
    }
    // What a few kilobytes inflate to is bounded like everything else.
    let bomb = unary(&mut client, "Echo", text(&"x".repeat(5 << 20))).await.unwrap_err();
    assert_eq!(bomb.code(), Code::ResourceExhausted);
    running.stop().await;
}

#[tokio::test]
async fn a_message_past_four_mebibytes_is_refused() {
    let running = start(Shop::default()).await;
    let client = client(&running).await;
    let mut client = client.max_decoding_message_size(64 << 20);
    // A tag and a length of four bytes stand before the text.
    let most = text(&"x".repeat((4 << 20) - 5));
    assert_eq!(unary(&mut client, "Echo", most.clone()).await.unwrap(), most);
    let more = unary(&mut client, "Echo", text(&"x".repeat((4 << 20) - 4))).await.unwrap_err();
    assert_eq!(more.code(), Code::ResourceExhausted);
    assert_eq!(unary(&mut client, "Echo", text("x")).await.unwrap(), text("x"));
    running.stop().await;
}

#[tokio::test]
async fn a_caller_that_leaves_takes_its_handler_along_unless_that_is_detached() {
    let shop = Shop::default();
    let running = start(shop.clone()).await;
    let mut client = client(&running).await;
    tokio::select! {
        _ = unary(&mut client, "Hang", text("x")) => panic!("answered"),
        () = shop.seen.until_started(1) => {}
    }
    shop.seen.until_dropped(1).await;
    assert_eq!(shop.seen.finished.load(Ordering::SeqCst), 0);
    tokio::select! {
        _ = unary(&mut client, "Settle", text("x")) => panic!("answered"),
        () = shop.seen.until_started(2) => {}
    }
    // The connection has carried another call since the reset.
    unary(&mut client, "Echo", text("x")).await.unwrap();
    shop.seen.release.notify_waiters();
    shop.seen.until_dropped(2).await;
    assert_eq!(shop.seen.finished.load(Ordering::SeqCst), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_reader_that_stops_holds_back_the_stream_and_its_end_frees_it() {
    let shop = Shop::default();
    let running = start(shop.clone()).await;
    let mut client = client(&running).await;
    let codec = ProstCodec::<Text, Number>::default();
    client.ready().await.unwrap();
    let endless = client.server_streaming(Request::new(text("")), path("Endless"), codec).await;
    let mut endless = endless.unwrap().into_inner();
    assert_eq!(endless.message().await.unwrap(), Some(number(7)));
    let made = shop.seen.until_still().await;
    assert!(made < 1_000_000, "{made}");
    assert_eq!(shop.seen.dropped.load(Ordering::SeqCst), 0);
    drop(endless);
    shop.seen.until_dropped(1).await;
    running.stop().await;
}
