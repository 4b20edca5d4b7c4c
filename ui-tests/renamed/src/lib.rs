//! The macros where the manifest knows the runtime by another name.

use rpc::Context;
use rpc::Result;
use rpc::Streaming;

/// A greeting, asked for.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Hello {
    /// Who is greeted.
    pub name: String,
}

/// Greets.
#[derive(Debug, Default)]
pub struct Greeter;

/// Greets people.
#[rpc::service(crate = rpc)]
impl Greeter {
    /// Says hello.
    ///
    /// # Errors
    /// None.
    #[rpc::handler]
    pub async fn hello(&self, ctx: &Context, req: Hello) -> Result<String> {
        let _ = ctx;
        Ok(format!("Hello {}", req.name))
    }

    /// Counts.
    ///
    /// # Errors
    /// None.
    #[rpc::handler(idempotent)]
    pub async fn count(&self, to: u8) -> Result<Streaming<u8>> {
        Ok(Streaming::from_iter(0..to))
    }

    #[rpc::subscriber(topic = "made")]
    async fn on_made(&self, hello: Hello) -> Result<()> {
        drop(hello);
        Ok(())
    }
}

/// What a clock does.
#[rpc::service(crate = rpc)]
pub trait Clock: Send + Sync + 'static {
    /// Tells the time.
    #[rpc::handler]
    async fn now(&self) -> Result<u64>;
}

/// Asks others.
#[rpc::service(crate = rpc)]
#[derive(Debug)]
pub struct Asking {
    /// Whom it asks.
    pub greeter: GreeterClient,
    /// What time it is.
    pub clock: ClockClient,
    /// How often it asked.
    #[wire(default)]
    pub asked: u8,
}

/// Hears of what was made.
///
/// # Errors
/// None.
#[rpc::subscriber(topic = "made", crate = rpc)]
pub async fn heard(hello: Hello) -> Result<()> {
    drop(hello);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Clock for Fixed {
        async fn now(&self) -> Result<u64> {
            Ok(7)
        }
    }

    #[test]
    fn services_contracts_and_wiring_expand() {
        assert_eq!(<Greeter as rpc::Serve>::ENDPOINTS.len(), 2);
        assert_eq!(<ClockServer<Fixed> as rpc::Serve>::ENDPOINTS.len(), 1);
        let from: fn(rpc::Client) -> GreeterClient = From::from;
        let _ = (from, ClockServer(Fixed), |asking: Asking| asking.asked);
        let _ = heard;
    }
}
