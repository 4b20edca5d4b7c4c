//! The life of a process: its settings, its wiring, its registration, its end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use micro::config::Memory as Settings;
use micro::core::limits::Limits;
use micro::prelude::*;
use micro::registry::{self, Registry};
use micro::transport;
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Slow {
    entered: Arc<Notify>,
    finish: Arc<Notify>,
}

/// Answers when it is told to.
#[service(name = "slow", version = "1.2.3")]
impl Slow {
    /// Waits.
    ///
    /// @example null
    #[handler]
    async fn wait(&self) -> Result<String> {
        self.entered.notify_one();
        self.finish.notified().await;
        Ok("done".to_owned())
    }
}

#[derive(Debug)]
struct Quick;

#[service]
impl Quick {
    #[handler]
    async fn add(&self, numbers: (u32, u32)) -> Result<u32> {
        Ok(numbers.0 + numbers.1)
    }
}

const LETTERS: Topic<String> = Topic::new("letters");

#[derive(Debug)]
struct Postbox(tokio::sync::mpsc::Sender<String>);

#[service]
impl Postbox {
    /// Hands on what arrives.
    #[subscriber(topic = LETTERS)]
    async fn on_letter(&self, letter: String) -> Result<()> {
        self.0.send(letter).await.or_error("postbox")
    }
}

fn hermetic() -> Service {
    Service::new("test")
        .no_env()
        .registry(registry::Memory::new())
        .transport(transport::Memory::default())
}

fn slow() -> (Slow, Arc<Notify>, Arc<Notify>) {
    let slow = Slow::default();
    let (entered, finish) = (Arc::clone(&slow.entered), Arc::clone(&slow.finish));
    (slow, entered, finish)
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_calls_in_flight() {
    let (slow, entered, finish) = slow();
    let running = hermetic().mount(slow).start().await.unwrap();
    let client: SlowClient = running.client();
    let (reply, report) = tokio::join!(client.wait(), async {
        entered.notified().await;
        let stopping = running.stop();
        let finishing = async {
            tokio::time::sleep(Duration::from_secs(8)).await;
            finish.notify_one();
        };
        tokio::join!(stopping, finishing).0
    });
    assert_eq!(reply.unwrap(), "done");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.left, 0);
    assert_eq!(running.stop().await, report);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_end_in_time_is_cut_and_counted() {
    let (slow, entered, _finish) = slow();
    let running = hermetic().mount(slow).start().await.unwrap();
    let client: SlowClient = running.client();
    let call = client.wait().timeout(Duration::from_secs(120));
    let (reply, report) = tokio::join!(call, async {
        entered.notified().await;
        running.stop().await
    });
    assert!(reply.is_err());
    assert_eq!(report.cut, 1, "{report}");
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_node_is_marked_as_draining_and_then_gone() {
    let registry: Arc<dyn Registry> = Arc::new(registry::Memory::new());
    let service = hermetic().shared_registry(Arc::clone(&registry)).metadata("zone", "a");
    let running = service.mount(Slow::default()).mount(Quick).start().await.unwrap();
    assert!(running.is_ready());

    let record = registry.lookup("slow").await.unwrap().unwrap().remove(0);
    assert_eq!(record.version, "1.2.3");
    let node = record.nodes.first().unwrap();
    assert_eq!(node.address, running.address().to_string());
    for (key, value) in [("protocol", "mucp"), ("zone", "a"), ("transport", "memory")] {
        assert_eq!(node.metadata.get(key).map(String::as_str), Some(value), "{key}");
    }
    let endpoint = record.endpoints.first().unwrap();
    assert_eq!(endpoint.metadata.get("example").map(String::as_str), Some("null"));
    assert_eq!(registry.list().await.unwrap(), ["quick", "slow"]);

    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut watch = registry.watch(Some("slow")).await.unwrap();
    let watching = async {
        while let Some(event) = watch.next().await {
            let gone = matches!(event, registry::Event::Remove { .. });
            if let registry::Event::Update(record) = &event {
                let state = record.nodes.first().and_then(|node| node.metadata.get("state"));
                seen.lock().unwrap().push(state.cloned());
            }
            if gone {
                break;
            }
        }
    };
    let (report, ()) = tokio::join!(running.stop(), watching);
    assert!(report.is_clean());
    assert!(seen.lock().unwrap().contains(&Some("draining".to_owned())));
    assert!(!running.is_ready());
    assert_eq!(registry.lookup("slow").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn hooks_run_in_order_and_see_the_process() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let seen = Arc::clone(&seen);
        move || seen.lock().unwrap().push(what)
    };
    let (before, after) = (note("before start"), note("after start"));
    let (stopping, stopped) = (note("before stop"), note("after stop"));
    let service = hermetic()
        .mount(Quick)
        .before_start(async move |_| {
            before();
            Ok(())
        })
        .after_start(async move |running: Running| {
            let quick: QuickClient = running.client();
            assert_eq!(quick.add((1, 2)).await?, 3);
            after();
            Ok(())
        })
        .before_stop(async move |running: Running| {
            let quick: QuickClient = running.client();
            assert_eq!(quick.add((3, 4)).await?, 7);
            stopping();
            Ok(())
        })
        .after_stop(async move || {
            stopped();
            Ok(())
        });
    let running = service.start().await.unwrap();
    running.stop().await;
    let expected = ["before start", "after start", "before stop", "after stop"];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_ends_the_start_and_leaves_nothing() {
    let registry: Arc<dyn Registry> = Arc::new(registry::Memory::new());
    let failing = async |_| Err(Error::conflict("test", "not today"));
    let service = hermetic().shared_registry(Arc::clone(&registry)).mount(Quick);
    let error = service.after_start(failing).start().await.unwrap_err();
    assert_eq!(error.detail(), "not today");
    assert_eq!(registry.lookup("quick").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn two_services_of_one_name_and_endpoint_do_not_start() {
    let error = hermetic().mount(Quick).mount(Quick).start().await.unwrap_err();
    assert_eq!(error.code(), 409);
    assert!(error.detail().contains("quick.Quick.Add"), "{error}");
}

#[derive(Debug, Deserialize)]
struct Mail {
    from: String,
}

#[service]
struct Mailer {
    quick: QuickClient,
    #[wire(config = "mail")]
    mail: Mail,
    #[wire(default)]
    sent: AtomicUsize,
}

const PAID: Topic<u32> = Topic::new("orders.paid");

#[service]
impl Mailer {
    #[handler]
    async fn receipt(&self, id: u32) -> Result<String> {
        let number = self.quick.add((id, 1)).await?;
        Ok(format!("{} {number}", self.mail.from))
    }

    #[handler]
    async fn sent(&self) -> Result<usize> {
        Ok(self.sent.load(Ordering::Relaxed))
    }

    #[subscriber(topic = PAID, queue = "mailer")]
    async fn on_paid(&self, order: u32) -> Result<()> {
        self.sent.fetch_add(usize::try_from(order).unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }
}

fn mail() -> Settings {
    Settings::new("test.json", serde_json::json!({"mail": {"from": "shop"}}))
}

#[tokio::test(start_paused = true)]
async fn a_wired_struct_has_its_clients_and_settings() {
    let service = hermetic().config(mail()).mount(Quick).wire::<Mailer>();
    let running = service.start().await.unwrap();
    let mailer: MailerClient = running.client();
    assert_eq!(mailer.receipt(7).await.unwrap(), "shop 8");
    running.stop().await;
}

#[service]
struct Bookkeeper {
    quick: QuickClient,
    mailer: Arc<Mailer>,
    broker: Broker,
    config: Config,
}

#[service]
impl Bookkeeper {
    #[handler]
    async fn total(&self) -> Result<usize> {
        let from: String = self.config.get("mail.from")?;
        self.broker.publish(&PAID, &5).await?;
        let sum = self.quick.add((1, 2)).await?;
        Ok(self.mailer.sent.load(Ordering::Relaxed)
            + from.len()
            + usize::try_from(sum).unwrap_or(0))
    }
}

#[tokio::test(start_paused = true)]
async fn wired_structs_share_what_they_take_by_arc() {
    let service = hermetic().config(mail()).mount(Quick).wire::<Bookkeeper>().wire::<Mailer>();
    let running = service.start().await.unwrap();
    let keeper: BookkeeperClient = running.client();
    // Progress: the event arrives after a bounded time, at the one mailer that both have.
    while keeper.total().await.unwrap() < 12 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_setting_names_the_field_and_the_key() {
    let error = hermetic().mount(Quick).wire::<Mailer>().start().await.unwrap_err();
    for part in ["`Mailer.mail`", "`mail`", "MICRO_CONFIG_MAIL"] {
        assert!(error.detail().contains(part), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn flags_override_variables_and_code() {
    let service = hermetic()
        .mount(Quick)
        .version("1.0.0")
        .env([("MICRO_SERVER_VERSION", "2.0.0"), ("MICRO_SERVER_NAME", "env")])
        .flag("once", "end at once")
        .args(["--server-version=3.0.0", "--once", "--set", "mail.from=x"]);
    let running = service.start().await.unwrap();
    assert_eq!(running.name(), "env");
    assert!(running.config().get::<bool>("once").unwrap());
    assert_eq!(running.config().get::<String>("mail.from").unwrap(), "x");
    let origin = running.config().origin("micro.server_version");
    assert_eq!(origin.as_deref(), Some("--server-version"));
    running.stop().await;
}

#[tokio::test]
async fn wrong_settings_do_not_start() {
    for (name, value, part) in [
        ("MICRO_REGISTRY", "loacl", "did you mean `local`?"),
        ("MICRO_TRANSPORT", "pigeon", "no transport `pigeon`"),
        ("MICRO_BROKER", "carrier://h:1", "no broker `carrier`"),
        ("MICRO_REGISTER_TTL", "60", "unit"),
        ("MICRO_SERVER_ADDRESS", "nowhere", "`nowhere` is not an address"),
        ("MICRO_SERVER_ADVERTISE", "shop.internal", "`micro.server_advertise`: `shop.internal`"),
    ] {
        let service =
            Service::new("test").mount(Quick).env([("MICRO_REGISTRY", "memory"), (name, value)]);
        let error = service.start().await.unwrap_err();
        assert!(error.detail().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_start_that_is_given_up_frees_its_port() {
    let registry: Arc<dyn Registry> = Arc::new(registry::Memory::new());
    let service = Service::new("test").no_env().shared_registry(Arc::clone(&registry));
    let address = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&address);
    let service = service.mount(Quick).after_start(async move |running: Running| {
        *seen.lock().unwrap() = Some(running.address().clone());
        Err(Error::conflict("test", "stop"))
    });
    service.start().await.unwrap_err();
    let address = address.lock().unwrap().clone().unwrap();
    let again = Service::new("test").no_env().shared_registry(registry).address(&address);
    let running = again.mount(Quick).start().await.unwrap();
    assert_eq!(running.address(), &address);
    running.stop().await;
}

#[tokio::test]
async fn a_start_that_is_dropped_in_its_last_hook_leaves_nothing() {
    let registry: Arc<dyn Registry> = Arc::new(registry::Memory::new());
    let service = Service::new("test").no_env().shared_registry(Arc::clone(&registry));
    let (reached, mut address) = tokio::sync::mpsc::channel(1);
    let service = service.mount(Quick).after_start(async move |running: Running| {
        reached.send(running.address().clone()).await.unwrap();
        std::future::pending().await
    });
    let mut starting = Box::pin(service.start());
    let address = tokio::select! {
        _ = &mut starting => panic!("the hook does not end"),
        address = address.recv() => address.unwrap(),
    };
    assert!(registry.lookup("quick").await.unwrap().is_some());
    drop(starting);
    // Progress: the stop of what was begun takes a bounded time.
    while registry.lookup("quick").await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while tokio::net::TcpStream::connect(address.to_string()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_registry_that_somebody_else_writes_serves_a_process() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("nodes.json");
    std::fs::write(&path, "[]").unwrap();
    let url = format!("file://{}", path.display());
    let service = Service::new("test").mount(Quick).env([("MICRO_REGISTRY", &url)]);
    let running = service.start().await.unwrap();
    assert!(running.is_ready());
    let record = serde_json::json!([{
        "name": "quick",
        "version": "1.0.0",
        "nodes": [{"id": "a", "address": running.address().to_string()}],
    }]);
    std::fs::write(&path, record.to_string()).unwrap();
    let quick: QuickClient = running.client();
    assert_eq!(quick.add((20, 22)).await.unwrap(), 42);
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn two_processes_share_a_registry_and_balance() {
    let registry: Arc<dyn Registry> = Arc::new(registry::Memory::new());
    let one = Service::new("one").no_env().shared_registry(Arc::clone(&registry)).mount(Quick);
    let two = Service::new("two").no_env().shared_registry(registry).mount(Slow::default());
    let (one, two) = (one.start().await.unwrap(), two.start().await.unwrap());
    let quick: QuickClient = two.client();
    assert_eq!(quick.add((20, 22)).await.unwrap(), 42);
    tokio::join!(one.stop(), two.stop());
}

#[tokio::test(start_paused = true)]
async fn limits_of_the_program_hold_unless_settings_change_them() {
    let mut limits = Limits::default();
    limits.retry.retries_max = 7;
    let service = hermetic().mount(Quick).limits(limits).env([("MICRO_CLIENT_RETRIES", "x")]);
    let error = service.start().await.unwrap_err();
    assert!(error.detail().contains("MICRO_CLIENT_RETRIES"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_client_publishes_where_it_has_a_broker() {
    let (arrives, mut letters) = tokio::sync::mpsc::channel(1);
    let running = hermetic().mount(Postbox(arrives)).start().await.unwrap();
    let (client, letter): (Client, _) = (running.client(), "dear Ada".to_owned());
    client.publish(&LETTERS, &letter).await.unwrap();
    assert_eq!(letters.recv().await, Some(letter.clone()));
    running.stop().await;

    let alone = Client::builder().build();
    assert!(alone.publisher().is_none());
    let error = alone.publish(&LETTERS, &letter).await.unwrap_err();
    assert_eq!(error.code(), 412, "{error}");
    assert!(error.detail().contains("no broker"), "{error}");
}

#[tokio::test]
async fn the_programs_own_routes_share_the_port() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let pages = axum::Router::new().route("/page", axum::routing::get(async || "a page"));
    let service = Service::new("test").no_env().registry(registry::Memory::new());
    let running = service.mount(Quick).router(pages).start().await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(running.address().to_string()).await.unwrap();
    let request =
        format!("GET /page HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", running.address());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("a page"), "{answer}");
    running.stop().await;
}
