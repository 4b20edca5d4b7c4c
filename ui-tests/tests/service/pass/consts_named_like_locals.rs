//! Constants, statics and variants in scope are no patterns of generated code.

#![deny(warnings)]
#![allow(dead_code, non_camel_case_types, non_upper_case_globals, unused_imports)]

use micro::prelude::*;

const ctx: u8 = 1;
const svc: u8 = 1;
const out: u8 = 1;
const event: u8 = 1;
const raw: u8 = 1;
const scope: u8 = 1;
const client: u8 = 1;
const format: u8 = 1;
const formatter: u8 = 1;
static req: u8 = 1;
const __m: u8 = 1;

enum Name {
    value,
    body,
}

use Name::*;

#[derive(serde::Serialize, serde::Deserialize)]
struct T;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn hello(&self, context: &Context, message: T) -> Result<T> {
        let _ = context;
        Ok(message)
    }

    #[subscriber(topic = "made")]
    async fn on_made(&self, message: T) -> Result<()> {
        drop(message);
        Ok(())
    }
}

#[service]
trait Orders: Send + Sync + 'static {
    #[handler]
    async fn get(&self, message: T) -> Result<T>;
}

#[service]
struct Wired {
    #[wire(default)]
    scope: u8,
    #[wire(default)]
    client: u8,
}

#[subscriber(topic = "made")]
async fn on_made(message: T) -> Result<()> {
    drop(message);
    Ok(())
}

fn main() {
    let wired = Wired { scope: 1, client: 1 };
    let _ = (wired.scope, wired.client, Greeter, on_made, T);
}
