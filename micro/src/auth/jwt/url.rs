//! Keys that a process of this machine publishes over HTTP.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::auth::ERROR_ID;
use crate::auth::jwt::KEYS_BYTES_MAX;
use crate::auth::jwt::source::KeySource;
use crate::core::error::{BoxError, Error, Result};
use crate::core::future::BoxFuture;

/// A set at `http://HOST:PORT/PATH` on this machine, fetched by a connection of its own at each
/// look.
///
/// Whoever stands between could give keys of its own, and nothing is encrypted here: only loopback
/// addresses are taken. For an issuer elsewhere write a [`KeySource`], or have another process keep
/// a [`KeyFile`](crate::auth::KeyFile). Answers other than 200 and sets of more than
/// [`KEYS_BYTES_MAX`] bytes are errors, redirects are not followed.
#[derive(Clone, Debug)]
pub struct KeyUrl {
    authority: String,
    path: String,
}

impl KeyUrl {
    /// Reads a URL; nothing is fetched yet.
    ///
    /// # Errors
    /// 412 for anything but plain HTTP to a loopback address.
    pub fn parse(url: &str) -> Result<Self> {
        let wrong = |detail: &str| Error::precondition_failed(ERROR_ID, detail.to_owned());
        let rest = url.strip_prefix("http://").ok_or_else(|| {
            wrong(
                "keys are fetched over plain HTTP from this machine: `http://127.0.0.1:8080/keys`",
            )
        })?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if authority.contains('@') || !path.bytes().all(plain) {
            return Err(wrong("the URL of keys has a host, a port and a path, nothing else"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (authority, "80"),
        };
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let local = address == "localhost"
            || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !local || port.parse::<u16>().is_err() {
            return Err(wrong(
                "keys are fetched from this machine only: a loopback address and a port",
            ));
        }
        Ok(Self { authority: format!("{host}:{port}"), path: format!("/{path}") })
    }

    async fn get(&self) -> Result<String, BoxError> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(&self.path)
            .header(HOST, &self.authority)
            .header(ACCEPT, "application/json")
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        // The sender goes with the exchange, so that the connection ends after it.
        let exchange = async move {
            let (head, body) = sender.send_request(request).await?.into_parts();
            if head.status != StatusCode::OK {
                return Err(format!("the answer is {}", head.status).into());
            }
            let body = Limited::new(body, KEYS_BYTES_MAX).collect().await;
            let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
                Ok(_) => format!("the set has more than {KEYS_BYTES_MAX} bytes").into(),
                Err(error) => error,
            })?;
            Ok(String::from_utf8(body.to_bytes().into())?)
        };
        // Whatever the exchange comes to decides; the connection only has to run beside it.
        tokio::select! {
            fetched = exchange => fetched,
            never = async { drop(connection.await); std::future::pending().await } => never,
        }
    }
}

impl KeySource for KeyUrl {
    fn fetch(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async {
            self.get().await.map_err(|error| {
                let place = format!("http://{}{}", self.authority, self.path);
                let detail = format!("the keys at {place} cannot be fetched: {error}");
                Error::unavailable(ERROR_ID, detail).with_source(error)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;

    use axum::Router;
    use axum::http::StatusCode as Status;
    use axum::response::Redirect;
    use axum::routing::get;

    use super::*;
    use crate::auth::jwt::REFETCH_INTERVAL_MIN;
    use crate::auth::{Auth, Jwt, JwtConfig, NewAccount};
    use crate::core::clock;
    use crate::core::shutdown::TaskTracker;
    use crate::store::{Handle, Memory};

    #[test]
    fn only_plain_http_to_this_machine_is_a_url_of_keys() {
        for (url, authority, path) in [
            ("http://127.0.0.1:8080/keys.json", "127.0.0.1:8080", "/keys.json"),
            ("http://localhost/a/b?c=d", "localhost:80", "/a/b?c=d"),
            ("http://[::1]:7", "[::1]:7", "/"),
            ("http://[::1]/", "[::1]:80", "/"),
        ] {
            let read = KeyUrl::parse(url).unwrap();
            assert_eq!((read.authority.as_str(), read.path.as_str()), (authority, path), "{url}");
        }
        for url in [
            "https://127.0.0.1/keys",
            "http://id.example/keys",
            "http://10.0.0.1/keys",
            "http://127.0.0.1:http/keys",
            "http://127.0.0.1@id.example/keys",
            "http://me@127.0.0.1/keys",
            "http://127.0.0.1/a b",
            "http://127.0.0.1/a\r\nx: y",
            "http://",
            "keys.json",
        ] {
            assert_eq!(KeyUrl::parse(url).unwrap_err().code(), 412, "{url}");
        }
    }

    async fn serve(router: Router, tasks: &TaskTracker) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("keys", async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn what_is_no_set_is_an_error_that_names_the_place() {
        let tasks = TaskTracker::new();
        let long = |bytes: usize| move || async move { " ".repeat(bytes) };
        let router = Router::new()
            .route("/fits", get(long(KEYS_BYTES_MAX)))
            .route("/long", get(long(KEYS_BYTES_MAX + 1)))
            .route("/longer", get(long(10 * KEYS_BYTES_MAX)))
            .route("/moved", get(|| async { Redirect::to("/fits") }))
            .route("/down", get(|| async { (Status::SERVICE_UNAVAILABLE, "[]") }))
            .route("/binary", get(|| async { vec![0xff_u8, 0xfe] }));
        let at = serve(router, &tasks).await;
        let fetch = async |path: &str| KeyUrl::parse(&format!("{at}{path}")).unwrap().fetch().await;
        assert_eq!(fetch("/fits").await.unwrap().len(), KEYS_BYTES_MAX);
        for (path, why) in [
            ("/long", "more than"),
            ("/longer", "more than"),
            ("/moved", "303"),
            ("/down", "503"),
            ("/absent", "404"),
            ("/binary", "utf-8"),
        ] {
            let error = fetch(path).await.unwrap_err();
            assert_eq!(error.code(), 503, "{path}");
            assert!(error.detail().contains(why) && error.detail().contains(path), "{error}");
        }
        tasks.abort_all();
        let left = tasks.wait(clock::after(clock::now(), std::time::Duration::from_secs(10))).await;
        assert_eq!(left, 0);
        assert_eq!(fetch("/fits").await.unwrap_err().code(), 503);
    }

    #[tokio::test]
    async fn tokens_are_checked_by_the_keys_of_a_url_and_strangers_fetch_them_no_oftener() {
        let tasks = TaskTracker::new();
        let database = Handle::new(Memory::new()).database("issuer").unwrap();
        let config = || JwtConfig::new("https://id.example", "shop");
        let issuer = Jwt::issuer(config(), &database, &tasks).await.unwrap();
        let made = issuer.generate(&NewAccount::new("ada")).await.unwrap();
        let token = issuer.token(&made.proof()).await.unwrap().access.into_exposed();
        let (keys, fetched) = (issuer.published().await.unwrap(), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&fetched);
        let keys = get(move || {
            count.fetch_add(1, SeqCst);
            std::future::ready(keys.clone())
        });
        let at = serve(Router::new().route("/keys", keys), &tasks).await;
        let source = KeyUrl::parse(&format!("{at}/keys")).unwrap();
        let verifier = Jwt::verifier(config(), source, &tasks).await.unwrap();
        assert_eq!(verifier.inspect(&token).unwrap().account.id, "ada");
        let other = Handle::new(Memory::new()).database("other").unwrap();
        let stranger = Jwt::issuer(config(), &other, &tasks).await.unwrap();
        let made = stranger.generate(&NewAccount::new("eve")).await.unwrap();
        let forged = stranger.token(&made.proof()).await.unwrap().access.into_exposed();
        tokio::time::pause();
        let began = clock::now();
        while clock::now() < began + REFETCH_INTERVAL_MIN * 3 {
            assert_eq!(verifier.inspect(&forged).unwrap_err().code(), 401);
            clock::sleep(std::time::Duration::from_millis(100)).await;
        }
        let fetched = fetched.load(SeqCst);
        assert!((1..=4).contains(&fetched), "{fetched} in {:?}", REFETCH_INTERVAL_MIN * 3);
        tasks.abort_all();
    }
}
