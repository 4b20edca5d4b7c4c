//! The example `shop` on every ground: three processes and a buyer, told apart by variables only.
//!
//! Where the ground keeps settings, how full the shelf is stands there and not in the program.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libtest_mimic::Trial;
use micro::core::limits::StoreLimits;
use micro::core::shutdown::TaskTracker;
use micro::driver;
use micro::store::{self, Key, Space, Store, Write};
use micro_tests::example::{built, command};
use micro_tests::server::{self, Program, trial, trial_on};
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
        trial_on(
            "shop_runs_on_etcd_rabbitmq_and_postgres",
            &[&server::ETCD, &server::RABBITMQ, &server::POSTGRES],
            on_three,
        ),
    ]
}

/// How many pieces the program puts on its shelf unless its settings say another number.
const OWN_COUNT: u32 = 7;

/// How many pieces the settings put there that stand on the ground.
const KEPT_COUNT: u32 = 9;

fn kept_settings() -> String {
    format!(r#"{{"shelf": {{"count": {KEPT_COUNT}}}}}"#)
}

async fn on_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let registry = format!("local://{}", folder.path().join("registry").display());
    let file = folder.path().join("shop.json");
    std::fs::write(&file, kept_settings()).unwrap();
    // Between processes, events go by the port of each.
    let broker = "http".to_owned();
    let config = file.display().to_string();
    let settings =
        [("MICRO_REGISTRY", registry), ("MICRO_BROKER", broker), ("MICRO_CONFIG", config)];
    runs(&settings, KEPT_COUNT).await;
}

async fn on_nats() {
    let nats = server::nats();
    let at = nats.address();
    keep_on_nats(nats.port()).await;
    let settings = [
        ("MICRO_REGISTRY", format!("nats://{at}")),
        ("MICRO_BROKER", format!("jetstream://{at}")),
        ("MICRO_STORE", format!("nats://{at}")),
        ("MICRO_CONFIG", format!("nats://{at}/settings/shop.main.json")),
    ];
    runs(&settings, KEPT_COUNT).await;
}

/// Writes the settings under the key `shop.main.json`, as a store writes record `json` of table
/// `main`.
async fn keep_on_nats(port: u16) {
    let tasks = TaskTracker::new();
    let nats = driver::Nats::open(&driver::Server::new("127.0.0.1", port), &tasks).unwrap();
    let limits = StoreLimits::default();
    let writer = store::Nats::in_bucket(Arc::new(nats), "settings", 1, &limits).unwrap();
    let (space, key) = (Space::new("shop", "main").unwrap(), Key::new("json").unwrap());
    let write = async {
        while writer.write(&space, Write::new(key.clone(), kept_settings())).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, write).await.expect("the settings are not written");
    tasks.abort_all();
}

/// Redis keeps no settings: the program's own count.
async fn on_redis() {
    let redis = server::redis();
    let at = redis.address();
    let settings = [
        ("MICRO_REGISTRY", format!("redis://{at}")),
        ("MICRO_BROKER", format!("redis://{at}")),
        ("MICRO_STORE", format!("redis://{at}")),
    ];
    runs(&settings, OWN_COUNT).await;
}

async fn on_three() {
    let (etcd, rabbitmq, postgres) = (server::etcd(), server::rabbitmq(), server::postgres());
    crate::etcd::gateway::put(etcd.port(), "/micro/config/shop.json", &kept_settings()).await;
    let settings = [
        ("MICRO_REGISTRY", format!("etcd://{}", etcd.address())),
        ("MICRO_BROKER", format!("rabbitmq://{}", rabbitmq.address())),
        ("MICRO_STORE", format!("postgres://postgres@{}/postgres", postgres.address())),
        ("MICRO_CONFIG", format!("etcd://{}/shop.json", etcd.address())),
    ];
    runs(&settings, KEPT_COUNT).await;
}

/// Runs the three services as processes, buys from them all that is on the shelf, and stops them.
async fn runs(settings: &[(&str, String)], count: u32) {
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
    let (orders, left) = (count / 2, count % 2);
    let receipts: String = (1..=orders).map(|id| format!("receipt {id}: 2 tea\n")).collect();
    let wanted = format!("of tea there are {left} left\n{receipts}orders: {orders}\n");
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
