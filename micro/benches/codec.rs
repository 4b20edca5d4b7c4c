//! A small struct to bytes and back, as generated code does it: MessagePack and JSON.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start has nothing to measure")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::Criterion;
use micro::codec::glue::{DecodeSerde, EncodeSerde, Wire};
use micro::codec::{DecFn, EncFn, Format};
use micro::core::body::Body;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    number: u64,
    customer: String,
    cents: u32,
    paid: bool,
    tags: Vec<String>,
}

fn order() -> Order {
    Order {
        number: 7,
        customer: "Ada Lovelace".to_owned(),
        cents: 1_250,
        paid: true,
        tags: vec!["book".to_owned(), "gift".to_owned()],
    }
}

fn codec(criterion: &mut Criterion) {
    // The arms that generated code chooses for a type of `serde`.
    let encode: EncFn<Order> = <&Wire<Order> as EncodeSerde<Order>>::enc(&&Wire::new());
    let decode: DecFn<Order> = <&Wire<Order> as DecodeSerde<Order>>::dec(&&Wire::new());
    for (name, format) in [("msgpack", Format::MsgPack), ("json", Format::Json)] {
        let order = order();
        let mut encoded = Vec::new();
        encode(&format, &order, &mut encoded).unwrap();
        let encoded = Bytes::from(encoded);
        assert_eq!(decode(&format, &Body::from(&encoded)).unwrap(), order);
        let mut out = Vec::new();
        criterion.bench_function(&format!("codec/{name}/encode"), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode(&format, black_box(&order), &mut out).unwrap();
                out.len()
            });
        });
        criterion.bench_function(&format!("codec/{name}/decode"), |bencher| {
            bencher.iter(|| decode(&format, &Body::from(black_box(&encoded))).unwrap());
        });
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    codec(&mut criterion);
    criterion.final_summary();
}
