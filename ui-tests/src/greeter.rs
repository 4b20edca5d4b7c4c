//! A service with every kind of handler.

use micro::Context;
use micro::Result;
use micro::Streaming;
use micro::handler;
use micro::service;
use std::sync::Arc;

/// Greets people.
#[derive(Debug, Default)]
pub struct Greeter {
    greeting: String,
}

/// Greets people, near and far.
#[service(version = "1.0.0", metadata(team = "core"))]
impl Greeter {
    /// Says hello.
    ///
    /// @example "Ada"
    ///
    /// # Errors
    ///
    /// None.
    #[handler(public, timeout = "2s", idempotent)]
    pub async fn hello(&self, ctx: &Context, mut name: String) -> Result<String> {
        name.push_str(&self.greeting);
        name.push_str(if ctx.deadline().is_some() { "!" } else { "." });
        Ok(name)
    }

    /// Says hello again and again.
    ///
    /// # Errors
    ///
    /// None.
    #[handler]
    pub async fn repeat(self: Arc<Self>, name: String) -> Result<Streaming<String>> {
        let greeting = format!("{}{name}", self.greeting);
        Ok(Streaming::from_iter([greeting.clone(), greeting]))
    }

    #[handler(detached)]
    async fn collect(&self, _ctx: Context, names: Streaming<String>) -> Result<()> {
        drop(names);
        Ok(())
    }

    #[handler]
    async fn echo(&self, names: Streaming<String>) -> Result<Streaming<String>> {
        Ok(names)
    }

    /// Was of use once.
    ///
    /// # Errors
    ///
    /// None.
    #[deprecated = "use hello"]
    #[handler]
    pub async fn old(&self) -> Result<()> {
        Ok(())
    }
}
