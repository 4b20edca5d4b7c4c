//! Peers that send anything.

use std::time::{Duration, Instant};

use micro_tests::probe::ProbeClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::load::Load;
use crate::harness::{Heavy, Place, is_long, until};

/// Connections that send at a time.
const PEERS: u64 = 24;

/// Calls each second that have nothing to do with it.
const RATE: u32 = 100;

/// What the server's memory may grow by: a few of the largest messages for each peer.
const GROWTH_KIB_MAX: usize = 192 * 1024;

/// How often the memory is looked at while they send.
const SAMPLES_EVERY: Duration = Duration::from_millis(50);

/// Bytes that the peers' randomness continues, to get past the first look.
const BEGINNINGS: [&[u8]; 6] = [
    b"",
    b"POST /greeter/Greeter.Hello HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"GET /",
    b"\x16\x03\x01",
];

/// A source of bytes that is the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(count).collect()
    }

    fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.next() % bound).unwrap()
    }
}

/// Returns what a peer of the native protocol sends first.
async fn preface() -> Vec<u8> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client: ProbeClient = micro::Client::builder().build().into();
    let call = client.write().to(&address.to_string()).timeout(Duration::from_secs(30));
    let accept = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4096];
        let length = stream.read(&mut buffer).await.unwrap();
        buffer.truncate(length);
        buffer
    };
    tokio::select! {
        bytes = accept => bytes,
        ended = call => panic!("{ended:?}"),
    }
}

/// Sends noise over one connection after the other.
async fn molest(address: String, native: Vec<u8>, seed: u64, end: Instant) -> usize {
    let mut noise = Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut sent = 0;
    while Instant::now() < end {
        let Ok(mut stream) = TcpStream::connect(&address).await else { continue };
        let kind = noise.below(10);
        let mut bytes = BEGINNINGS.get(kind).map_or_else(|| native.clone(), |text| text.to_vec());
        if kind == 9 && !bytes.is_empty() {
            // A preface with one byte changed.
            let at = noise.below(bytes.len() as u64);
            bytes[at] = noise.bytes(1)[0];
        }
        for _ in 0..=noise.below(4) {
            let length = if noise.below(8) == 0 { 64 * 1024 } else { 200 };
            let length = noise.below(length);
            bytes.extend(noise.bytes(length));
            if stream.write_all(&bytes).await.is_err() {
                break;
            }
            sent += bytes.len();
            bytes.clear();
        }
        if noise.below(2) == 0 {
            // Reads what comes for a moment; the others leave at once.
            let mut answer = [0; 1024];
            let read = stream.read(&mut answer);
            let _read = tokio::time::timeout(Duration::from_millis(20), read).await;
        }
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_neither_breaks_the_server_nor_keeps_it_from_serving() {
    let _heavy = Heavy::room().await;
    let place = Place::new();
    let mut server = place.serve("one").await;
    let (address, native) = (server.address().await, preface().await);
    let probe: ProbeClient = place.client();
    let before = probe.gauges().await.unwrap();
    let caller = probe.clone();
    let load = Load::start(RATE, move |_| {
        let probe = caller.clone();
        async move { probe.write().await }
    });
    let mut peak = server.resident_kib();

    let end = Instant::now() + Duration::from_secs(if is_long() { 60 } else { 4 });
    let mut peers = JoinSet::new();
    for seed in 1..=PEERS {
        peers.spawn(molest(address.clone(), native.clone(), seed, end));
    }
    let (mut sent, mut samples) = (0, 0);
    let mut ticks = tokio::time::interval(SAMPLES_EVERY);
    loop {
        tokio::select! {
            part = peers.join_next() => match part {
                Some(part) => sent += part.unwrap(),
                None => break,
            },
            _ = ticks.tick() => {
                peak = peak.max(server.resident_kib());
                samples += 1;
            }
        }
    }
    assert!(samples > 20, "the memory was looked at {samples} times");
    load.answers(100).await;
    let tally = load.end().await;
    let growth = peak.saturating_sub(before.resident_kib);
    println!("{sent} bytes sent, memory grew by {growth} KiB, {} answers", tally.answers());
    assert_eq!(tally.failed, 0, "{tally:?}");
    assert!(growth < GROWTH_KIB_MAX, "{growth} KiB");
    until("no connection is left", async || probe.gauges().await.unwrap().files <= before.files)
        .await;
    until("no task is left", async || probe.gauges().await.unwrap().tasks <= before.tasks).await;
    server.stop().await;
    let said = server.lines().join("\n");
    assert!(!said.contains("panicked"), "{said}");
}
