//! The macros in a crate of the edition of 2018, the first that has `async`.

use micro::Context;
use micro::Result;
use micro::Streaming;

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
#[micro::service]
impl Greeter {
    /// Says hello.
    ///
    /// # Errors
    /// None.
    #[micro::handler]
    pub async fn hello(&self, ctx: &Context, req: Hello) -> Result<String> {
        let _ = ctx;
        Ok(format!("Hello {}", req.name))
    }

    /// Counts.
    ///
    /// # Errors
    /// None.
    #[micro::handler(idempotent)]
    pub async fn count(&self, to: u8) -> Result<Streaming<u8>> {
        Ok(Streaming::from_iter(0..to))
    }

    #[micro::subscriber(topic = "made")]
    async fn on_made(&self, hello: Hello) -> Result<()> {
        drop(hello);
        Ok(())
    }
}

/// What a clock does.
#[micro::service]
pub trait Clock: Send + Sync + 'static {
    /// Tells the time.
    #[micro::handler]
    async fn now(&self) -> Result<u64>;
}

/// Asks others.
#[micro::service]
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
#[micro::subscriber(topic = "made")]
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
        assert_eq!(<Greeter as micro::Serve>::ENDPOINTS.len(), 2);
        assert_eq!(<ClockServer<Fixed> as micro::Serve>::ENDPOINTS.len(), 1);
        let from: fn(micro::Client) -> GreeterClient = From::from;
        let _ = (from, ClockServer(Fixed), |asking: Asking| asking.asked);
        let _ = heard;
    }
}
