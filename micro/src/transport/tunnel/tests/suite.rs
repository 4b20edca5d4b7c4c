//! The suite of transports.

use std::sync::Arc;

use super::bus::Local;
use super::over;
use crate::core::error::Result;
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::testkit::transport::{Subject, conformance};
use crate::transport::tunnel::Tunnel;
use crate::transport::{Scope, Transport};

#[derive(Debug)]
struct Carried(Tunnel);

impl Transport for Carried {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn own_address(&self) -> Option<Address> {
        Some(self.0.own_address())
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        Box::pin(self.0.dial(address, scope))
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        Box::pin(self.0.listen(address, dispatch, scope))
    }
}

async fn passes() {
    let made = async || {
        let tunnel = over(&Local::default());
        let here = tunnel.own_address();
        Ok(Subject::new(Arc::new(Carried(tunnel)), here, "local://nowhere".parse()?))
    };
    conformance(made).await.unwrap_or_else(|failures| panic!("{failures}"));
}

#[tokio::test(start_paused = true)]
async fn a_bus_within_the_process_conforms() {
    passes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_within_the_process_conforms_on_many_threads() {
    passes().await;
}
