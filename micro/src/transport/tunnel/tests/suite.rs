//! The suite of transports.

use std::sync::Arc;

use super::bus::Local;
use super::{Carried, over};
use crate::testkit::transport::{Subject, conformance};

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
