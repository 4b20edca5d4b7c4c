//! Spans on their way to a collector, which reads them by the types that OpenTelemetry generates
//! from its protocol.

#![cfg(feature = "otlp")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use micro::core::context::{Context, Parts};
use micro::core::trace::Trace;
use micro::debug::Stats;
use micro::prelude::*;
use micro::registry;

struct Till;

#[service(name = "till")]
impl Till {
    #[handler]
    async fn take(&self, count: u32) -> Result<u32> {
        if count > 9 { Err(Error::internal("till", "jammed")) } else { Ok(count) }
    }
}

/// A collector that answers as it is told, by 200 when it is told nothing, and keeps what it took.
#[derive(Clone, Default)]
struct Collector {
    answers: Arc<Mutex<VecDeque<&'static str>>>,
    taken: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    async fn start(answers: &[&'static str]) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let collector = Self::default();
        collector.answers.lock().unwrap().extend(answers);
        let serving = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.serve(stream).await;
            }
        });
        (collector, address)
    }

    async fn serve(&self, mut stream: TcpStream) {
        let (mut all, mut wanted) = (Vec::new(), usize::MAX);
        while all.len() < wanted {
            assert!(stream.read_buf(&mut all).await.unwrap() > 0, "the request is cut");
            if let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(all[..end].to_vec()).unwrap().to_ascii_lowercase();
                assert!(head.starts_with("post /v1/traces "), "{head}");
                assert!(head.contains("content-type: application/json"), "{head}");
                let length = head.split("content-length: ").nth(1).unwrap();
                wanted = end + 4 + length.lines().next().unwrap().parse::<usize>().unwrap();
            }
        }
        let body = &all[all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4..];
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or("200 OK");
        if answer.starts_with("200") {
            self.taken.lock().unwrap().push(serde_json::from_slice(body).unwrap());
        }
        let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 2\r\n\r\n{{}}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().unwrap();
        let resources = taken.iter().flat_map(|request| request.resource_spans.clone());
        resources.flat_map(|r| r.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

async fn running(collector: &str) -> Running {
    let service = Service::new("market").no_env().registry(registry::Memory::new());
    service.tracer(format!("otlp://{collector}")).mount(Till).start().await.unwrap()
}

async fn dropped(running: &Running) -> [u64; 2] {
    let client: Client = running.client();
    let stats: Stats = client.call("till", "Debug.Stats", &()).await.unwrap();
    ["spans_exported", "spans_dropped"]
        .map(|name| stats.gauges.iter().find(|gauge| gauge.name == name).unwrap().value)
}

#[tokio::test]
async fn a_call_is_exported_as_two_spans_of_one_trace() {
    let (collector, address) = Collector::start(&[]).await;
    let running = running(&address).await;
    let till: TillClient = running.client();
    let root = Trace::root();
    let mut parts = Parts::default();
    parts.trace = Some(root);
    till.take(10).context(&Context::from_parts(parts)).await.unwrap_err();
    assert!(running.stop().await.is_clean(), "what was not sent yet is sent by the stop");

    let spans = collector.spans();
    let own: Vec<_> =
        spans.iter().filter(|span| span.trace_id == root.trace_id().to_be_bytes()).collect();
    let [one, other] = own[..] else { panic!("{spans:?}") };
    let (client, server) = if one.kind == 3 { (one, other) } else { (other, one) };
    assert_eq!((client.kind, server.kind), (3, 2));
    assert_eq!(server.parent_span_id, client.span_id);
    assert_eq!(client.parent_span_id, root.span_id().to_be_bytes());
    assert_eq!(server.name, "till.Till.Take");
    assert!(server.end_time_unix_nano > server.start_time_unix_nano);
    assert!(own.iter().all(|span| span.status.as_ref().unwrap().code == 2), "{own:?}");
    let code = server.attributes[0].value.clone().unwrap().value;
    assert!(matches!(code, Some(Value::IntValue(500))), "{code:?}");
    let resource = collector.taken.lock().unwrap()[0].resource_spans[0].resource.clone().unwrap();
    let name = resource.attributes[0].value.clone().unwrap().value;
    assert!(matches!(name, Some(Value::StringValue(name)) if name == "market"));
}

#[tokio::test]
async fn a_collector_that_is_busy_gets_the_batch_again_and_one_that_refuses_does_not() {
    for (answers, taken) in
        [(&["503 Busy", "429 Slow", "200 OK"][..], true), (&["400 Bad"][..], false)]
    {
        let (collector, address) = Collector::start(answers).await;
        let running = running(&address).await;
        let till: TillClient = running.client();
        till.take(1).await.unwrap();
        running.monitor().recorder().flush().await.unwrap();
        let [exported, dropped] = dropped(&running).await;
        assert_eq!((exported > 0, dropped > 0), (taken, !taken), "{exported} {dropped}");
        assert_eq!(collector.spans().is_empty(), !taken);
        running.stop().await;
    }
}
