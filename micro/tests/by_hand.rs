//! What `#[service]` writes, written by hand: the surface that macro output relies on works
//! without the macros, over a real socket.
#![allow(
    clippy::unwrap_used,
    clippy::needless_borrow,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking; the rest is what the macros write"
)]

use micro::__private as __m;
use micro::Serve;
use micro::prelude::*;

#[derive(Debug, Serialize, Deserialize)]
struct HelloRequest {
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct HelloReply {
    message: String,
}

#[derive(Debug)]
struct Greeter;

impl Greeter {
    async fn hello(&self, req: HelloRequest) -> Result<HelloReply> {
        if req.name.is_empty() {
            return Err(Error::bad_request("greeter", "a name is needed"));
        }
        Ok(HelloReply { message: format!("Hello {}", req.name) })
    }

    async fn count(&self, to: u32) -> Result<Streaming<u32>> {
        Ok(Streaming::from_iter(1..=to))
    }
}

#[derive(Clone, Debug)]
struct GreeterClient {
    stub: __m::Stub,
}

impl From<Client> for GreeterClient {
    fn from(client: Client) -> Self {
        Self { stub: __m::Stub::new(client, DESCRIPTOR) }
    }
}

const PLAIN: __m::EndpointSpec = __m::EndpointSpec {
    name: "",
    kind: __m::CallKind::Unary,
    request: __m::schema::<()>,
    response: __m::schema::<()>,
    doc: "",
    description: "",
    example: None,
    scopes: None,
    public: false,
    timeout: None,
    idempotent: false,
    detached: false,
    deprecated: false,
    metadata: &[],
};

const DESCRIPTOR: &__m::ServiceDescriptor = &__m::ServiceDescriptor {
    name: "greeter",
    version: "1.0.0",
    type_name: "Greeter",
    doc: "",
    endpoints: &[
        __m::EndpointSpec {
            name: "Greeter.Hello",
            request: __m::schema::<HelloRequest>,
            response: __m::schema::<HelloReply>,
            ..PLAIN
        },
        __m::EndpointSpec {
            name: "Greeter.Count",
            kind: __m::CallKind::ServerStream,
            request: __m::schema::<u32>,
            response: __m::schema::<u32>,
            ..PLAIN
        },
    ],
    subscriptions: &[],
    metadata: &[],
};

use __m::{DecodeSerde as _, EncodeSerde as _};

impl GreeterClient {
    fn hello(&self, req: HelloRequest) -> Call<HelloReply> {
        self.stub.unary(
            const { __m::index_of(DESCRIPTOR.endpoints, "Greeter.Hello") },
            &req,
            (&&&&__m::Wire::<HelloRequest>::new()).enc(),
            (&&&&__m::Wire::<HelloReply>::new()).dec(),
        )
    }

    fn count(&self, to: u32) -> Call<Streaming<u32>> {
        self.stub.server_stream(
            const { __m::index_of(DESCRIPTOR.endpoints, "Greeter.Count") },
            &to,
            (&&&&__m::Wire::<u32>::new()).enc(),
            (&&&&__m::Wire::<u32>::new()).dec(),
        )
    }
}

impl Serve for Greeter {
    const DESCRIPTOR: &'static __m::ServiceDescriptor = DESCRIPTOR;
    const ENDPOINTS: &'static [__m::Endpoint<Self>] = &[
        __m::Endpoint {
            call: |service, _, incoming| {
                Box::pin(async move {
                    let req = __m::decode(&incoming, (&&&&__m::Wire::<HelloRequest>::new()).dec())?;
                    let out = service.hello(req).await;
                    __m::respond(incoming.format(), out, (&&&&__m::Wire::<HelloReply>::new()).enc())
                })
            },
        },
        __m::Endpoint {
            call: |service, _, incoming| {
                Box::pin(async move {
                    let req = __m::decode(&incoming, (&&&&__m::Wire::<u32>::new()).dec())?;
                    let out = service.count(req).await;
                    __m::respond_stream(incoming.format(), out, (&&&&__m::Wire::<u32>::new()).enc())
                })
            },
        },
    ];
    const SUBSCRIPTIONS: &'static [__m::Subscription<Self>] = &[];
}

async fn start() -> Running {
    let service = Service::new("test").no_env().registry(micro::registry::Memory::new());
    service.mount(Greeter).start().await.unwrap()
}

#[tokio::test]
async fn a_service_is_found_by_its_name_and_answers() {
    let running = start().await;
    let greeter: GreeterClient = running.client();
    let reply = greeter.hello(HelloRequest { name: "Ada".into() }).await.unwrap();
    assert_eq!(reply.message, "Hello Ada");
    let error = greeter.hello(HelloRequest { name: String::new() }).await.unwrap_err();
    assert_eq!((error.code(), error.detail()), (400, "a name is needed"));
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn a_stream_ends_where_the_handler_ends_it() {
    let running = start().await;
    let greeter: GreeterClient = running.client();
    let mut numbers = greeter.count(3).await.unwrap();
    let mut seen = Vec::new();
    while let Some(number) = numbers.next().await {
        seen.push(number.unwrap());
    }
    assert_eq!(seen, [1, 2, 3]);
    running.stop().await;
}
