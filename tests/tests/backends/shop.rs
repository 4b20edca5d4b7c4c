//! The example `shop` on every ground: three processes and a buyer, told apart by variables only.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use libtest_mimic::Trial;
use micro_tests::example::{built, command};
use micro_tests::server::{self, Program, trial};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

/// How long the buyer may take: no measure of speed, the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

const FEATURES: [&str; 5] = ["etcd", "nats", "postgres", "rabbitmq", "redis"];

/// Built once, for all grounds.
static SHOP: LazyLock<PathBuf> = LazyLock::new(|| built("shop", &FEATURES));

/// What every machine that builds this has.
const NOTHING: Program =
    Program { name: "sh", variable: "MICRO_TEST_SH_BIN", places: &["sh"], package: "dash" };

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("shop_runs_on_the_embedded_defaults", &NOTHING, on_defaults),
        trial("shop_runs_on_nats_alone", &server::NATS, on_nats),
        trial("shop_runs_on_redis_alone", &server::REDIS, on_redis),
        trial("shop_runs_on_etcd_rabbitmq_and_postgres", &server::RABBITMQ, on_three),
    ]
}

async fn on_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let registry = format!("local://{}", folder.path().join("registry").display());
    // Between processes, events go by the port of each.
    runs(&[("MICRO_REGISTRY", registry), ("MICRO_BROKER", "http".to_owned())]).await;
}

async fn on_nats() {
    let nats = server::nats();
    let at = nats.address();
    runs(&[
        ("MICRO_REGISTRY", format!("nats://{at}")),
        ("MICRO_BROKER", format!("jetstream://{at}")),
        ("MICRO_STORE", format!("nats://{at}")),
    ])
    .await;
}

async fn on_redis() {
    let redis = server::redis();
    let at = redis.address();
    runs(&[
        ("MICRO_REGISTRY", format!("redis://{at}")),
        ("MICRO_BROKER", format!("redis://{at}")),
        ("MICRO_STORE", format!("redis://{at}")),
    ])
    .await;
}

async fn on_three() {
    let (etcd, rabbitmq, postgres) = (server::etcd(), server::rabbitmq(), server::postgres());
    runs(&[
        ("MICRO_REGISTRY", format!("etcd://{}", etcd.address())),
        ("MICRO_BROKER", format!("rabbitmq://{}", rabbitmq.address())),
        ("MICRO_STORE", format!("postgres://postgres@{}/postgres", postgres.address())),
    ])
    .await;
}

/// Runs the three services as processes, buys from them, and stops them.
async fn runs(settings: &[(&str, String)]) {
    let mut services = Vec::new();
    for part in ["stock", "orders", "post"] {
        services.push(serve(part, settings).await);
    }
    let mut buyer = command(&SHOP);
    buyer.arg("buy").envs(settings.iter().cloned()).stderr(Stdio::piped());
    let bought = tokio::time::timeout(PATIENCE, buyer.output()).await;
    let bought = bought.expect("the buyer does not end").unwrap();
    let said = String::from_utf8_lossy(&bought.stdout);
    let complained = String::from_utf8_lossy(&bought.stderr);
    assert!(bought.status.success(), "{said}{complained}");
    let wanted = "of tea there are 1 left\nreceipt 1: 2 tea\nreceipt 2: 2 tea\n\
                  receipt 3: 2 tea\norders: 3\n";
    assert_eq!(said, wanted);
    for (mut service, _lines) in services {
        let id = service.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").arg(&id).status().unwrap().success());
        let ended = tokio::time::timeout(PATIENCE, service.wait()).await;
        assert!(ended.expect("a service does not stop").unwrap().success());
    }
}

/// Starts one service and waits until it says that it serves.
async fn serve(part: &str, settings: &[(&str, String)]) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut service = command(&SHOP);
    service.arg(part).envs(settings.iter().cloned()).stderr(Stdio::piped());
    let mut service = service.spawn().unwrap();
    let mut lines = BufReader::new(service.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let serves = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push_str(&line);
            if line.contains("serves on") {
                return true;
            }
        }
        false
    };
    let serves = tokio::time::timeout(PATIENCE, serves).await.expect("a service says nothing");
    assert!(serves, "{part} ended: {said}");
    (service, lines)
}
