//! `self: Arc<Self>` lets a handler outlive its call.

#![deny(warnings)]

use micro::prelude::*;
use std::sync::Arc;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(self: Arc<Self>, name: String) -> Result<String> {
        drop(self);
        Ok(name)
    }

    #[handler]
    async fn bye(self: std::sync::Arc<Self>, ctx: &Context) -> Result<()> {
        let _ = ctx;
        drop(self);
        Ok(())
    }

    #[handler]
    async fn plain(self: &Self) -> Result<()> {
        Ok(())
    }

    #[subscriber(topic = "made")]
    async fn on_made(self: Arc<Self>, made: u8) -> Result<()> {
        let _ = made;
        drop(self);
        Ok(())
    }
}

fn main() {
    let _ = Greeter;
}
