//! Calls by names that are learned at run time.
//!
//! Generated clients are typed; these are for callers that do not know what they call when they
//! are compiled. The names may come from outside: of 1,024 services the nodes are followed between
//! their calls, until a service was not called for the idle time of a connection.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::client::call::Call;
use crate::client::plan::Plan;
use crate::codec::glue::{DecodeSerde, EncodeSerde, Wire};
use crate::codec::{DecFn, EncFn, encoded, scratch};
use crate::core::context::Context;
use crate::core::descriptor::CallKind;
use crate::core::stream::Streaming;

/// Calls by names. A kind that the endpoint does not have is refused by the node, or fails when its
/// answer arrives.
impl Client {
    /// Calls an endpoint by its names, with any request and response that `serde` knows.
    ///
    /// Generated clients are typed; this is for callers that learn the names at run time. The
    /// names may come from outside: of 1,024 services the nodes are followed between their calls,
    /// until a service was not called for the idle time of a connection.
    ///
    /// # Errors
    /// The call fails as a generated one does.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn call<Q, R>(&self, service: &str, name: &str, request: &Q) -> Call<R>
    where
        Q: Serialize + 'static,
        R: DeserializeOwned + 'static,
    {
        Call::message(self.one(service, name, CallKind::Unary, request), decoder())
    }

    /// Calls an endpoint that answers one request by a stream; see [`Client::call`].
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn server_stream<Q, R>(&self, service: &str, name: &str, request: &Q) -> Call<Streaming<R>>
    where
        Q: Serialize + 'static,
        R: DeserializeOwned + Send + 'static,
    {
        Call::stream(self.one(service, name, CallKind::ServerStream, request), decoder())
    }

    /// Calls an endpoint that answers a stream of requests once; see [`Client::call`].
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn client_stream<Q, R>(&self, service: &str, name: &str, requests: Streaming<Q>) -> Call<R>
    where
        Q: Serialize + Send + 'static,
        R: DeserializeOwned + 'static,
    {
        Call::message(self.many(service, name, CallKind::ClientStream, requests), decoder())
    }

    /// Calls an endpoint with a stream each way; see [`Client::call`].
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn bidi<Q, R>(
        &self,
        service: &str,
        name: &str,
        requests: Streaming<Q>,
    ) -> Call<Streaming<R>>
    where
        Q: Serialize + Send + 'static,
        R: DeserializeOwned + Send + 'static,
    {
        Call::stream(self.many(service, name, CallKind::Bidi, requests), decoder())
    }

    fn one<Q>(&self, service: &str, name: &str, kind: CallKind, request: &Q) -> Plan
    where
        Q: Serialize + 'static,
    {
        let encode: EncFn<Q> = (&&Wire::<Q>::new()).enc();
        let endpoint = Arc::new(self.dynamic(service, name, kind));
        let body = scratch(|out| encode(&self.format, request, out));
        Plan { endpoint, body, source: None, options: None, context: Context::try_current() }
    }

    fn many<Q>(&self, service: &str, name: &str, kind: CallKind, requests: Streaming<Q>) -> Plan
    where
        Q: Serialize + Send + 'static,
    {
        let encode: EncFn<Q> = (&&Wire::<Q>::new()).enc();
        let endpoint = Arc::new(self.dynamic(service, name, kind));
        let source = Some(Mutex::new(encoded(requests, self.format.clone(), encode)));
        let context = Context::try_current();
        Plan { endpoint, body: Ok(Bytes::new()), source, options: None, context }
    }
}

fn decoder<R: DeserializeOwned + 'static>() -> DecFn<R> {
    (&&Wire::<R>::new()).dec()
}
