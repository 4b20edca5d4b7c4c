//! What a process that was told nothing shows to other hosts: what is public, and no more.

use std::net::SocketAddr;

use micro::prelude::*;
use micro::registry::Memory;

struct Shop;

#[service(name = "shop")]
impl Shop {
    /// Tells what anybody may know.
    #[handler(public)]
    async fn hours(&self) -> Result<String> {
        Ok("nine to five".to_owned())
    }

    /// Tells what is no business of strangers.
    #[handler]
    async fn till(&self) -> Result<u32> {
        Ok(7)
    }
}

fn shop() -> Service {
    Service::new("shop").no_env().no_args().registry(Memory::new()).mount(Shop)
}

#[tokio::test]
async fn a_process_that_was_told_nothing_listens_on_loopback() {
    let running = shop().start().await.unwrap();
    let address: SocketAddr = running.address().to_string().parse().unwrap();
    assert!(address.ip().is_loopback(), "{address}");
    assert_eq!(running.port(), Some(running.address()));
    running.stop().await;
}

#[cfg(target_os = "linux")]
mod other_hosts {
    use std::process::Command;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;

    use super::*;

    /// This test, as its binary knows it.
    const NAME: &str = "other_hosts::strangers_reach_what_is_public_and_nothing_else";

    /// Tells the test that it runs in a network of its own.
    const ALONE: &str = "TEST_ALONE";

    /// The host that serves and another one: addresses of documentation (RFC 5737).
    const HERE: &str = "192.0.2.1";
    const THERE: &str = "192.0.2.2";

    /// Gives a network of its own both addresses. Nothing leaves it: it has but a loopback device.
    const ADDRESSES: &str = "ip link set lo up && ip address add 192.0.2.1/32 dev lo \
         && ip address add 192.0.2.2/32 dev lo";

    /// How a network of one's own is had: as anybody, or as the superuser.
    const WAYS: [&[&str]; 2] = [&["--user", "--map-root-user"], &[]];

    fn alone(way: &[&str], script: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(way).args(["--net", "--", "sh", "-c", script]);
        command
    }

    /// A caller is on another host where its address is not the one that it calls; a network that
    /// holds both addresses has such callers.
    #[tokio::test]
    async fn strangers_reach_what_is_public_and_nothing_else() {
        if std::env::var_os(ALONE).is_some() {
            return called_by_strangers().await;
        }
        let is_given =
            |way: &&[&str]| alone(way, ADDRESSES).output().is_ok_and(|run| run.status.success());
        let Some(way) = WAYS.into_iter().find(is_given) else {
            let missing = "no network of its own by `unshare` (util-linux) and `ip` (iproute2)";
            // What checks everything must have the programs; it may lack the right.
            let is_required = std::env::var_os("MICRO_REQUIRE_SERVERS").is_some_and(|v| v == "1");
            let is_there = Command::new("unshare").arg("--version").output().is_ok()
                && Command::new("ip").arg("-V").output().is_ok();
            assert!(is_there || !is_required, "{missing}");
            return eprintln!("skipped: {missing}");
        };
        let mut command = alone(way, &format!("{ADDRESSES} && exec \"$0\" \"$@\""));
        command.arg(std::env::current_exe().unwrap()).args(["--exact", NAME, "--nocapture"]);
        let run = command.env(ALONE, "1").output().unwrap();
        let said = [run.stdout, run.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
    }

    async fn called_by_strangers() {
        let running = shop().address("0.0.0.0:0").start().await.unwrap();
        let bound: SocketAddr = running.address().to_string().parse().unwrap();
        for (from, endpoint, status) in [
            (THERE, "Shop.Hours", 200),
            (THERE, "Shop.Till", 401),
            (THERE, "Debug.Stats", 401),
            (HERE, "Shop.Till", 200),
        ] {
            let answer = call(from, bound.port(), endpoint).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{endpoint} from {from}: {answer}");
        }
        running.stop().await;
    }

    async fn call(from: &str, port: u16, endpoint: &str) -> String {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        let to = SocketAddr::new(HERE.parse().unwrap(), port);
        let mut stream = socket.connect(to).await.unwrap();
        let head = format!("POST /shop/{endpoint} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n");
        let request = format!("{head}content-length: 4\r\n\r\nnull");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
