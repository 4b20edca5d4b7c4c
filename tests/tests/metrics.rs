//! The page of numbers, read by a parser of Prometheus text that is not of this project.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_parse::{Sample, Scrape, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use micro::core::clock;
use micro::prelude::*;
use micro::{Topic, config, registry};

struct Till;

#[service(name = "till")]
impl Till {
    #[handler]
    async fn take(&self, count: u32) -> Result<u32> {
        if count > 9 { Err(Error::conflict("till", "full")) } else { Ok(count) }
    }
}

async fn page(address: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

fn parsed(page: &str) -> Scrape {
    Scrape::parse(page.lines().map(|line| Ok(line.to_owned()))).unwrap()
}

fn named<'a>(scrape: &'a Scrape, name: &str) -> Vec<&'a Sample> {
    scrape.samples.iter().filter(|sample| sample.metric == name).collect()
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => *value,
        other => panic!("{other:?} is not one number"),
    }
}

#[tokio::test]
async fn a_parser_of_others_reads_every_number_of_a_process() {
    let service = Service::new("market").no_env().registry(registry::Memory::new());
    let running = service.mount(Till).start().await.unwrap();
    let till: TillClient = running.client();
    for count in [1, 2, 3, 10] {
        let _taken = till.take(count).await;
    }
    let text = page(&running.address().to_string()).await;
    let scrape = parsed(&text);

    let total = |outcome: &str| {
        let requests = named(&scrape, "micro_requests_total");
        let own = requests.into_iter().find(|sample| {
            sample.labels.get("endpoint") == Some("Till.Take")
                && sample.labels.get("outcome") == Some(outcome)
        });
        let own = own.unwrap_or_else(|| panic!("no {outcome} in {text}"));
        assert!(
            matches!(own.value, Value::Counter(_)) && own.labels.get("service") == Some("till")
        );
        number(&own.value)
    };
    assert_eq!((total("ok"), total("rejected")), (3.0, 1.0));

    let durations = named(&scrape, "micro_request_duration_seconds");
    let own = durations.iter().find(|sample| sample.labels.get("endpoint") == Some("Till.Take"));
    let Value::Histogram(buckets) = &own.unwrap().value else { panic!("{durations:?}") };
    let counts: Vec<f64> = buckets.iter().map(|bucket| bucket.count).collect();
    assert!(buckets.is_sorted_by(|a, b| a.less_than < b.less_than), "{buckets:?}");
    assert!(counts.is_sorted() && counts.last() == Some(&4.0), "{counts:?}");
    assert_eq!(buckets.last().unwrap().less_than, f64::INFINITY);

    for name in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_threads",
        "tokio_workers",
        "micro_connections",
        "micro_tasks",
    ] {
        let [sample] = named(&scrape, name)[..] else { panic!("{name} is not there once: {text}") };
        assert!(matches!(sample.value, Value::Gauge(value) if value > 0.0), "{sample:?}");
        assert!(scrape.docs.contains_key(name), "{name} has no help");
    }
    // Every line is read: a sample, or what describes one.
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    let buckets: usize = durations
        .iter()
        .map(|sample| match &sample.value {
            Value::Histogram(buckets) => buckets.len(),
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(samples, scrape.samples.len() - durations.len() + buckets, "{text}");
    running.stop().await;
}

const RUNG: Topic<u32> = Topic::new("bell.rung");

/// Takes a ring at once, at the second try, or never.
#[derive(Default)]
struct Bell {
    failed: AtomicBool,
}

#[service(name = "bell")]
impl Bell {
    #[subscriber(topic = RUNG, queue = "bell")]
    async fn on_rung(&self, count: u32) -> Result<()> {
        match count {
            2 if !self.failed.swap(true, Ordering::SeqCst) => {
                Err(Error::unavailable("bell", "busy"))
            }
            3 => Err(Error::bad_request("bell", "out of tune")),
            _ => Ok(()),
        }
    }
}

/// The numbers of the names on the page of a process.
async fn shown<const N: usize>(running: &Running, names: [&str; N]) -> [f64; N] {
    let text = page(&running.address().to_string()).await;
    let scrape = parsed(&text);
    names.map(|name| {
        let [sample] = named(&scrape, name)[..] else { panic!("{name} is not there once: {text}") };
        assert!(scrape.docs.contains_key(name), "{name} has no help");
        let is_counter = matches!(sample.value, Value::Counter(_));
        assert_eq!(is_counter, name.ends_with("_total"), "{sample:?}");
        number(&sample.value)
    })
}

/// Reads the numbers of the names until they are these.
async fn show<const N: usize>(running: &Running, names: [&str; N], wanted: [f64; N]) {
    let deadline = clock::after(clock::now(), Duration::from_secs(60));
    loop {
        let present = shown(running, names).await;
        if present == wanted {
            return;
        }
        assert!(clock::now() < deadline, "{names:?} are {present:?}, not {wanted:?}");
        // Questions about a process have a pace.
        clock::sleep(Duration::from_secs(1)).await;
    }
}

/// K14.
#[tokio::test]
async fn the_page_tells_what_has_become_of_the_messages() {
    let service = Service::new("tower").no_env().registry(registry::Memory::new());
    let running = service.mount(Bell::default()).start().await.unwrap();
    let client: Client = running.client();
    for count in [1, 2, 3, 4] {
        client.publish(&RUNG, &count).await.unwrap();
    }
    show(&running, ["micro_broker_acked_total", "micro_broker_lag"], [3.0, 0.0]).await;
    let published = ["micro_broker_published_total", "micro_broker_unrouted_total"];
    // The dead letter is a message too, and nobody reads those here.
    assert_eq!(shown(&running, published).await, [5.0, 1.0]);
    let copies = [
        "micro_broker_routed_total",
        "micro_broker_delivered_total",
        "micro_broker_retried_total",
        "micro_broker_dead_total",
        "micro_broker_dropped_total",
        "micro_broker_returned_total",
    ];
    assert_eq!(shown(&running, copies).await, [4.0, 5.0, 1.0, 1.0, 0.0, 0.0]);
    running.stop().await;
}

#[tokio::test]
async fn the_page_tells_of_settings_that_were_taken_and_refused() {
    const NAMES: [&str; 2] = ["micro_config_reloads_total", "micro_config_reload_failures_total"];
    let settings = config::Memory::new("test", serde_json::json!({"rings": 1}));
    let service = Service::new("tower").no_env().registry(registry::Memory::new());
    let service = service.config(settings.clone()).require_config::<u16>("rings");
    let running = service.mount(Bell::default()).start().await.unwrap();
    assert_eq!(shown(&running, NAMES).await, [0.0, 0.0]);
    settings.set(serde_json::json!({"rings": "many"}));
    show(&running, NAMES, [0.0, 1.0]).await;
    settings.set(serde_json::json!({"rings": 2}));
    show(&running, NAMES, [1.0, 1.0]).await;
    running.stop().await;
}
