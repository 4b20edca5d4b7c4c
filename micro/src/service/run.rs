//! One service, one line.

use crate::core::error::Result;
use crate::server::Serve;
use crate::service::builder::Service;
use crate::service::wiring::FromService;

/// Serves one value until the process is asked to stop, with everything else as configured.
///
/// The process has the name of the service. Free subscribers that are linked into the binary are
/// mounted too.
///
/// # Errors
/// As [`Service::run`].
pub async fn run<S: Serve>(service: S) -> Result<()> {
    Service::new(S::DESCRIPTOR.name).mount(service).mount_linked().run().await
}

/// Serves one value that is wired from the process, as [`run`] does.
///
/// # Errors
/// As [`Service::run`]; a setting that is missing names the field and the key.
pub async fn run_wired<S: Serve + FromService>() -> Result<()> {
    Service::new(S::DESCRIPTOR.name).wire::<S>().mount_linked().run().await
}
