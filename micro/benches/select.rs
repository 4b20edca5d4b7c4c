//! One choice of a node by two random choices, out of a snapshot that does not change.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start has nothing to measure")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::Criterion;
use micro::core::clock;
use micro::registry::Instance;
use micro::selector::{LoadTable, OutlierLimits, P2c, Pick, Selector};

fn instance(number: usize) -> Arc<Instance> {
    Arc::new(Instance {
        id: format!("shop-{number}"),
        service: "shop".into(),
        version: "1.0.0".into(),
        address: format!("127.0.0.1:{}", 1_000 + number),
        metadata: BTreeMap::new(),
        endpoints: Arc::new([]),
        draining: false,
    })
}

fn select(criterion: &mut Criterion) {
    let policy = P2c::new();
    for nodes in [3, 1_000] {
        let instances: Vec<_> = (0..nodes).map(instance).collect();
        let now = clock::now();
        let candidates = LoadTable::new(OutlierLimits::default()).candidates(&instances, now);
        let request = Pick::new(now, "Shop.Echo");
        assert!(policy.pick(&candidates, &request).unwrap() < nodes);
        criterion.bench_function(&format!("select/p2c/{nodes}"), |bencher| {
            bencher.iter(|| policy.pick(black_box(&candidates), black_box(&request)));
        });
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    select(&mut criterion);
    criterion.final_summary();
}
