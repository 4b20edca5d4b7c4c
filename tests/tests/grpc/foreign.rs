//! A server that tonic runs: methods of all four kinds under `shop.v1.Shop`.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use micro::core::shutdown::{TaskHandle, TaskTracker};
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower_service::Service;

use micro_tests::shop::{Number, Seen, Text, number, text};

/// A function as a service of tower.
struct Handler<F>(F);

impl<F, Q, R, Fut> Service<Request<Q>> for Handler<F>
where
    F: FnMut(Request<Q>) -> Fut,
    Fut: Future<Output = Result<Response<R>, Status>>,
{
    type Response = Response<R>;
    type Error = Status;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Fut {
        (self.0)(request)
    }
}

type Numbers = Pin<Box<dyn Stream<Item = Result<Number, Status>> + Send>>;

/// The server, as tonic mounts it.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    pub seen: Arc<Seen>,
}

impl NamedService for Foreign {
    const NAME: &'static str = "shop.v1.Shop";
}

impl Service<http::Request<Body>> for Foreign {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let seen = Arc::clone(&self.seen);
        Box::pin(async move { Ok(answer(request, seen).await) })
    }
}

fn texts() -> Grpc<ProstCodec<Text, Text>> {
    Grpc::new(ProstCodec::default())
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
}

fn numbers() -> Grpc<ProstCodec<Number, Number>> {
    Grpc::new(ProstCodec::default())
}

async fn answer(request: http::Request<Body>, seen: Arc<Seen>) -> http::Response<Body> {
    match request.uri().path() {
        "/shop.v1.Shop/Echo" => {
            let echo = async |ask: Request<Text>| Ok(Response::new(ask.into_inner()));
            texts().unary(Handler(echo), request).await
        }
        "/shop.v1.Shop/About" => texts().unary(Handler(about), request).await,
        "/shop.v1.Shop/Fail" => texts().unary(Handler(fail), request).await,
        "/shop.v1.Shop/Hang" => {
            let hang = move |ask: Request<Text>| {
                let seen = Arc::clone(&seen);
                async move {
                    seen.wait().await;
                    Ok(Response::new(ask.into_inner()))
                }
            };
            texts().unary(Handler(hang), request).await
        }
        "/shop.v1.Shop/Endless" => {
            let endless = move |_: Request<Number>| {
                let seen = Arc::clone(&seen);
                async move {
                    Ok(Response::new(
                        futures_util::stream::iter(seen.endless().map(Ok::<_, Status>)).boxed(),
                    ))
                }
            };
            numbers().server_streaming(Handler(endless), request).await
        }
        "/shop.v1.Shop/Count" => numbers().server_streaming(Handler(count), request).await,
        "/shop.v1.Shop/Sum" => numbers().client_streaming(Handler(sum), request).await,
        "/shop.v1.Shop/Double" => numbers().streaming(Handler(double), request).await,
        _ => Status::unimplemented("no such method").into_http(),
    }
}

/// Says what came along.
async fn about(ask: Request<Text>) -> Result<Response<Text>, Status> {
    let get = |name: &str| {
        let value = ask.metadata().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let bytes = ask.metadata().get_bin("key-bin").and_then(|value| value.to_bytes().ok());
    let bytes = bytes.unwrap_or_default();
    let timeout = !get("grpc-timeout").is_empty() && !get("timeout").is_empty();
    let about = [get("tenant"), format!("{bytes:?}"), timeout.to_string(), get("baggage")];
    let traced = get("traceparent").len() == 55;
    Ok(Response::new(text(&format!("{} {traced}", about.join(" ")))))
}

async fn fail(ask: Request<Text>) -> Result<Response<Text>, Status> {
    let ask = ask.into_inner().text;
    let code = ask.parse::<i32>().map_or(Code::Unknown, Code::from_i32);
    Err(Status::new(code, "100% gr\u{fc}n"))
}

async fn count(ask: Request<Number>) -> Result<Response<Numbers>, Status> {
    let numbers = (0..ask.into_inner().number).map(|n| Ok(number(n)));
    Ok(Response::new(futures_util::stream::iter(numbers).boxed()))
}

async fn sum(ask: Request<Streaming<Number>>) -> Result<Response<Number>, Status> {
    let mut asked = ask.into_inner();
    let mut sum = 0;
    while let Some(next) = asked.message().await? {
        sum += next.number;
    }
    Ok(Response::new(number(sum)))
}

async fn double(ask: Request<Streaming<Number>>) -> Result<Response<Numbers>, Status> {
    let doubled = ask.into_inner().map(|next| {
        let next = next?.number;
        if next == 13 { Err(Status::data_loss("unlucky")) } else { Ok(number(2 * next)) }
    });
    Ok(Response::new(doubled.boxed()))
}

/// A running server; ends with the value.
pub struct Served {
    pub address: SocketAddr,
    _task: TaskHandle,
}

/// Serves on a free port.
pub fn serve(foreign: Foreign) -> Served {
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = Server::builder().timeout(Duration::from_secs(60)).add_service(foreign);
    let task = TaskTracker::new().spawn("foreign", async move {
        server.serve_with_incoming(incoming).await.unwrap();
    });
    Served { address, _task: task.abort_on_drop() }
}
