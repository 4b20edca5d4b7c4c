//! Peers that speak HTTP and answer badly, or not at all.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A peer that says the same to every request.
struct Peer {
    address: String,
    accepted: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, PartialEq)]
enum After {
    Keep,
    Close,
}

impl Peer {
    #[expect(clippy::disallowed_methods, reason = "the peer is no part of what is tested")]
    async fn start(answer: &'static [u8], after: After) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (accepted, asked) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&accepted), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counts.0.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, answer, after, Arc::clone(&counts.1)));
            }
        });
        Self { address, accepted, asked, task }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Reads heads with bodies of a declared length, and answers each.
async fn serve(mut stream: TcpStream, answer: &[u8], after: After, asked: Arc<AtomicUsize>) {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let Some(head) = text.find("\r\n\r\n") else { continue };
        let length = text
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        if bytes.len() < head + 4 + length {
            continue;
        }
        bytes.drain(..head + 4 + length);
        asked.fetch_add(1, Ordering::SeqCst);
        if stream.write_all(answer).await.is_err() || after == After::Close {
            return;
        }
    }
}

fn lab() -> LabClient {
    client().in_format(Format::Json).into()
}

async fn answered(answer: &'static [u8], after: After) -> (Result<String>, usize) {
    let peer = Peer::start(answer, after).await;
    let lab = lab();
    let call = lab.echo("x".to_owned()).to(&peer.address).timeout(Duration::from_secs(5));
    let answer = call.await;
    (answer, peer.asked())
}

const GOOD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 3\r\n\r\n\"y\"";

#[tokio::test]
async fn a_connection_is_kept_from_one_call_to_the_next() {
    let peer = Peer::start(GOOD, After::Keep).await;
    let lab = lab();
    for _ in 0..10 {
        assert_eq!(lab.echo("x".to_owned()).to(&peer.address).await.unwrap(), "y");
    }
    assert_eq!((peer.accepted(), peer.asked()), (1, 10));
}

#[tokio::test]
async fn a_connection_that_the_peer_closes_is_replaced() {
    let peer = Peer::start(GOOD, After::Close).await;
    let lab = lab();
    for _ in 0..10 {
        assert_eq!(lab.echo("x".to_owned()).to(&peer.address).idempotent().await.unwrap(), "y");
    }
    assert!(peer.accepted() >= 10);
}

#[tokio::test]
async fn a_peer_that_cannot_be_reached_has_run_nothing() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for scheme in ["http", "h2c"] {
        let to = format!("{scheme}://{gone}");
        let error = lab().echo("x".to_owned()).to(&to).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (503, Retry::Safe), "{error}");
    }
}

#[tokio::test]
async fn a_peer_that_breaks_off_may_have_run_the_call_and_is_asked_once() {
    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"nonsense\r\n\r\n", &GOOD[..GOOD.len() - 1]] {
        let (answer, asked) = answered(answer, After::Close).await;
        let error = answer.unwrap_err();
        assert_eq!((error.code(), error.retry(), asked), (503, Retry::Unknown, 1), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_says_whether_it_is_safe_to_call_again() {
    let safe =
        b"HTTP/1.1 429 X\r\nmicro-retry: safe\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n";
    let (answer, _) = answered(safe, After::Keep).await;
    let error = answer.unwrap_err();
    assert_eq!((error.code(), error.retry()), (429, Retry::Safe));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
    let unknown = b"HTTP/1.1 503 X\r\ncontent-length: 4\r\n\r\nbusy";
    let (answer, asked) = answered(unknown, After::Keep).await;
    let error = answer.unwrap_err();
    assert_eq!((error.code(), error.retry(), asked), (503, Retry::Unknown, 1));
}

#[tokio::test]
async fn what_is_no_answer_is_a_502() {
    for answer in [
        &b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 3\r\n\r\n<p>",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let (answer, _) = answered(answer, After::Keep).await;
        assert_eq!(answer.unwrap_err().code(), 502);
    }
}

#[tokio::test]
async fn a_response_past_the_limit_is_refused_by_its_declared_length() {
    let long =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n";
    let (answer, _) = answered(long, After::Keep).await;
    assert_eq!(answer.unwrap_err().code(), 413);
}

#[tokio::test]
async fn a_peer_that_says_nothing_costs_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}", listener.local_addr().unwrap());
    let call = lab().echo("x".to_owned()).to(&to).timeout(Duration::from_millis(200)).await;
    let error = call.unwrap_err();
    assert_eq!((error.code(), error.retry()), (408, Retry::Unknown), "{error}");
}
