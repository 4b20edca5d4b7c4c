//! What a process calls of its own passes no network, and meets what every call meets.
#![cfg(unix)]

use std::sync::Arc;

use micro::core::net::Address;
use micro::debug::Stats;
use micro::prelude::*;
use micro::registry::Memory;
use tokio::sync::Notify;

#[derive(Clone, Default)]
struct Mirror {
    entered: Arc<Notify>,
}

#[service(name = "mirror")]
impl Mirror {
    /// Tells where its caller is.
    #[handler]
    async fn caller(&self, ctx: &Context) -> Result<String> {
        Ok(ctx.remote().unwrap_or_default().to_owned())
    }

    /// Runs until the process begins to stop.
    #[handler]
    async fn hold(&self, ctx: &Context) -> Result<()> {
        self.entered.notify_one();
        ctx.drained().await;
        Ok(())
    }
}

fn mirror(mirror: &Mirror) -> Service {
    Service::new("mirror").no_env().no_args().registry(Memory::new()).mount(mirror.clone())
}

async fn started() -> Running {
    mirror(&Mirror::default()).start().await.unwrap()
}

fn caller_of(address: &Address) -> MirrorClient {
    Client::builder().address(address.clone()).build().into()
}

#[tokio::test]
async fn a_process_reaches_itself_without_its_port() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("port");
    let service = mirror(&Mirror::default());
    let service = service.address(format_args!("unix:{}", path.display()));
    let running = service.start().await.unwrap();
    assert_eq!(caller_of(running.address()).caller().await.unwrap(), "unix");

    // Nobody finds the port any more.
    std::fs::remove_file(&path).unwrap();
    let lost = caller_of(running.address()).caller().await.unwrap_err();
    assert_eq!(lost.code(), 503, "{lost}");
    let mirror: MirrorClient = running.client();
    assert_eq!(mirror.caller().await.unwrap(), "memory");
    running.stop().await;
}

#[tokio::test]
async fn a_connection_within_is_counted_as_any_other() {
    let running = started().await;
    let (mirror, client): (MirrorClient, Client) = (running.client(), running.client());
    mirror.caller().await.unwrap();
    let stats: Stats = client.call("mirror", "Debug.Stats", &()).await.unwrap();
    let connections = stats.gauges.iter().find(|gauge| gauge.name == "connections").unwrap();
    assert_eq!(connections.value, 1, "{stats:?}");
    running.stop().await;
}

#[tokio::test]
async fn only_the_own_node_is_reached_within() {
    let (one, other) = (started().await, started().await);
    let mirror: MirrorClient = one.client();
    for (node, way) in [(&one, "memory"), (&other, "127.0.0.1:")] {
        let caller = mirror.caller().to(&node.address().to_string()).await.unwrap();
        assert!(caller.starts_with(way), "{caller}, not {way}");
    }
    one.stop().await;
    other.stop().await;
}

/// An address in front of several processes leads to any of them.
#[tokio::test]
async fn an_advertised_address_is_dialed() {
    let front = started().await;
    let service = mirror(&Mirror::default()).advertise(front.address());
    let behind = service.start().await.unwrap();
    let caller = behind.client::<MirrorClient>().caller().await.unwrap();
    assert!(caller.starts_with("127.0.0.1:"), "{caller}");
    behind.stop().await;
    front.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_what_a_process_asks_of_itself() {
    let served = Mirror::default();
    let running = mirror(&served).start().await.unwrap();
    let mirror: MirrorClient = running.client();
    let (held, report) = tokio::join!(mirror.hold(), async {
        served.entered.notified().await;
        running.stop().await
    });
    held.unwrap();
    assert!(report.is_clean() && report.finished == 1, "{report}");
    assert_eq!(mirror.caller().await.unwrap_err().code(), 503);
}
