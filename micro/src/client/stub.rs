//! What generated clients hold: the endpoints of a service, resolved.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::client::Client;
use crate::client::call::Call;
use crate::client::endpoint::Endpoint;
use crate::client::plan::Plan;
use crate::codec::scratch;
use crate::codec::{DecFn, EncFn, encoded};
use crate::core::context::Context;
use crate::core::descriptor::{CallKind, EndpointSpec, ServiceDescriptor};
use crate::core::error::Result;
use crate::core::stream::Streaming;

/// The endpoints of a service, each resolved once; cheap to clone.
#[derive(Clone, Debug)]
pub struct Stub {
    endpoints: Arc<[Arc<Endpoint>]>,
    client: Client,
}

impl Stub {
    /// Resolves the endpoints of a descriptor.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime: the nodes of the service are followed from here on.
    pub fn new(client: Client, descriptor: &'static ServiceDescriptor) -> Self {
        let endpoint = |spec: &EndpointSpec| {
            Arc::new(Endpoint {
                idempotent: spec.idempotent,
                timeout: spec.timeout,
                ..client.endpoint(descriptor.name, spec.name, spec.kind)
            })
        };
        let endpoints = descriptor.endpoints.iter().map(endpoint).collect();
        Self { endpoints, client }
    }

    /// Returns the client that makes the calls.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn plan(&self, index: usize, body: Result<Bytes>) -> Plan {
        // Invariant: generated code asks for indexes that its own descriptor has.
        let endpoint = match self.endpoints.get(index) {
            Some(endpoint) => Arc::clone(endpoint),
            None => Arc::new(self.client.dynamic("", "", CallKind::Unary)),
        };
        Plan { endpoint, body, source: None, options: None, context: Context::try_current() }
    }

    fn with_request<Q>(&self, index: usize, request: &Q, encode: EncFn<Q>) -> Plan {
        let body = scratch(|out| encode(&self.client.format, request, out));
        self.plan(index, body)
    }

    fn with_requests<Q: Send + 'static>(
        &self,
        index: usize,
        requests: Streaming<Q>,
        encode: EncFn<Q>,
    ) -> Plan {
        let source = encoded(requests, self.client.format.clone(), encode);
        Plan { source: Some(Mutex::new(source)), ..self.plan(index, Ok(Bytes::new())) }
    }

    /// Calls an endpoint with one request and one response.
    pub fn unary<Q, R, E>(
        &self,
        index: usize,
        request: &Q,
        encode: EncFn<Q>,
        decode: DecFn<R>,
    ) -> Call<R, E> {
        Call::message(self.with_request(index, request, encode), decode)
    }

    /// Calls an endpoint with one request and a stream of responses.
    pub fn server_stream<Q, R: Send + 'static, E>(
        &self,
        index: usize,
        request: &Q,
        encode: EncFn<Q>,
        decode: DecFn<R>,
    ) -> Call<Streaming<R>, E> {
        Call::stream(self.with_request(index, request, encode), decode)
    }

    /// Calls an endpoint with a stream of requests and one response.
    pub fn client_stream<Q: Send + 'static, R, E>(
        &self,
        index: usize,
        requests: Streaming<Q>,
        encode: EncFn<Q>,
        decode: DecFn<R>,
    ) -> Call<R, E> {
        Call::message(self.with_requests(index, requests, encode), decode)
    }

    /// Calls an endpoint with a stream each way.
    pub fn bidi<Q: Send + 'static, R: Send + 'static, E>(
        &self,
        index: usize,
        requests: Streaming<Q>,
        encode: EncFn<Q>,
        decode: DecFn<R>,
    ) -> Call<Streaming<R>, E> {
        Call::stream(self.with_requests(index, requests, encode), decode)
    }
}
