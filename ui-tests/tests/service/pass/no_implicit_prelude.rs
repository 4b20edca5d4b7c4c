//! Generated code takes nothing from the prelude.

#![deny(warnings)]
#![no_implicit_prelude]

struct Greeter;

#[::micro::service]
impl Greeter {
    #[::micro::handler(scope = "a", timeout = "1s")]
    async fn hello(&self, ctx: &::micro::Context, name: u64) -> ::micro::Result<u64> {
        let _ = ctx;
        ::core::result::Result::Ok(name)
    }

    #[::micro::handler]
    async fn import(
        &self,
        rows: ::micro::Streaming<u8>,
    ) -> ::micro::Result<::micro::Streaming<u8>> {
        ::core::result::Result::Ok(rows)
    }

    #[::micro::subscriber(topic = "made", queue = "q")]
    async fn on_made(&self, made: u64) -> ::micro::Result<()> {
        let _ = made;
        ::core::result::Result::Ok(())
    }
}

#[::micro::service]
trait Orders: ::core::marker::Send + ::core::marker::Sync + 'static {
    #[::micro::handler]
    async fn get(&self, id: u64) -> ::micro::Result<u64>;

    #[::micro::handler]
    async fn watch(&self) -> ::micro::Result<::micro::Streaming<u64>>;
}

#[::micro::service]
struct Wired {
    #[wire(default)]
    count: u8,
    #[wire(config = "level")]
    level: u8,
    client: GreeterClient,
}

#[::micro::subscriber(topic = "made")]
async fn on_made(made: u8) -> ::micro::Result<()> {
    let _ = made;
    ::core::result::Result::Ok(())
}

fn main() {
    let _ = |wired: Wired| (wired.count, wired.level, wired.client);
    let _ = |client: &OrdersClient| client.get(1);
    let _ = (Greeter, on_made);
}
