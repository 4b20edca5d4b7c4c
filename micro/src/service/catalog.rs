//! What is linked into the binary, without any value of it.

use crate::core::descriptor::ServiceDescriptor;

/// One item that a macro announced.
#[derive(Clone, Copy, Debug)]
pub struct Entry(pub(crate) Kind);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Service(&'static ServiceDescriptor),
    Subscriber(crate::service::subscribers::Linked),
}

impl Entry {
    /// Announces a service.
    pub const fn service(descriptor: &'static ServiceDescriptor) -> Self {
        Self(Kind::Service(descriptor))
    }

    /// Announces a free subscriber.
    pub const fn subscriber<F: crate::service::subscribers::Subscriber>() -> Self {
        Self(Kind::Subscriber(crate::service::subscribers::Linked::new::<F>()))
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
pub(crate) fn linked() -> impl Iterator<Item = crate::service::subscribers::Linked> {
    inventory::iter::<Entry>().filter_map(|entry| match entry.0 {
        Kind::Subscriber(linked) => Some(linked),
        Kind::Service(_) => None,
    })
}
