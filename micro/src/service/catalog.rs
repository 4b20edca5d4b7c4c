//! What is linked into the binary, without any value of it.

use crate::core::descriptor::ServiceDescriptor;

/// One item that a macro announced.
#[derive(Clone, Copy, Debug)]
pub struct Entry(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Service(&'static ServiceDescriptor),
}

impl Entry {
    /// Announces a service.
    pub const fn service(descriptor: &'static ServiceDescriptor) -> Self {
        Self(Kind::Service(descriptor))
    }
}

inventory::collect!(Entry);

/// Returns the descriptors of the services linked into the binary, by name.
///
/// Generic services and contracts are not among them, nor are those of crates that the binary
/// never mentions.
pub fn catalog() -> Vec<&'static ServiceDescriptor> {
    let services = inventory::iter::<Entry>().map(|entry| match entry.0 {
        Kind::Service(descriptor) => descriptor,
    });
    let mut services: Vec<_> = services.collect();
    services.sort_by_key(|descriptor| (descriptor.name, descriptor.type_name));
    services
}
