//! A directory of a test, with the registry of its processes.

use std::path::PathBuf;
use std::sync::Arc;

use micro::Client;
use micro::core::limits::Limits;
use micro::registry::{Local, Registry};
use tempfile::TempDir;

use super::process::{Process, Start};

pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the directory of the registry; it exists once someone has used it.
    pub(crate) fn registry_path(&self) -> PathBuf {
        self.path("registry")
    }

    /// Returns the registry as the test process sees it.
    pub(crate) fn registry(&self) -> Arc<dyn Registry> {
        Arc::new(Local::open_at(self.registry_path()).unwrap())
    }

    /// Makes a client in the test process.
    pub(crate) fn client<C: From<Client>>(&self) -> C {
        self.client_within(Limits::default())
    }

    pub(crate) fn client_within<C: From<Client>>(&self, limits: Limits) -> C {
        Client::builder().limits(limits).registry(self.registry()).build().into()
    }

    /// Prepares a process that uses this place's registry.
    pub(crate) fn process(&self, program: &str) -> Start {
        let url = format!("local://{}", self.registry_path().display());
        Start::new(program).env("MICRO_REGISTRY", url)
    }

    /// Prepares a server that goes by a name.
    pub(crate) fn server(&self, name: &str) -> Start {
        self.process(env!("CARGO_BIN_EXE_node")).env("MICRO_SERVER_ID", name)
    }

    /// Starts a server and waits until it serves and is registered.
    pub(crate) async fn serve(&self, name: &str) -> Process {
        self.server(name).serving().await
    }
}
