//! Bytes as the protocol's document lays them out, sent to the stand-in and expected of it: that it
//! is no mirror of the client. `..` stands for what differs each time.

use std::time::Duration;

use libtest_mimic::Trial;
use micro::core::clock;
use micro_tests::server::trial_alone;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;
use super::nsqd::{Nsqd, Options, frame};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial_alone("nsq::the_stand_in_speaks_the_protocol", the_stand_in_speaks_the_protocol),
        trial_alone("nsq::the_stand_in_refuses_what_is_wrong", the_stand_in_refuses_what_is_wrong),
        trial_alone("nsq::the_stand_in_keeps_its_times", the_stand_in_keeps_its_times),
    ]
}

struct Raw(TcpStream);

impl Raw {
    async fn new(nsqd: &Nsqd) -> Self {
        let mut raw = Self(TcpStream::connect(("127.0.0.1", nsqd.port())).await.unwrap());
        raw.send(b"  V2").await;
        raw
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        clock::timeout(PATIENCE, self.0.read_exact(&mut bytes)).await.unwrap().unwrap();
        bytes
    }

    async fn expect(&mut self, wanted: &[u8]) {
        let bytes = self.bytes(wanted.len()).await;
        assert_eq!(bytes, wanted, "{}", String::from_utf8_lossy(&bytes));
    }

    /// Reads a frame: its kind and data.
    async fn frame(&mut self) -> (u32, Vec<u8>) {
        let number = |bytes: Vec<u8>| u32::from_be_bytes(bytes.try_into().unwrap());
        let size = number(self.bytes(4).await);
        let kind = number(self.bytes(4).await);
        (kind, self.bytes(usize::try_from(size).unwrap() - 4).await)
    }

    /// Reads a message: attempts, id and body.
    async fn message(&mut self) -> (u16, String, Vec<u8>) {
        let (kind, data) = self.frame().await;
        assert_eq!(kind, 2, "{}", String::from_utf8_lossy(&data));
        let attempts = u16::from_be_bytes([data[8], data[9]]);
        (attempts, String::from_utf8(data[10..26].to_vec()).unwrap(), data[26..].to_vec())
    }

    async fn error(&mut self) -> String {
        let (kind, data) = self.frame().await;
        assert_eq!(kind, 1);
        String::from_utf8(data).unwrap().split(' ').next().unwrap().to_owned()
    }

    async fn ends(&mut self) {
        let read = clock::timeout(PATIENCE, self.0.read(&mut [0; 1])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "the connection stays");
    }
}

const OK: &[u8] = b"\0\0\0\x06\0\0\0\0OK";

async fn the_stand_in_speaks_the_protocol() {
    assert_eq!(frame(0, b"OK"), OK);
    let msg_timeout = Duration::from_secs(2);
    let nsqd = Nsqd::start(Options { msg_timeout, ..Options::default() }).await;
    let mut raw = Raw::new(&nsqd).await;
    raw.send(b"IDENTIFY\n\0\0\0\x02{}").await;
    raw.expect(OK).await;
    raw.send(b"PUB t\n\0\0\0\x01a").await;
    raw.expect(OK).await;
    raw.send(b"MPUB t\n\0\0\0\x0f\0\0\0\x02\0\0\0\x01b\0\0\0\x02cd").await;
    raw.expect(OK).await;
    raw.send(b"SUB t c\n").await;
    raw.expect(OK).await;
    raw.send(b"RDY 2\n").await;
    let (first, second) = (raw.message().await, raw.message().await);
    assert_eq!((first.0, &first.2[..], second.0, &second.2[..]), (1, &b"a"[..], 1, &b"b"[..]));
    raw.send(format!("FIN {}\nREQ {} 0\nRDY 2\n", first.1, second.1).as_bytes()).await;
    let (third, again) = (raw.message().await, raw.message().await);
    assert_eq!((third.0, &third.2[..]), (1, &b"cd"[..]));
    assert_eq!((again.0, &again.1), (2, &second.1));
    raw.send(format!("TOUCH {0}\nFIN {0}\nFIN {0}\n", again.1).as_bytes()).await;
    assert_eq!(raw.error().await, "E_FIN_FAILED");
    raw.send(format!("REQ {0} 1\nTOUCH {0}\n", again.1).as_bytes()).await;
    assert_eq!(
        (raw.error().await, raw.error().await),
        ("E_REQ_FAILED".into(), "E_TOUCH_FAILED".into())
    );
    raw.send(b"DPUB t 50\n\0\0\0\x01e").await;
    raw.expect(OK).await;
    raw.send(b"CLS\n").await;
    raw.expect(b"\0\0\0\x0e\0\0\0\0CLOSE_WAIT").await;
    raw.send(format!("FIN {}\nNOP\n", third.1).as_bytes()).await;
    drop(raw);
    // What a lost connection had goes to another, once its time is over.
    let mut other = Raw::new(&nsqd).await;
    other.send(b"SUB t c\nRDY 1\n").await;
    other.expect(OK).await;
    let (_, _, first) = other.message().await;
    assert_eq!((first, nsqd.timeouts()), (b"e".to_vec(), 0));
    drop(other);
    let mut other = Raw::new(&nsqd).await;
    other.send(b"SUB t c\nRDY 1\n").await;
    other.expect(OK).await;
    let (attempts, _, body) = other.message().await;
    assert_eq!((attempts, &body[..], nsqd.timeouts()), (2, &b"e"[..], 1));
}

async fn the_stand_in_refuses_what_is_wrong() {
    let nsqd = Nsqd::start(Options::default()).await;
    let long = format!("SUB {} c\n", "x".repeat(65));
    let far = b"  V2SUB t c\nREQ 0123456789abcdef 3600001\n";
    for (sent, code) in [
        (&b"PUT t\n"[..], "E_INVALID"),
        (b"NOP more\n", "E_INVALID"),
        (b"SUB t\n", "E_INVALID"),
        (b"SUB a*b c\n", "E_BAD_TOPIC"),
        (long.as_bytes(), "E_BAD_TOPIC"),
        (b"SUB t #ephemeral\n", "E_BAD_CHANNEL"),
        (b"RDY 1\n", "E_INVALID"),
        (b"FIN 0123456789abcdef\n", "E_INVALID"),
        (b"CLS\n", "E_INVALID"),
        (b"PUB a/b\n\0\0\0\x01a", "E_BAD_TOPIC"),
        (b"PUB t\n\0\0\0\0", "E_BAD_MESSAGE"),
        (b"PUB t\n\x7f\xff\xff\xff", "E_BAD_MESSAGE"),
        (b"PUB t\n\xff\xff\xff\xff", "E_BAD_MESSAGE"),
        (b"MPUB t\n\0\0\0\x08\0\0\0\x02\0\0\0\x01", "E_BAD_BODY"),
        (b"MPUB t\n\0\0\0\x09\0\0\0\x01\0\0\0\x02a", "E_BAD_MESSAGE"),
        (b"IDENTIFY\n\0\0\0\x01{", "E_BAD_BODY"),
        (b"IDENTIFY\n\0\0\0\x19{\"heartbeat_interval\":999}", "E_BAD_BODY"),
        (&far[4..], "OK"),
    ] {
        let mut raw = Raw::new(&nsqd).await;
        raw.send(sent).await;
        if code == "OK" {
            raw.expect(OK).await;
            assert_eq!(raw.error().await, "E_INVALID");
        } else {
            assert_eq!(raw.error().await, code, "{}", String::from_utf8_lossy(sent));
        }
        raw.ends().await;
    }
    let mut raw = Raw(TcpStream::connect(("127.0.0.1", nsqd.port())).await.unwrap());
    raw.send(b"  V1").await;
    assert_eq!(raw.error().await, "E_BAD_PROTOCOL");
    raw.ends().await;
}

async fn the_stand_in_keeps_its_times() {
    // Far enough from each other for a machine that is busy.
    let heartbeat = Duration::from_millis(2_500);
    let msg_timeout = Duration::from_millis(1_500);
    let nsqd = Nsqd::start(Options { heartbeat, msg_timeout, ..Options::default() }).await;
    let mut raw = Raw::new(&nsqd).await;
    raw.send(b"SUB t c\nRDY 1\nPUB t\n\0\0\0\x01a").await;
    raw.expect(OK).await;
    raw.expect(OK).await;
    assert_eq!(raw.message().await.0, 1);
    // A message that nobody settles goes out again, and two heartbeats are all that a silent
    // client gets.
    raw.expect(b"\0\0\0\x0f\0\0\0\0_heartbeat_").await;
    raw.send(b"RDY 1\n").await;
    let (attempts, id, _) = raw.message().await;
    assert_eq!((attempts, nsqd.timeouts()), (2, 1));
    raw.send(format!("FIN {id}\n").as_bytes()).await;
    raw.expect(b"\0\0\0\x0f\0\0\0\0_heartbeat_").await;
    raw.expect(b"\0\0\0\x0f\0\0\0\0_heartbeat_").await;
    raw.ends().await;
    assert_eq!(nsqd.dropped(), 1);
}
