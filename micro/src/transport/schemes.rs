//! Transports by the schemes of addresses.

use std::sync::Arc;

use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::transport::{Scope, Transport};

/// Reaches `scheme://..` by the transport of that scheme, and every other address by the default.
///
/// The transport of a scheme is given the address behind it: for `grpc://10.0.0.1:50051` that is
/// `10.0.0.1:50051`. One whose addresses say nothing without their scheme, such as
/// `nats://micro.node.1`, is given all of it. Whatever is listened on without a scheme, or with one
/// that is the name of the default transport and of no other, is served by the default transport,
/// whose name is also that of the whole.
///
/// ```
/// use std::sync::Arc;
///
/// use micro::client::Client;
/// use micro::transport::{Memory, Native, Schemes};
///
/// let transport = Schemes::over(Arc::new(Native)).with("inside", Arc::new(Memory::new()));
/// let client = Client::builder().transport(Arc::new(transport)).build();
/// # drop(client);
/// ```
#[derive(Clone, Debug)]
pub struct Schemes {
    default: Arc<dyn Transport>,
    others: Vec<(&'static str, Arc<dyn Transport>)>,
}

impl Schemes {
    /// Reaches addresses without a scheme by `default`, and no others.
    pub fn over(default: Arc<dyn Transport>) -> Self {
        Self { default, others: Vec::new() }
    }

    /// Reaches the addresses of a scheme, which is written in lower case, by a transport.
    #[must_use]
    pub fn with(mut self, scheme: &'static str, transport: Arc<dyn Transport>) -> Self {
        self.others.retain(|(other, _)| *other != scheme);
        self.others.push((scheme, transport));
        self
    }

    /// Finds the transport of an address, and the address as that transport reads it; `None` where
    /// it is the address itself.
    fn of(&self, address: &Address) -> Result<(&dyn Transport, Option<Address>)> {
        let Address::Scheme { scheme, rest } = address else { return Ok((&*self.default, None)) };
        let found = self.others.iter().find(|(other, _)| other == scheme);
        let Some((_, transport)) = found else {
            let default = &*self.default;
            let is_own = default.name() == scheme && reads_schemes(default);
            return if is_own { Ok((default, None)) } else { Err(self.unknown(address)) };
        };
        if reads_schemes(&**transport) {
            return Ok((&**transport, None));
        }
        let inner = rest.parse().map_err(|error: Error| error.with_retry(Retry::Safe))?;
        Ok((&**transport, Some(inner)))
    }

    #[cold]
    fn unknown(&self, address: &Address) -> Error {
        let known: Vec<_> = self.others.iter().map(|(scheme, _)| *scheme).collect();
        let known = match known.as_slice() {
            [] => "there are none: enable the feature that brings it".to_owned(),
            known => format!("there are {}", known.join(", ")),
        };
        let detail = format!("no transport for {address}; of schemes {known}");
        Error::unavailable("micro.transport", detail).with_retry(Retry::Safe)
    }
}

/// Tells whether the addresses of a transport say nothing without their scheme.
fn reads_schemes(transport: &dyn Transport) -> bool {
    matches!(transport.own_address(), Some(Address::Scheme { .. }))
}

impl Transport for Schemes {
    fn name(&self) -> &'static str {
        self.default.name()
    }

    fn has_listener(&self) -> bool {
        self.default.has_listener()
    }

    fn own_address(&self) -> Option<Address> {
        self.default.own_address()
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        Box::pin(async move {
            let (transport, inner) = self.of(address)?;
            transport.dial(inner.as_ref().unwrap_or(address), scope).await
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        Box::pin(async move {
            let (transport, inner) = self.of(address)?;
            let Some(inner) = inner else {
                return transport.listen(address, dispatch, scope).await;
            };
            let bound = transport.listen(&inner, dispatch, scope).await?;
            match address {
                Address::Scheme { scheme, .. } => {
                    Ok(Address::Scheme { scheme: scheme.clone(), rest: bound.to_string() })
                }
                _ => Ok(bound),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Memory;

    #[tokio::test]
    async fn an_address_goes_to_the_transport_of_its_scheme() {
        let schemes = Schemes::over(Arc::new(Memory::new())).with("a", Arc::new(Memory::new()));
        let scope = Scope::default();
        for (text, detail) in [
            ("memory:x", "cannot reach memory:x"),
            ("a+unix:/x", "cannot reach unix:/x"),
            ("b://x:1", "no transport for b://x:1; of schemes there are a"),
        ] {
            let address = text.parse().unwrap();
            let error = schemes.dial(&address, &scope).await.map(|_| ()).unwrap_err();
            assert!(error.detail().contains(detail), "{error}");
            assert_eq!(error.retry(), Retry::Safe);
        }
    }
}
