//! Where the crates of vendors are named.

use super::*;

/// Where the crate of a vendor may be named: the files of the backends that it is for.
const VENDORS: &[(&str, &[&str])] = &[
    ("async_nats", &["broker/jetstream/", "broker/nats/", "driver/nats/", "transport/nats.rs"]),
    ("aws_lc_rs", &["auth/authority/", "auth/jwt/", "transport/tls/"]),
    ("axum", &["server/", "service/port.rs"]),
    ("bson", &["codec/bson.rs", "codec/mod.rs"]),
    ("chitchat", &["registry/gossip/"]),
    ("ciborium", &["codec/cbor/"]),
    ("ciborium_ll", &["codec/cbor/"]),
    ("clap", &["bin/micro/"]),
    ("clap_complete", &["bin/micro/"]),
    ("comfy_table", &["bin/micro/"]),
    (
        "flate2",
        &[
            "codec/grpc/",
            "registry/packed.rs",
            "server/http/coding/",
            "server/tests/compression.rs",
        ],
    ),
    ("google_cloud_auth", &["broker/pubsub/"]),
    ("h2", &["transport/grpc/", "transport/http/"]),
    ("hcl", &["config/format/"]),
    ("hickory_proto", &["registry/mdns/"]),
    ("hickory_resolver", &["registry/dns.rs"]),
    ("httparse", &["transport/mucp/"]),
    (
        "hyper",
        &[
            "auth/jwt/url.rs",
            "broker/nsq/lookup.rs",
            "debug/otlp/",
            "driver/consul/",
            "server/",
            "service/port.rs",
            "transport/grpc/",
            "transport/http/",
            "transport/mucp/",
        ],
    ),
    (
        "hyper_util",
        &[
            "auth/jwt/url.rs",
            "broker/nsq/lookup.rs",
            "debug/otlp/",
            "driver/consul/",
            "server/",
            "transport/grpc/",
            "transport/http/",
            "transport/mucp/",
        ],
    ),
    ("indicatif", &["bin/micro/"]),
    ("inventory", &["service/catalog.rs", "__private.rs"]),
    ("k8s_openapi", &["registry/kubernetes/"]),
    ("kube", &["registry/kubernetes/"]),
    ("lapin", &["broker/rabbitmq/", "driver/amqp.rs", "transport/rabbitmq.rs"]),
    ("notify", &["config/file/", "registry/local/"]),
    ("pprof", &["debug/sampler.rs"]),
    (
        "prost",
        &[
            "broker/pubsub/",
            "codec/grpc/",
            "codec/proto/",
            "codec/wire.rs",
            "driver/etcd/",
            "server/grpc/",
        ],
    ),
    ("quick_xml", &["config/format/"]),
    ("quinn", &["transport/quic/"]),
    ("rcgen", &["auth/authority/"]),
    ("rdkafka", &["broker/kafka/"]),
    ("redb", &["store/file/"]),
    (
        "redis",
        &[
            "broker/redis/",
            "broker/redis_pubsub/",
            "driver/redis/",
            "service/remote/",
            "registry/redis/",
            "store/redis/",
        ],
    ),
    ("rmp_serde", &["codec/msgpack.rs", "testkit/codec/"]),
    ("rumqttc", &["broker/mqtt/"]),
    ("rustix", &["debug/output.rs"]),
    ("rustls", &["transport/quic/config.rs", "transport/tls/"]),
    ("schemars", &["service/schema.rs"]),
    ("serde_saphyr", &["config/format/"]),
    ("tokio_postgres", &["driver/postgres/"]),
    ("socket2", &["core/net/", "driver/amqp.rs", "registry/mdns/"]),
    ("tokio_tungstenite", &["transport/websocket/"]),
    ("toml", &["config/format/"]),
    ("tonic", &["broker/pubsub/", "driver/etcd/"]),
    ("tonic_prost", &["broker/pubsub/", "driver/etcd/"]),
    ("tracing_subscriber", &["bin/micro/"]),
    ("x509_parser", &["transport/tls/"]),
    ("zookeeper_client", &["driver/zookeeper.rs", "registry/zookeeper/"]),
];

#[test]
fn vendors_are_named_where_they_are_used_and_nowhere_else() {
    let base = root().join("micro/src");
    let mut faults = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (path, text) in sources("micro/src") {
        let relative = path.strip_prefix(&base).unwrap().to_string_lossy().into_owned();
        let places = |vendor| VENDORS.iter().find(|entry| entry.0 == vendor).unwrap().1;
        for (n, line) in product(&path, &text).lines().enumerate() {
            for (vendor, _) in VENDORS.iter().filter(|_| !is_comment(line)) {
                // What follows `::` is a module of this crate.
                let named = line.match_indices(&format!("{vendor}::")).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'))
                });
                if !named && !line.contains(&format!("use {vendor};")) {
                    continue;
                }
                seen.insert(*vendor);
                if !places(*vendor).iter().any(|place| relative.starts_with(place)) {
                    faults.push(format!("{relative}:{}: names {vendor}", n + 1));
                }
            }
        }
    }
    assert_none(&faults);
    assert_eq!(seen.len(), VENDORS.len(), "the table names what nothing uses: {seen:?}");
}
