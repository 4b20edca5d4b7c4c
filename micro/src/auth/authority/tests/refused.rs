//! The table of all that is refused, by every way there is to call.
//!
//! A way to call more is one more [`Way`]; a credential more one more row of `rows`.

use std::sync::{Arc, Mutex};

use micro_macros::{handler, service};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::field::{Field, Visit};
use tracing::span;

use super::forged::{DATABASE, Forge, authority, member, nameless, showing, token_of_another};
use crate::auth::NewAccount;
use crate::client::Client;
use crate::core::error::{Error, Result};
use crate::core::net::{Address, Stream};
use crate::core::stream::Streaming;
use crate::registry;
use crate::service::{Running, Service};
use crate::store::{self, Memory};
use crate::transport::tls::tests::open;
use crate::transport::tls::{Identity, Name, Tls};

#[derive(Debug)]
struct Vault;

#[service(name = "vault", crate = crate)]
impl Vault {
    #[handler]
    async fn open(&self) -> Result<u32> {
        Ok(7)
    }

    #[handler]
    async fn watch(&self) -> Result<Streaming<u32>> {
        Ok(Streaming::from_iter(1..=3))
    }
}

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Unary,
    Stream,
    Http,
    HttpStream,
    Route,
    /// The native protocol without TLS.
    Native,
    /// HTTP without TLS.
    PlainHttp,
}

const WAYS: [Way; 7] =
    [Way::Unary, Way::Stream, Way::Http, Way::HttpStream, Way::Route, Way::Native, Way::PlainHttp];

impl Way {
    fn shows_certificates(self) -> bool {
        !matches!(self, Self::Native | Self::PlainHttp)
    }
}

/// What a caller shows.
enum Shown {
    Token(String),
    Certificate(Arc<Identity>),
}

struct Rig {
    running: Running,
    nameless: Arc<Identity>,
}

impl Rig {
    async fn call(
        &self,
        way: Way,
        shown: Option<&Shown>,
    ) -> std::result::Result<(), (u16, String)> {
        let token = match shown {
            Some(Shown::Token(token)) => Some(token.as_str()),
            _ => None,
        };
        let identity = match shown {
            Some(Shown::Certificate(identity)) => identity,
            _ => &self.nameless,
        };
        let address = self.running.address();
        let told = |error: Error| (error.code(), error.detail().to_owned());
        match way {
            Way::Unary | Way::Native => {
                let client = client(address, (way == Way::Unary).then_some(identity), token);
                VaultClient::from(client).open().await.map(drop).map_err(told)
            }
            Way::Stream => {
                let client = client(address, Some(identity), token);
                let stream = VaultClient::from(client).watch().await.map_err(told)?;
                drop(stream);
                Ok(())
            }
            Way::Http | Way::HttpStream | Way::Route => {
                let (method, path) = match way {
                    Way::Http => ("POST", "/vault/Vault.Open"),
                    Way::HttpStream => ("POST", "/vault/Vault.Watch"),
                    _ => ("GET", "/page"),
                };
                http(open(address, identity).await.unwrap(), (method, path), token).await
            }
            Way::PlainHttp => {
                let stream = Stream::connect(address, std::time::Duration::from_secs(5)).await;
                http(stream.unwrap(), ("POST", "/vault/Vault.Open"), token).await
            }
        }
    }
}

fn client(address: &Address, identity: Option<&Arc<Identity>>, token: Option<&str>) -> Client {
    let mut builder = Client::builder().address(address.clone());
    if let Some(identity) = identity {
        builder = builder.transport(Arc::new(Tls::new(Arc::clone(identity))));
    }
    if let Some(token) = token {
        builder = builder.bearer(token.to_owned()).unwrap();
    }
    builder.build()
}

async fn http(
    mut stream: Stream,
    (method, path): (&str, &str),
    token: Option<&str>,
) -> std::result::Result<(), (u16, String)> {
    let token = token.map_or_else(String::new, |t| format!("authorization: Bearer {t}\r\n"));
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{token}");
    let request = format!("{head}connection: close\r\ncontent-length: 4\r\n\r\nnull");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
    if status == 200 {
        return Ok(());
    }
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    Err((status, body["detail"].as_str().unwrap().to_owned()))
}

async fn rig(store: &Memory) -> Rig {
    let router = axum::Router::new().route("/page", axum::routing::get(|| async { "page" }));
    let settings = [("MICRO_AUTH", "jwt"), ("MICRO_AUTH_IDENTITY", "authority?domain=test.local")];
    let running = Service::new("vault")
        .no_env()
        .env(settings)
        .registry(registry::Memory::new())
        .store(store.clone())
        .server(|server| server.router(router))
        .mount(Vault)
        .start()
        .await
        .unwrap();
    let nameless = Arc::new(nameless(running.authority().unwrap()));
    Rig { running, nameless }
}

/// Every credential that is refused, with a part of what the log says.
async fn rows(rig: &Rig, store: &Memory) -> Vec<(&'static str, Shown, &'static str)> {
    let auth = rig.running.auth();
    let made = auth.generate(&NewAccount::new("eve")).await.unwrap();
    let good = auth.token(&made.proof()).await.unwrap().access.into_exposed();
    let database = store::Handle::new(store.clone()).database(DATABASE).unwrap();
    let forge = Forge::of(&database, &good).await;
    let cut = good.rsplit_once('.').unwrap().0.to_owned();
    auth.revoke_account("eve").await.unwrap();
    let ours = rig.running.authority().unwrap();
    let theirs = authority("test.local").await;
    let name = |namespace, service| Name::new("test.local", namespace, service).unwrap();
    let orders = name("default", "orders");
    let gone = member(ours, "gone").await;
    ours.revoke("gone").await.unwrap();
    rig.running.identity().unwrap().revoked().replace(ours.revoked());
    let over = |params: &mut rcgen::CertificateParams| {
        params.not_after = params.not_before + std::time::Duration::from_secs(1);
    };
    let servers_only = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    };
    let two_names = |params: &mut rcgen::CertificateParams| {
        let second = "spiffe://test.local/default/mail".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(second));
    };
    let no_name = |params: &mut rcgen::CertificateParams| params.subject_alt_names.clear();
    let token = Shown::Token;
    let shown = |identity| Shown::Certificate(Arc::new(identity));
    vec![
        ("token of another key", token(token_of_another().await), "its key is unknown"),
        ("token without its signature", token(format!("{cut}.")), "signature"),
        ("token that is over", token(forge.expired()), "over"),
        ("token of a wrong audience", token(forge.sign(|_, c| c["aud"] = json!("x"))), "audience"),
        ("token of a wrong issuer", token(forge.sign(|_, c| c["iss"] = json!("x"))), "issuer"),
        (
            "token of a wrong algorithm",
            token(forge.sign(|h, _| h["alg"] = json!("HS256"))),
            "algorithm",
        ),
        (
            "token without algorithm",
            token(forge.sign(|h, _| h["alg"] = json!("none"))),
            "algorithm",
        ),
        ("token that was revoked", token(good), "revoked"),
        (
            "certificate of another authority",
            shown(showing(ours, &theirs, &orders, |_| {})),
            "BadSignature",
        ),
        ("certificate that is over", shown(showing(ours, ours, &orders, over)), "expired"),
        (
            "certificate of another namespace",
            shown(showing(ours, ours, &name("other", "orders"), |_| {})),
            "namespace",
        ),
        ("certificate for servers", shown(showing(ours, ours, &orders, servers_only)), "refused"),
        (
            "certificate of two names",
            shown(showing(ours, ours, &orders, two_names)),
            "several names",
        ),
        ("certificate that was revoked", shown(gone), "revoked"),
        ("certificate without a name", shown(showing(ours, ours, &orders, no_name)), "no name"),
    ]
}

#[tokio::test]
async fn nobody_gets_in() {
    let log = Log::default();
    let _logged = tracing::subscriber::set_default(log.clone());
    let store = Memory::new();
    let rig = rig(&store).await;
    let rows = rows(&rig, &store).await;
    for way in WAYS {
        for (name, shown, reason) in &rows {
            log.take();
            let (code, detail) = rig.call(way, Some(shown)).await.expect_err(name);
            let said = log.take();
            if matches!(shown, Shown::Certificate(_)) && !way.shows_certificates() {
                // Without TLS nothing was shown.
                assert_eq!(code, 401, "{name} by {way:?}: {detail}");
                continue;
            }
            let told = (code, detail.as_str());
            assert_eq!(told, (401, "the credentials are not valid"), "{name} by {way:?}");
            assert!(said.contains(reason), "{name} by {way:?}: no `{reason}` in {said}");
        }
        let (code, detail) = rig.call(way, None).await.expect_err("nothing shown");
        let told = (code, detail.as_str());
        assert_eq!(told, (401, "the caller has to authenticate"), "nothing by {way:?}");
    }
    rig.running.stop().await;
}

#[tokio::test]
async fn who_proves_to_be_somebody_gets_in() {
    let store = Memory::new();
    let rig = rig(&store).await;
    let auth = rig.running.auth();
    let made = auth.generate(&NewAccount::new("ada")).await.unwrap();
    let token = Shown::Token(auth.token(&made.proof()).await.unwrap().access.into_exposed());
    let ours = rig.running.authority().unwrap();
    let certificate = Shown::Certificate(Arc::new(member(ours, "orders").await));
    for way in WAYS {
        rig.call(way, Some(&token)).await.unwrap();
        if way.shows_certificates() {
            rig.call(way, Some(&certificate)).await.unwrap();
        }
    }
    rig.running.stop().await;
}

/// Everything that is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn take(&self) -> String {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text<'a>(&'a mut String);
        impl Visit for Text<'_> {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        event.record(&mut Text(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
