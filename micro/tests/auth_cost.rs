//! What it costs a call to prove who calls. Run by hand, in a release build:
//! `cargo test --release -p micro --features tls --test auth_cost -- --ignored --nocapture`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement talks to its reader")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use micro::auth::authority::{Invitation, JoinToken, Request};
use micro::auth::{NewAccount, Resource, Rule};
use micro::prelude::*;
use micro::registry;
use micro::transport::tls::{Identity, Tls};

const ROUNDS: usize = 21;
const CALLS: u32 = 2_000;

#[derive(Debug)]
struct Echo;

#[service]
impl Echo {
    #[handler]
    async fn back(&self, text: String) -> Result<String> {
        Ok(text)
    }
}

async fn process(settings: &[(&str, &str)]) -> Running {
    let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let service = Service::new("echo").no_env().env(settings);
    service.registry(registry::Memory::new()).mount(Echo).start().await.unwrap()
}

fn caller(running: &Running) -> micro::client::Builder {
    Client::builder().address(running.address().clone())
}

async fn member(running: &Running) -> Arc<Identity> {
    let authority = running.authority().unwrap();
    let token = authority.join_token(&Invitation::new("caller")).await.unwrap();
    let token = JoinToken::parse(token.expose()).unwrap();
    let request = Request::new().unwrap();
    let signed = authority.join(&token.secret, &request.text()).await.unwrap();
    let (certificate, root) = signed.certificates().unwrap();
    let identity = Identity::new(signed.name().unwrap(), &root, 4).unwrap();
    identity.install(&certificate, &request.key).unwrap();
    Arc::new(identity)
}

async fn round(client: &EchoClient) -> Duration {
    let began = Instant::now();
    for _ in 0..CALLS {
        client.back("hello".to_owned()).await.unwrap();
    }
    began.elapsed() / CALLS
}

#[tokio::test]
#[ignore = "a measurement, for a quiet machine and a release build"]
async fn what_auth_costs_a_call() {
    let plain = process(&[]).await;
    let tokens = process(&[("MICRO_AUTH", "jwt")]).await;
    let ruled = process(&[("MICRO_AUTH", "jwt")]).await;
    let mutual = process(&[("MICRO_AUTH_IDENTITY", "authority")]).await;
    let mut bearers = Vec::new();
    for running in [&tokens, &ruled] {
        let auth = running.auth();
        let made = auth.generate(&NewAccount::new("ada").with_scope("x")).await.unwrap();
        bearers.push(auth.token(&made.proof()).await.unwrap().access);
    }
    for n in 0..20 {
        let resource = Resource::service(format!("other{n}"), "*");
        ruled.auth().grant(Rule::grant(format!("r{n}"), "x", resource)).await.unwrap();
    }
    let echo = Resource::service("echo", "Echo.*");
    ruled.auth().grant(Rule::grant("echo", "x", echo)).await.unwrap();
    let tls = Tls::new(member(&mutual).await);
    let [token, ruled_token] = [bearers.remove(0), bearers.remove(0)];
    let clients: [(&str, EchoClient); 4] = [
        ("plain", caller(&plain).build().into()),
        ("token", caller(&tokens).bearer(token).unwrap().build().into()),
        ("token, 21 rules", caller(&ruled).bearer(ruled_token).unwrap().build().into()),
        ("mutual TLS", caller(&mutual).transport(Arc::new(tls)).build().into()),
    ];
    let mut times: [Vec<Duration>; 4] = Default::default();
    for n in 0..=ROUNDS {
        for ((_, client), times) in clients.iter().zip(&mut times) {
            let time = round(client).await;
            // The first round warms up.
            if n > 0 {
                times.push(time);
            }
        }
    }
    let mut base = Vec::new();
    for ((name, _), times) in clients.iter().zip(&mut times) {
        if base.is_empty() {
            base.clone_from(times);
        }
        let mut ratios: Vec<f64> =
            times.iter().zip(&base).map(|(t, b)| t.as_secs_f64() / b.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        times.sort();
        println!("{name}: {:?} a call, ratio {:.3}", times[ROUNDS / 2], ratios[ROUNDS / 2]);
    }
    for running in [plain, tokens, ruled, mutual] {
        running.stop().await;
    }
}
