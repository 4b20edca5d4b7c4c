//! Structs that `#[service]` wires: what they share, what they keep, and what cannot be made.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use micro::prelude::*;
use micro::testkit;
use micro::{FromService, Wiring};

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
