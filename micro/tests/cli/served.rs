//! What the processes of these tests serve.

use micro::prelude::*;

/// Names what a process of these tests serves.
pub(crate) const VARIABLE: &str = "CLI_TEST_SERVES";

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    message: String,
    left: u64,
}

#[service]
struct Shop {
    stock: StockClient,
}

/// Sells things.
#[service(name = "shop", version = "1.2.3")]
impl Shop {
    /// Sells from the stock.
    ///
    /// @example {"item": "tea", "count": 2}
    #[handler]
    async fn buy(&self, ctx: &Context, order: Order) -> Result<Receipt> {
        let left = self.stock.take(order.count).await?;
        tracing::info!(item = order.item, "sold");
        let tenant = ctx.metadata().get("tenant").unwrap_or("nobody");
        Ok(Receipt { message: format!("{} {} for {tenant}", order.count, order.item), left })
    }

    /// Breaks down.
    #[handler]
    async fn break_down(&self) -> Result<()> {
        panic!("on purpose");
    }

    #[subscriber(topic = "orders.paid", queue = "shop")]
    async fn on_paid(&self, order: u64) -> Result<()> {
        tracing::info!(order, "paid");
        Ok(())
    }
}

#[derive(Debug)]
struct Stock;

/// Keeps things.
#[service(name = "stock")]
impl Stock {
    /// Takes from the shelf.
    #[handler]
    async fn take(&self, count: u32) -> Result<u64> {
        tracing::warn!(count, "taken");
        10_u64.checked_sub(count.into()).ok_or_else(|| Error::conflict("stock", "sold out"))
    }
}

#[derive(Debug)]
struct Numbers;

#[service(name = "numbers")]
impl Numbers {
    #[handler]
    async fn count(&self, to: u64) -> Result<Streaming<u64>> {
        Ok(Streaming::from_iter(1..=to))
    }

    #[handler]
    async fn sum(&self, mut numbers: Streaming<u64>) -> Result<u64> {
        let mut sum = 0;
        while let Some(number) = numbers.next().await {
            sum += number?;
        }
        Ok(sum)
    }

    #[handler]
    async fn square(&self, numbers: Streaming<u64>) -> Result<Streaming<u64>> {
        Ok(numbers.map(|number| number * number))
    }
}

/// Serves what the variable names until the process is killed.
pub(crate) fn serve_if_asked() {
    let Ok(name) = std::env::var(VARIABLE) else { return };
    let service = Service::new(name.clone()).args(Vec::<String>::new());
    let service = match name.as_str() {
        "shop" => service.wire::<Shop>().mount(Numbers),
        _ => service.mount(Stock),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(service.run()).unwrap();
}
