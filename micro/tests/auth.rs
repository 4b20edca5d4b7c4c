//! Accounts, tokens and rules of whole processes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use micro::auth::{NewAccount, Proof, Resource, Rule};
use micro::core::secret::Secret;
use micro::prelude::*;
use micro::registry;
use micro::store::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Debug)]
struct Shop;

#[service]
impl Shop {
    /// Anybody on this machine, and every account.
    #[handler]
    async fn list(&self) -> Result<u32> {
        Ok(7)
    }

    /// Only staff, wherever they are.
    #[handler(scope = "staff")]
    async fn restock(&self, ctx: &Context) -> Result<String> {
        Ok(ctx.account()?.id().to_owned())
    }

    /// Everybody.
    #[handler(public)]
    async fn hours(&self) -> Result<String> {
        Ok("9 to 5".to_owned())
    }
}

/// Calls the shop for others.
#[service]
struct Front {
    shop: ShopClient,
    auth: Auth,
}

#[service]
impl Front {
    #[handler]
    async fn restock(&self) -> Result<String> {
        self.shop.restock().await
    }

    #[handler]
    async fn whose(&self, token: String) -> Result<String> {
        Ok(self.auth.inspect(&token)?.account.id().to_owned())
    }
}

fn hermetic(registry: &registry::Memory, store: &Memory) -> Service {
    Service::new("test").no_env().registry(registry.clone()).store(store.clone())
}

fn with_accounts(registry: &registry::Memory, store: &Memory) -> Service {
    hermetic(registry, store).env([("MICRO_AUTH", "jwt")])
}

/// Sends one request with JSON and returns the status and the body.
async fn http(address: &str, path: &str, token: Option<&str>) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let auth = token.map_or_else(String::new, |t| format!("authorization: Bearer {t}\r\n"));
    let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\n{auth}connection: close\r\n");
    let request = format!("{head}content-length: 4\r\n\r\nnull");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_token_is_asked_for_where_a_scope_is_and_makes_the_account_of_the_handler() {
    let (registry, store) = (registry::Memory::new(), Memory::new());
    let running = with_accounts(&registry, &store).mount(Shop).start().await.unwrap();
    let auth = running.auth();
    let ada = auth.generate(&NewAccount::new("ada").with_scope("staff")).await.unwrap();
    let bob = auth.generate(&NewAccount::new("bob")).await.unwrap();
    let tokens = [auth.token(&ada.proof()).await.unwrap(), auth.token(&bob.proof()).await.unwrap()];
    let [ada_token, bob_token] = tokens.each_ref().map(|grant| grant.access.expose().as_str());
    let address = running.address().to_string();
    for (path, token, status) in [
        ("/shop/Shop.Restock", None, 401),
        ("/shop/Shop.Restock", Some("x"), 401),
        ("/shop/Shop.Restock", Some(bob_token), 403),
        ("/shop/Shop.Restock", Some(ada_token), 200),
        ("/shop/Shop.List", None, 200),
        ("/shop/Shop.List", Some("x"), 401),
        ("/shop/Shop.Hours", None, 200),
    ] {
        let (seen, body) = http(&address, path, token).await;
        assert_eq!(seen, status, "{path} {body}");
    }
    assert_eq!(http(&address, "/shop/Shop.Restock", Some(ada_token)).await.1, "\"ada\"");
    // A18: one clock, and it shows.
    let gauges = running.monitor().stats("test").gauges;
    let ahead = gauges.iter().find(|gauge| gauge.name == "auth_clock_ahead_seconds");
    assert_eq!(ahead.map(|gauge| gauge.value), Some(0));

    auth.revoke_account("ada").await.unwrap();
    assert_eq!(http(&address, "/shop/Shop.Restock", Some(ada_token)).await.0, 401);
    assert_eq!(http(&address, "/shop/Shop.List", Some(bob_token)).await.0, 200);

    auth.grant(Rule::deny("shut", "", Resource::service("shop", "Shop.*"))).await.unwrap();
    assert_eq!(http(&address, "/shop/Shop.List", None).await.0, 401);
    assert_eq!(http(&address, "/shop/Shop.List", Some(bob_token)).await.0, 403);
    assert_eq!(http(&address, "/shop/Shop.Hours", None).await.0, 200);
    running.stop().await;
}

#[tokio::test]
async fn a14_a_process_calls_as_its_account_and_passes_no_credentials_on() {
    let (registry, store) = (registry::Memory::new(), Memory::new());
    let shop = with_accounts(&registry, &store).mount(Shop).start().await.unwrap();
    let made = shop.auth().generate(&NewAccount::new("front").with_scope("staff")).await.unwrap();
    let secret = made.secret.expose().clone();
    let variables = [
        ("MICRO_AUTH", "jwt".to_owned()),
        ("MICRO_AUTH_ID", "front".to_owned()),
        ("MICRO_AUTH_SECRET", secret),
    ];
    let front = hermetic(&registry, &store).env(variables).wire::<Front>().start().await.unwrap();
    let plain = with_accounts(&registry, &store).wire::<Front>().start().await.unwrap();
    let token = shop.auth().token(&made.proof()).await.unwrap();
    let token = token.access.expose().as_str();
    // The caller of the front has no say: the front calls as itself.
    let (status, body) = http(&front.address().to_string(), "/front/Front.Restock", None).await;
    assert_eq!((status, body.as_str()), (200, "\"front\""));
    // A token that was shown to this process does not go further.
    let (status, _) = http(&plain.address().to_string(), "/front/Front.Restock", Some(token)).await;
    assert_eq!(status, 401);
    let client: FrontClient = front.client();
    assert_eq!(client.whose(token.to_owned()).await.unwrap(), "front");
    for running in [plain, front, shop] {
        running.stop().await;
    }
}

#[tokio::test]
async fn a_wrong_configuration_does_not_start() {
    let (registry, store) = (registry::Memory::new(), Memory::new());
    for (variables, part) in [
        (vec![("MICRO_AUTH", "jtw")], "did you mean `jwt`?"),
        (vec![("MICRO_AUTH", "allow")], "there are deny, jwt, jwks"),
        (vec![("MICRO_AUTH", "jwt"), ("MICRO_AUTH_ID", "a")], "belong together"),
        (vec![("MICRO_AUTH_ID", "a"), ("MICRO_AUTH_SECRET", "b")], "need a `micro.auth`"),
    ] {
        let service = hermetic(&registry, &store).env(variables).mount(Shop);
        let error = service.start().await.unwrap_err();
        assert!(error.detail().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_secret_that_is_wrong_ends_the_call_and_not_the_process() {
    let (registry, store) = (registry::Memory::new(), Memory::new());
    let proof = Proof::Secret { id: "nobody".to_owned(), secret: Secret::new("x".to_owned()) };
    let service = with_accounts(&registry, &store).call_as(proof).mount(Shop);
    let running = service.start().await.unwrap();
    let client: ShopClient = running.client();
    let error = client.list().timeout(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error.code(), 401);
    running.stop().await;
}
