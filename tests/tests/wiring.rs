//! Structs that `#[service]` wires: what they share, what they keep, and what cannot be made.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use micro::config::Memory as Settings;
use micro::prelude::*;
use micro::testkit;
use micro::{FromService, Wiring};
use serde_json::json;

/// Counts how often it is made; each clone knows the number of its original.
#[derive(Clone, Debug)]
struct Pool(usize);

static POOLS: AtomicUsize = AtomicUsize::new(0);

impl FromService for Pool {
    fn from_service(_: &Wiring) -> micro::core::future::BoxFuture<'_, Result<Self>> {
        Box::pin(async { Ok(Self(POOLS.fetch_add(1, Ordering::Relaxed))) })
    }
}

#[service]
struct Ledger {
    pool: Pool,
}

/// A value that a wired struct clones.
#[service]
#[derive(Clone)]
struct Prices {
    pool: Pool,
    ledger: Arc<Ledger>,
}

#[service]
struct Shop {
    pool: Pool,
    prices: Prices,
    ledger: Arc<Ledger>,
    client: Client,
}

#[service(name = "shop")]
impl Shop {
    /// Says whether everything is the one of the process.
    #[handler]
    async fn one_of_each(&self) -> Result<bool> {
        let pools = [self.pool.0, self.prices.pool.0, self.ledger.pool.0];
        let ledgers = Arc::ptr_eq(&self.ledger, &self.prices.ledger);
        Ok(pools == [0; 3] && ledgers && format!("{:?}", self.client).contains("Client"))
    }
}

#[service]
struct Hen {
    egg: Arc<Egg>,
}

#[service]
struct Egg {
    hen: Arc<Hen>,
}

#[service(name = "hen")]
impl Hen {
    /// Never runs: the process does not start.
    #[handler]
    async fn lay(&self) -> Result<()> {
        let _ = &self.egg.hen;
        Ok(())
    }
}

fn process() -> Service {
    Service::new("wiring").registry(micro::registry::Memory::new()).no_env().no_args()
}

#[tokio::test]
async fn a_type_that_can_be_cloned_is_one_value_for_the_process() {
    let env = testkit::Service::new().wire::<Shop>().start().await.unwrap();
    let shop: ShopClient = env.client();
    assert!(shop.one_of_each().await.unwrap());
    env.stop().await;
}

#[tokio::test]
async fn a_cycle_ends_the_start_with_its_chain() {
    let error = process().wire::<Hen>().start().await.unwrap_err();
    assert!(error.detail().contains("Hen -> Egg -> Hen"), "{error}");
    for field in ["`Hen.egg`", "`Egg.hen`"] {
        assert!(error.detail().contains(field), "{error}");
    }
}

#[derive(Debug, Default)]
struct Quick;

#[service(name = "quick")]
impl Quick {
    /// Doubles a number.
    #[handler]
    async fn double(&self, number: u32) -> Result<u32> {
        Ok(number.saturating_mul(2))
    }
}

#[derive(Debug, Deserialize)]
struct Mail {
    from: String,
}

#[derive(Debug, Deserialize)]
struct Smtp {
    host: String,
    port: u16,
}

#[service]
struct Inner {
    #[wire(config = "smtp")]
    smtp: Smtp,
}

/// Asks for everything that there is.
#[service]
struct Whole {
    quick: QuickClient,
    store: Store,
    #[wire(config = "mail")]
    mail: Mail,
    inner: Arc<Inner>,
}

#[service(name = "whole")]
impl Whole {
    /// Uses each field.
    #[handler]
    async fn facts(&self) -> Result<(u32, String)> {
        self.store.put("doubled", &self.quick.double(21).await?).await?;
        let doubled = self.store.get("doubled").await?.unwrap_or_default();
        let Smtp { host, port } = &self.inner.smtp;
        Ok((doubled, format!("{} by {host}:{port}", self.mail.from)))
    }
}

fn whole(smtp: &serde_json::Value) -> Service {
    let settings = json!({"mail": {"from": "a@b"}, "smtp": smtp});
    process().config(Settings::new("app.json", settings)).mount(Quick).wire::<Whole>()
}

#[tokio::test]
async fn a_struct_has_all_it_can_ask_for() {
    let running = whole(&json!({"host": "h", "port": 25})).start().await.unwrap();
    let whole: WholeClient = running.client();
    assert_eq!(whole.facts().await.unwrap(), (42, "a@b by h:25".to_owned()));
    running.stop().await;
}

#[tokio::test]
async fn a_missing_key_and_a_wrong_type_name_the_chain() {
    for (smtp, parts) in [
        (json!({"host": "h", "port": "many"}), ["`smtp.port`", "app.json", "u16"]),
        (json!({"host": "h"}), ["`smtp.port`", "is missing", "`Smtp`"]),
        (json!(25), ["`smtp`", "app.json", "struct Smtp"]),
    ] {
        let error = whole(&smtp).start().await.unwrap_err();
        assert_eq!(error.code(), 412);
        for part in ["`Whole.inner`: `Inner.smtp`: "].iter().chain(&parts) {
            assert!(error.detail().contains(part), "no {part} in {error}");
        }
    }
    let error = process().mount(Quick).wire::<Whole>().start().await.unwrap_err();
    for part in ["`Whole.mail`", "`mail` is not set", "MICRO_CONFIG_MAIL", "`Mail`"] {
        assert!(error.detail().contains(part), "no {part} in {error}");
    }
}
