//! Health and reflection.

use prost::Message;

use super::*;

#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(int32, tag = "1")]
    number: i32,
}

const PROTO: (&str, &str) = ("content-type", "application/grpc");

fn question(text: &str) -> Bytes {
    let message = Text { text: text.to_owned() }.encode_to_vec();
    framed(&message, Encoding::Identity).unwrap()
}

async fn check(http: &mut Http2, service: &str) -> Result<i32, u16> {
    let answer = send(http, "/grpc.health.v1.Health/Check", &[PROTO], question(service)).await;
    match answer.status() {
        "0" => Ok(Number::decode(answer.messages[0].clone()).unwrap().number),
        _ => Err(answer.error().code()),
    }
}

#[tokio::test(start_paused = true)]
async fn health_tells_of_the_process_and_of_the_services_one_may_know() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    for service in ["", "sample", "sample.Sample", "Sample", "com.example.Sample"] {
        assert_eq!(check(&mut http, service).await, Ok(1), "{service}");
    }
    assert_eq!(check(&mut http, "gone").await, Err(404));
    let mut stranger = off_host(&rig).await;
    assert_eq!(check(&mut stranger, "").await, Ok(1));
    // One of its endpoints is public.
    assert_eq!(check(&mut stranger, "sample").await, Ok(1));
    let rig = Rig::new(|builder| builder.ready(|| false));
    assert_eq!(check(&mut http2(rig.dial()).await, "sample").await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_told_of_changes_and_of_the_end() {
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = Arc::clone(&ready);
    let rig = Rig::new(|builder| builder.ready(move || seen.load(Ordering::SeqCst)));
    let mut http = http2(rig.dial()).await;
    let path = "/grpc.health.v1.Health/Watch";
    let request = asked(path, &[PROTO]).body(full(question("sample"))).unwrap();
    let mut body = http.send_request(request).await.unwrap().into_body();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        statuses.push(Number::decode(data.slice(5..)).unwrap().number);
        if ready.swap(true, Ordering::SeqCst) {
            rig.server.port.scope.shutdown.drain();
        }
    }
    assert_eq!(statuses, [2, 1, 2]);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "14");
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    let request = asked(path, &[PROTO]).body(full(question("gone"))).unwrap();
    let mut body = http.send_request(request).await.unwrap().into_body();
    let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(Number::decode(data.slice(5..)).unwrap().number, 3);
}

/// `list_services` of a reflection request.
#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(string, tag = "7")]
    list: String,
}

#[tokio::test(start_paused = true)]
async fn reflection_is_there_once_descriptors_are() {
    let path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
    // A file `x.proto` with the service `shop.v1.Orders`.
    let set = b"\x0a\x1e\x0a\x07x.proto\x12\x07shop.v1\x32\x0a\x0a\x06Orders\x12\x00";
    let list = List { list: "*".to_owned() }.encode_to_vec();
    let list = || framed(&list, Encoding::Identity).unwrap();
    let rig = Rig::plain();
    let answer = send(&mut http2(rig.dial()).await, path, &[PROTO], list()).await;
    assert_eq!(answer.status(), "12");
    let rig = Rig::new(|builder| builder.descriptors(set));
    for path in [path, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] {
        let answer = send(&mut http2(rig.dial()).await, path, &[PROTO], list()).await;
        let text = String::from_utf8_lossy(&answer.messages[0]).into_owned();
        assert!(text.contains("shop.v1.Orders"), "{text}");
        let mut stranger = off_host(&rig).await;
        assert_eq!(send(&mut stranger, path, &[PROTO], list()).await.status(), "16");
    }
    let built = Server::builder().descriptors(b"no set of descriptors").build();
    assert_eq!(built.unwrap_err().code(), 400);
}
