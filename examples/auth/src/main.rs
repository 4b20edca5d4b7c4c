//! Two accounts, one of which is refused.
//!
//! `cargo run -p auth` prints who got in and ends by itself.
#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use micro::auth::{NewAccount, Resource, Rule};
use micro::client::Bearer;
use micro::prelude::*;
use std::sync::Arc;

#[derive(Debug)]
struct Orders;

/// Keeps orders.
#[service]
impl Orders {
    /// Reads an order.
    #[handler(scope = "orders:read")]
    async fn read(&self, ctx: &Context, id: u64) -> Result<String> {
        Ok(format!("order {id}, for {}", ctx.account()?.id()))
    }

    /// Says when the shop is open: everybody may know.
    #[handler(public)]
    async fn hours(&self) -> Result<String> {
        Ok("9 to 5".to_owned())
    }
}

/// Makes a client that calls as a new account.
async fn caller(running: &Running, account: NewAccount) -> Result<OrdersClient> {
    let auth = running.auth();
    let made = auth.generate(&account).await?;
    let session = micro::auth::Session::new(auth, made.proof());
    let client = Client::builder()
        .address(running.address().clone())
        .layer(&Bearer::new(Arc::new(session)))
        .build();
    Ok(client.into())
}

fn say(who: &str, outcome: Result<String>) {
    match outcome {
        Ok(text) => println!("{who}: {text}"),
        Err(error) => println!("{who}: {} {}", error.code(), error.detail()),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let service = Service::new("orders").registry(micro::registry::Memory::new());
    let service = service.env([("MICRO_AUTH", "jwt")]);
    let running = service.mount(Orders).start().await?;

    let ada = caller(&running, NewAccount::new("ada").with_scope("orders:read")).await?;
    let eve = caller(&running, NewAccount::new("eve")).await?;
    let nobody: OrdersClient = Client::builder().address(running.address().clone()).build().into();

    say("ada reads", ada.read(7).await);
    say("eve reads", eve.read(7).await);
    say("nobody reads", nobody.read(7).await);
    say("nobody asks for the hours", nobody.hours().await);

    let auth = running.auth();
    auth.grant(Rule::deny("stocktaking", "*", Resource::service("orders", "Orders.Read"))).await?;
    say("ada reads during the stocktaking", ada.read(7).await);
    auth.revoke("stocktaking").await?;
    auth.revoke_account("ada").await?;
    say("ada reads, revoked", ada.read(7).await);

    running.stop().await;
    Ok(())
}
