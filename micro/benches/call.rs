//! A unary call through the typed client, over the transport in memory: discovery, selection, the
//! codec, the router and the handler, without a socket.
//!
//! Both sides share one thread, so what it shows is the processor's time of both.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start has nothing to measure")]

use criterion::Criterion;
use micro::prelude::*;
use micro::{registry, transport};
use tokio::runtime::Builder;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    number: u64,
    customer: String,
    cents: u32,
}

#[derive(Debug)]
struct Shop;

#[service(name = "shop")]
impl Shop {
    #[handler]
    async fn echo(&self, order: Order) -> Result<Order> {
        Ok(order)
    }
}

fn call(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let service = Service::new("bench")
        .no_env()
        .no_args()
        .registry(registry::Memory::new())
        .transport(transport::Memory::default())
        .mount(Shop);
    let running = runtime.block_on(service.start()).unwrap();
    let shop: ShopClient = runtime.block_on(async { running.client() });
    let order = Order { number: 7, customer: "Ada".to_owned(), cents: 1_250 };
    assert_eq!(runtime.block_on(shop.echo(order.clone())).unwrap(), order);
    criterion.bench_function("call/unary", |bencher| {
        bencher.to_async(&runtime).iter(|| async { shop.echo(order.clone()).await.unwrap() });
    });
    assert!(runtime.block_on(running.stop()).is_clean());
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    call(&mut criterion);
    criterion.final_summary();
}
