//! Generated code means the real `Result`, `Option`, `Box` and macros.

#![deny(warnings)]

use micro::prelude::{Call, Context, Error, Streaming, Topic, handler, service, subscriber};

type Result<T> = std::result::Result<T, Error>;

#[allow(dead_code)]
mod shadows {
    pub enum Option {}
    pub struct Box;
    pub struct String;
    pub struct Vec;
    pub struct Arc;
    pub struct Some;
    pub struct None;
    pub struct Ok;
    pub struct Err;
    pub trait Clone {}
    pub trait From {}
    pub trait Into {}
    pub trait Default {}
    pub trait Send {}
    pub trait Sync {}
    pub trait Future {}
    pub trait Debug {}
}

#[allow(unused_imports)]
use shadows::*;

#[allow(unused_macros)]
macro_rules! env {
    () => {};
}

mod core {}
mod std_ {}
mod serde {}
mod inventory {}
mod __private {}

const MADE: Topic<u64> = Topic::new("made");

struct Greeter;

#[service(scope = "a")]
impl Greeter {
    #[handler(scope = ["a", "b"], timeout = "1s")]
    async fn hello(&self, ctx: &Context, id: u64) -> Result<u64> {
        let _ = ctx;
        Result::Ok(id)
    }

    #[handler]
    async fn both(&self, rows: Streaming<u64>) -> Result<Streaming<u64>> {
        Result::Ok(rows)
    }

    #[subscriber(topic = MADE)]
    async fn on_made(&self, id: u64) -> Result<()> {
        let _ = id;
        Result::Ok(())
    }
}

#[service]
trait Orders: ::core::marker::Send + ::core::marker::Sync + 'static {
    #[handler]
    async fn get(&self, id: u64) -> Result<u64>;
}

#[service]
struct Wired {
    #[wire(default)]
    count: u8,
    #[wire(config = "level")]
    level: u8,
    greeter: GreeterClient,
}

fn call(client: &OrdersClient) -> Call<u64> {
    client.get(1)
}

fn main() {
    let _ = |wired: Wired| (wired.count, wired.level, wired.greeter);
    let _ = (call, Greeter);
}
