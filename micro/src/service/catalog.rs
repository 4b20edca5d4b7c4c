//! What is linked into the binary, without any value of it.

use std::any::type_name;

use crate::core::descriptor::{ServiceDescriptor, SubscriptionSpec};
use crate::server::{Subscribed, Subscriber, Surroundings};

/// One item that a macro announced.
#[derive(Clone, Copy, Debug)]
pub struct Entry(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Service(&'static ServiceDescriptor),
    Subscriber(Linked),
}

/// A free subscriber without its type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linked {
    pub(crate) spec: SubscriptionSpec,
    /// Tells subscribers of one name in several modules apart.
    path: fn() -> &'static str,
    pub(crate) make: fn(Surroundings) -> Subscribed,
}

impl Linked {
    pub(crate) const fn new<F: Subscriber>() -> Self {
        Self { spec: F::SPEC, path: type_name::<F>, make: Subscribed::free::<F> }
    }

    /// Returns whether both are one function.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.path)() == (other.path)()
    }
}

impl Entry {
    /// Announces a service.
    pub const fn service(descriptor: &'static ServiceDescriptor) -> Self {
        Self(Kind::Service(descriptor))
    }

    /// Announces a free subscriber.
    pub const fn subscriber<F: Subscriber>() -> Self {
        Self(Kind::Subscriber(Linked::new::<F>()))
    }
}

inventory::collect!(Entry);

/// Returns the descriptors of the services linked into the binary, by name.
///
/// Generic services and contracts are not among them, nor are those of crates that the binary
/// never mentions.
pub fn catalog() -> Vec<&'static ServiceDescriptor> {
    let services = inventory::iter::<Entry>().filter_map(|entry| match entry.0 {
        Kind::Service(descriptor) => Some(descriptor),
        Kind::Subscriber(_) => None,
    });
    let mut services: Vec<_> = services.collect();
    services.sort_by_key(|descriptor| (descriptor.name, descriptor.type_name));
    services
}

/// Returns the free subscribers linked into the binary.
pub(crate) fn linked() -> impl Iterator<Item = Linked> {
    inventory::iter::<Entry>().filter_map(|entry| match entry.0 {
        Kind::Subscriber(linked) => Some(linked),
        Kind::Service(_) => None,
    })
}
