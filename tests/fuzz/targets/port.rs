//! The one port: whatever a peer sends, it answers others and no task panics.
#![no_main]

use std::cell::RefCell;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use micro::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// What may come before the bytes of a case, so that it gets past the first check of a protocol.
const OPENINGS: [&[u8]; 11] = [
    b"",
    // The preface of the native protocol and an empty greeting.
    b"\x8dmicro\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    b"POST /kinds/Kinds.Echo HTTP/1.1\r\nhost: localhost\r\n",
    b"POST /kinds/Kinds.Echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"GET /",
    b"POST /rpc HTTP/1.1\r\nhost: localhost\r\n",
    b"GET /kinds/Kinds.Join HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
      upgrade: websocket\r\nsec-websocket-version: 13\r\n\
      sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
      upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: micro.native\r\n\
      sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: localhost\r\nmicro-endpoint: Kinds.Echo\r\n",
    // A stream of go-micro's that has begun.
    b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
      micro-endpoint: Kinds.Join\r\nmicro-stream: 1\r\n\r\n",
];

/// Cases between two looks at whether others are served.
const CASES_PER_LOOK: u32 = 64;

/// What is read of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

struct Kinds;

#[service]
impl Kinds {
    #[handler]
    async fn echo(&self, text: String) -> Result<String> {
        Ok(text)
    }

    #[handler]
    async fn count(&self, to: u8) -> Result<Streaming<u8>> {
        Ok(Streaming::from_iter(0..to))
    }

    #[handler]
    async fn join(&self, mut texts: Streaming<String>) -> Result<String> {
        let mut joined = String::new();
        while let Some(text) = texts.next().await {
            joined.push_str(&text?);
        }
        Ok(joined)
    }
}

struct Target {
    runtime: Runtime,
    running: Running,
    cases: u32,
}

impl Target {
    fn new() -> Self {
        // A panic in a task is a finding, too.
        std::panic::set_hook(Box::new(|panic| {
            eprintln!("{panic}");
            std::process::abort();
        }));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let service = Service::new("kinds").no_env().registry(micro::registry::Memory::new());
        let running = runtime.block_on(service.mount(Kinds).start()).unwrap();
        Self { runtime, running, cases: 0 }
    }

    fn case(&mut self, data: &[u8]) {
        let Some((opening, bytes)) = data.split_first() else { return };
        let opening = OPENINGS[usize::from(*opening) % OPENINGS.len()];
        let address = self.running.address().to_string();
        self.cases += 1;
        let looks = self.cases % CASES_PER_LOOK == 0;
        let running = &self.running;
        self.runtime.block_on(async {
            let mut peer = TcpStream::connect(&address).await.unwrap();
            // The server may have closed before it has read all.
            let _sent = peer.write_all(&[opening, bytes].concat()).await;
            let _ended = peer.shutdown().await;
            let mut answer = Vec::new();
            // A stream that the case has opened may go on: it ends with the connection.
            let mut peer = peer.take(ANSWER_BYTES_MAX);
            let reading = peer.read_to_end(&mut answer);
            let _read = tokio::time::timeout(Duration::from_millis(20), reading).await;
            drop(peer);
            if looks {
                let kinds: KindsClient = running.client();
                assert_eq!(kinds.echo("there".to_owned()).await.unwrap(), "there");
            }
        });
    }
}

thread_local! {
    static TARGET: RefCell<Option<Target>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    TARGET.with_borrow_mut(|target| target.get_or_insert_with(Target::new).case(data));
});
