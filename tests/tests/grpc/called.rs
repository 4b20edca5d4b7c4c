//! A typed client of ours calls tonic's server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use micro::codec::Format;
use micro::core::status::Code;
use micro::prelude::*;
use micro::registry::{Memory, Node, Record, Registry};
use micro::transport::{Grpc, Native, Schemes};

use crate::foreign::{Foreign, serve};
use micro_tests::shop::{Number, Text, number, text};

/// What the server offers, as its `.proto` file would say: `package shop.v1; service Shop`.
#[service(name = "shop.v1")]
pub trait Shop: Send + Sync + 'static {
    #[handler]
    async fn echo(&self, req: Text) -> Result<Text>;
    #[handler]
    async fn about(&self, req: Text) -> Result<Text>;
    #[handler]
    async fn fail(&self, req: Text) -> Result<Text>;
    #[handler]
    async fn hang(&self, req: Text) -> Result<Text>;
    #[handler]
    async fn gone(&self, req: Text) -> Result<Text>;
    #[handler]
    async fn endless(&self, req: Number) -> Result<Streaming<Number>>;
    #[handler]
    async fn count(&self, req: Number) -> Result<Streaming<Number>>;
    #[handler]
    async fn sum(&self, req: Streaming<Number>) -> Result<Number>;
    #[handler]
    async fn double(&self, req: Streaming<Number>) -> Result<Streaming<Number>>;
}

fn shop(address: impl std::fmt::Display, transport: Grpc) -> ShopClient {
    Client::builder()
        .transport(Arc::new(transport))
        .format(Format::Proto)
        .address(address.to_string().parse().unwrap())
        .build()
        .into()
}

#[tokio::test]
async fn one_message_each_way() {
    let served = serve(Foreign::default());
    let shop = shop(served.address, Grpc::default());
    assert_eq!(shop.echo(text("x")).await.unwrap(), text("x"));
    assert_eq!(shop.echo(text("")).await.unwrap(), text(""));
    let calls = (0..100).map(|n| {
        let call = shop.echo(text(&n.to_string()));
        async move { assert_eq!(call.await.unwrap().text, n.to_string()) }
    });
    futures_util::future::join_all(calls).await;
    let error = shop.gone(text("x")).await.unwrap_err();
    assert_eq!((error.kind(), error.detail()), (Code::Unimplemented, "no such method"));
}

#[tokio::test]
async fn streams_of_either_side_and_of_both() {
    let served = serve(Foreign::default());
    let shop = shop(served.address, Grpc::default());
    let mut counted = shop.count(number(1000)).await.unwrap();
    let mut next = 0;
    while let Some(counted) = counted.next().await {
        assert_eq!(counted.unwrap().number, next);
        next += 1;
    }
    assert_eq!(next, 1000);
    let sum = shop.sum(Streaming::from_iter((0..101).map(number))).await.unwrap();
    assert_eq!(sum.number, 5050);
    let (tx, rx) = Streaming::channel(1);
    let mut doubled = shop.double(rx).await.unwrap();
    for n in 1..4 {
        tx.send(number(n)).await.unwrap();
        assert_eq!(doubled.next().await.unwrap().unwrap().number, 2 * n);
    }
    tx.send(number(13)).await.unwrap();
    let error = doubled.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.detail()), (Code::DataLoss, "unlucky"));
}

#[tokio::test]
async fn every_status_is_the_error_of_its_code() {
    let served = serve(Foreign::default());
    let shop = shop(served.address, Grpc::default());
    for code in Code::all().filter(|code| *code != Code::Ok) {
        let error = shop.fail(text(&code.number().to_string())).retries(0).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (code, code.code()));
        assert_eq!((error.id(), error.detail()), ("shop.v1.Shop.Fail", "100% gr\u{fc}n"));
    }
}

#[tokio::test]
async fn what_a_call_carries_reaches_the_server() {
    let served = serve(Foreign::default());
    let shop = shop(served.address, Grpc::default());
    let context = Context::new().persist("region", "e u").unwrap();
    let about = shop.about(text("x")).context(&context).metadata("tenant", "acme");
    let about = about.metadata("key-bin", "AAEC").await.unwrap();
    assert_eq!(about.text, "acme b\"\\0\\x01\\x02\" true region=e%20u false");
}

#[tokio::test]
async fn a_deadline_ends_the_call_on_both_sides() {
    let foreign = Foreign::default();
    let served = serve(foreign.clone());
    let shop = shop(served.address, Grpc::default());
    let began = Instant::now();
    let error = shop.hang(text("x")).timeout(Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(error.kind(), Code::DeadlineExceeded);
    assert!(began.elapsed() < Duration::from_secs(5));
    foreign.seen.until_dropped(1).await;
}

#[tokio::test]
async fn a_dropped_call_drops_its_handler() {
    let foreign = Foreign::default();
    let served = serve(foreign.clone());
    let shop = shop(served.address, Grpc::default());
    tokio::select! {
        _ = shop.hang(text("x")) => panic!("answered"),
        () = foreign.seen.until_started(1) => {}
    }
    foreign.seen.until_dropped(1).await;
    assert_eq!(foreign.seen.finished.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_reader_that_stops_holds_back_the_server_and_its_end_frees_it() {
    let foreign = Foreign::default();
    let served = serve(foreign.clone());
    let shop = shop(served.address, Grpc::default());
    let mut endless = shop.endless(number(0)).await.unwrap();
    assert_eq!(endless.next().await.unwrap().unwrap(), number(7));
    let made = foreign.seen.until_still().await;
    assert!(made < 1_000_000, "{made}");
    // The connection is not held up by it.
    assert_eq!(shop.echo(text("x")).await.unwrap(), text("x"));
    drop(endless);
    foreign.seen.until_dropped(1).await;
}

#[tokio::test]
async fn messages_travel_compressed_both_ways() {
    let served = serve(Foreign::default());
    let shop = shop(served.address, Grpc::default().compressed());
    for length in [1, 1000, 100_000] {
        let message = text(&"x".repeat(length));
        assert_eq!(shop.echo(message.clone()).await.unwrap(), message);
    }
}

#[tokio::test]
async fn a_request_past_the_limit_is_not_sent() {
    let served = serve(Foreign::default());
    let shop = shop(served.address, Grpc::default());
    let error = shop.echo(text(&"x".repeat(4 << 20))).await.unwrap_err();
    assert_eq!(error.kind(), Code::ResourceExhausted);
    assert_eq!(shop.echo(text("x")).await.unwrap(), text("x"));
}

#[tokio::test]
async fn a_server_of_grpc_in_the_registry_is_called_so() {
    let served = serve(Foreign::default());
    let registry = Memory::new();
    let node = Node {
        id: "shop-1".to_owned(),
        address: served.address.to_string(),
        metadata: [("protocol".to_owned(), "grpc".to_owned())].into(),
    };
    let record = Record { name: "shop.v1".to_owned(), nodes: vec![node], ..Record::default() };
    registry.register(&record, Duration::from_secs(60)).await.unwrap();
    let transport = Schemes::over(Arc::new(Native)).with("grpc", Arc::new(Grpc::default()));
    let client = Client::builder()
        .registry(Arc::new(registry))
        .transport(Arc::new(transport))
        .format(Format::Proto)
        .build();
    let shop: ShopClient = client.into();
    assert_eq!(shop.echo(text("x")).await.unwrap(), text("x"));
}

#[tokio::test]
async fn a_service_of_ours_is_called_by_grpc_as_by_anything_else() {
    let running = micro_tests::shop::start(micro_tests::shop::Shop::default()).await;
    for format in [Format::Proto, Format::Json] {
        let client = Client::builder()
            .transport(Arc::new(Grpc::default()))
            .format(format)
            .address(running.address().clone())
            .build();
        let shop: micro_tests::shop::ShopClient = client.into();
        assert_eq!(shop.echo(text("x")).await.unwrap(), text("x"));
        let error = shop.fail(text("why")).await.unwrap_err();
        assert_eq!((error.id(), error.code(), error.detail()), ("shop.check", 400, "why"));
        let why = micro_tests::shop::Why { field: "text".to_owned(), most: 7 };
        assert_eq!(error.details(), Some(why));
        let counted = shop.count(number(3)).await.unwrap().collect(10).await.unwrap();
        assert_eq!(counted, [number(0), number(1), number(2)]);
    }
    running.stop().await;
}

#[tokio::test]
async fn the_transport_of_a_process_is_chosen_by_its_name() {
    let served = micro::Service::new("shop").mount(micro_tests::shop::Shop::default());
    let served = served.registry(Memory::new()).env([("MICRO_TRANSPORT", "grpc")]);
    let running = served.start().await.unwrap();
    let shop: micro_tests::shop::ShopClient = running.client();
    assert_eq!(shop.echo(text("x")).await.unwrap(), text("x"));
    running.stop().await;
}
