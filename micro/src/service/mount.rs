//! What is served, with or without a value yet.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::core::descriptor::ServiceDescriptor;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::server::{self, Serve, Subscribed, Surroundings};
use crate::service::builder::Configure;
use crate::service::wiring::{FromService, Wiring};

/// A service that is to be mounted.
pub(crate) trait Mount: fmt::Debug + Send {
    /// Returns what it declares.
    fn descriptor(&self) -> &'static ServiceDescriptor;

    /// Offers the value, if there is one, to the structs that are wired.
    fn provide(&self, scope: &Wiring);

    /// Makes the value if need be, and what mounts it.
    fn make(self: Box<Self>, scope: &Wiring, around: Surroundings) -> BoxFuture<'_, Result<Made>>;
}

/// A service that has its value.
pub(crate) struct Made {
    /// Mounts its endpoints.
    pub(crate) mount: Configure<server::Builder>,
    /// Handles its events.
    pub(crate) subscriptions: Vec<Subscribed>,
}

impl Made {
    fn new<S: Serve>(service: Arc<S>, around: &Surroundings) -> Self {
        let declared = S::DESCRIPTOR.subscriptions.iter().zip(S::SUBSCRIPTIONS);
        let subscriptions = declared.map(|(spec, subscription)| {
            let value = Arc::clone(&service);
            let rest = (*spec, around.clone());
            Subscribed::method(subscription, S::DESCRIPTOR.name, value, rest)
        });
        Self {
            subscriptions: subscriptions.collect(),
            mount: Box::new(move |server| server.mount_shared(service)),
        }
    }
}

/// A value that the program made.
pub(crate) struct Value<S>(pub(crate) Arc<S>);

impl<S: Serve> Mount for Value<S> {
    fn descriptor(&self) -> &'static ServiceDescriptor {
        S::DESCRIPTOR
    }

    fn provide(&self, scope: &Wiring) {
        scope.provide(Arc::clone(&self.0));
    }

    fn make(self: Box<Self>, _: &Wiring, around: Surroundings) -> BoxFuture<'_, Result<Made>> {
        Box::pin(std::future::ready(Ok(Made::new(self.0, &around))))
    }
}

impl<S: Serve> fmt::Debug for Value<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&S::DESCRIPTOR.name).finish()
    }
}

/// A value that is wired.
pub(crate) struct Wired<S>(PhantomData<fn() -> S>);

impl<S> Wired<S> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<S: Serve + FromService> Mount for Wired<S> {
    fn descriptor(&self) -> &'static ServiceDescriptor {
        S::DESCRIPTOR
    }

    fn provide(&self, _: &Wiring) {}

    fn make(self: Box<Self>, scope: &Wiring, around: Surroundings) -> BoxFuture<'_, Result<Made>> {
        Box::pin(async move { Ok(Made::new(scope.shared::<S>().await?, &around)) })
    }
}

impl<S: Serve> fmt::Debug for Wired<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wired").field(&S::DESCRIPTOR.name).finish()
    }
}
