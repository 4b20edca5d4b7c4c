//! How calls, connections and servers end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::server::Cancellation;
use crate::server::listen::LINGER;

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_drops_its_handler_unless_detached() {
    use Cancellation::{Detached, Dropped};
    for (endpoint, cancellation, dropped) in
        [("Hang", Dropped, 1), ("Detached", Dropped, 0), ("Hang", Detached, 0)]
    {
        let rig = Rig::new(|builder| builder.cancellation(cancellation));
        let mut http = rig.http1().await;
        let call = http.send_request(post(endpoint, ""));
        tokio::select! {
            _ = call => panic!("nothing was released"),
            () = rig.until_started(1) => {}
        }
        drop(http);
        clock::sleep(Duration::from_millis(1)).await;
        assert_eq!((rig.dropped(), rig.server.in_flight()), (dropped, 1 - dropped), "{endpoint}");
        rig.seen.release.notify_waiters();
        assert_eq!(rig.server.idle(after(1)).await, 0);
        assert_eq!(rig.seen.finished.load(Ordering::SeqCst), 1 - dropped);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_a_stream_ends_it() {
    let rig = Rig::plain();
    let mut pipe = rig.dial();
    let body = "4000000000";
    let head = format!(
        "POST /sample/Sample.Count HTTP/1.1\r\nhost: localhost\r\ntimeout: 1s\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    pipe.write_all(head.as_bytes()).await.unwrap();
    let mut some = [0; 15];
    pipe.read_exact(&mut some).await.unwrap();
    assert_eq!(&some, b"HTTP/1.1 200 OK");
    drop(pipe);
    assert_eq!(rig.server.idle(after(1)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn silent_slow_and_idle_connections_are_closed_in_time() {
    for (sent, least, most) in [
        ("", 5, 5),
        ("POST /sample/Sample.Echo HT", 5, 5),
        ("POST", 5, 5),
        ("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", 300, 310),
        ("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET", 5, 310),
    ] {
        let rig = Rig::plain();
        let mut pipe = rig.dial();
        let start = clock::now();
        pipe.write_all(sent.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).await.unwrap();
        let took = (clock::now() - start).as_secs_f64().round();
        assert!(took >= f64::from(least) && took <= f64::from(most), "{took} {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_has_its_time_from_its_first_byte_to_its_last() {
    const HEAD: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let limit = Duration::from_secs(5);
    // The first head of a connection has its time from the accept, the later ones from their
    // beginning, whenever that is.
    for (first, wait_millis) in [(true, 0), (true, 1), (true, 4900), (false, 0), (false, 3777)] {
        for (passed, served) in [
            (limit - Duration::from_millis(2), true),
            (limit + Duration::from_millis(2), false),
            (limit * 10, false),
        ] {
            let rig = Rig::plain();
            let mut pipe = rig.dial();
            let mut begin = clock::now();
            let wait = Duration::from_millis(wait_millis);
            if first && wait >= passed {
                continue;
            }
            if !first {
                pipe.write_all(HEAD.as_bytes()).await.unwrap();
                assert!(until_ok(&mut pipe).await);
                clock::sleep(wait).await;
                begin = clock::now();
            } else if wait_millis > 0 {
                clock::sleep(wait).await;
            }
            // A byte now and then buys no time.
            let (some, rest) = HEAD.split_at(20);
            for (byte, nth) in some.bytes().zip((0..20).rev()) {
                let _closed = pipe.write_all(&[byte]).await;
                clock::sleep_until(begin + passed - Duration::from_millis(nth)).await;
            }
            let _closed = pipe.write_all(rest.as_bytes()).await;
            assert_eq!(until_ok(&mut pipe).await, served, "{first} {wait_millis} {passed:?}");
        }
    }
}

/// Reads a response without a body of interest; `false` when the connection ends before.
async fn until_ok(pipe: &mut Pipe) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(b"ok\n") {
        match pipe.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => return false,
        }
    }
    true
}

#[tokio::test(start_paused = true)]
async fn a_connection_grows_old_only_so_far() {
    let rig = Rig::plain();
    let mut http = rig.http1().await;
    let start = clock::now();
    while let Ok(response) = http.send_request(post("Echo", "\"x\"")).await {
        assert_eq!(got(response).await.status, 200);
        clock::sleep(Duration::from_secs(60)).await;
        if http.ready().await.is_err() {
            break;
        }
    }
    let minutes = (clock::now() - start).as_secs() / 60;
    assert!((27..=34).contains(&minutes), "{minutes}");
}

#[tokio::test(start_paused = true)]
async fn draining_finishes_what_runs_and_refuses_the_rest() {
    let rig = Rig::plain();
    let (mut busy, mut idle) = (rig.http1().await, rig.http1().await);
    assert_eq!(got(idle.send_request(post("Echo", "\"x\"")).await.unwrap()).await.status, 200);
    let hang = async { got(busy.send_request(post("Hang", "")).await.unwrap()).await };
    let others = async {
        rig.until_started(1).await;
        // Connected, but not accepted when draining begins.
        let late = rig.dial();
        let server = rig.server.clone();
        let drained = server.drain(after(30));
        let meanwhile = async {
            idle.ready().await.unwrap();
            let refused = got(idle.send_request(post("Echo", "\"x\"")).await.unwrap()).await;
            assert_eq!(
                (refused.status, &refused.headers["micro-retry"]),
                (503, &"safe".parse().unwrap())
            );
            assert_eq!(refused.headers["connection"], "close");
            let mut late = http1(late).await;
            let refused = got(late.send_request(post("Echo", "\"x\"")).await.unwrap()).await;
            assert_eq!(refused.status, 503);
            clock::sleep(Duration::from_secs(3)).await;
            rig.seen.release.notify_waiters();
        };
        let start = clock::now();
        let (left, ()) = tokio::join!(drained, meanwhile);
        assert_eq!((left, (clock::now() - start).as_secs()), (0, 3));
    };
    let (hang, ()) = tokio::join!(hang, others);
    assert_eq!(hang.status, 200);
    assert_eq!(rig.server.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn probes_are_answered_to_the_end_of_draining() {
    let rig = Rig::plain();
    let mut busy = rig.http1().await;
    let hang = with(post("Hang", ""), "timeout", "60s");
    let hang = async { got(busy.send_request(hang).await.unwrap()).await };
    let others = async {
        rig.until_started(1).await;
        let probes = async {
            for seconds in 0..20 {
                let health = rig.send(request("GET", "/healthz", "")).await;
                let ready = rig.send(request("GET", "/readyz", "")).await;
                assert_eq!((health.status, ready.status), (200, 503), "after {seconds} s");
                let call = rig.call("Echo", "\"x\"").await;
                assert_eq!(call.headers["micro-retry"], "safe");
                clock::sleep(Duration::from_secs(1)).await;
            }
            let mut http = http2(rig.dial()).await;
            let body = http_body_util::Empty::new().map_err(|never| match never {});
            let body = http_body_util::combinators::BoxBody::new(body);
            let probe = Request::get("http://localhost/healthz").body(body).unwrap();
            assert_eq!(http.send_request(probe).await.unwrap().status(), 200);
            rig.seen.release.notify_waiters();
        };
        let (left, ()) = tokio::join!(rig.server.drain(after(30)), probes);
        assert_eq!(left, 0);
        assert_eq!(rig.send(request("GET", "/healthz", "")).await.status, 200, "nothing runs");
    };
    let (hang, ()) = tokio::join!(hang, others);
    assert_eq!(hang.status, 200);
}

#[tokio::test(start_paused = true)]
async fn draining_gives_up_at_its_deadline_and_closing_cuts() {
    let rig = Rig::plain();
    let mut http = rig.http1().await;
    let hang = http.send_request(with(post("Hang", ""), "timeout", "100s"));
    let others = async {
        rig.until_started(1).await;
        let start = clock::now();
        assert_eq!(rig.server.drain(after(25)).await, 1);
        assert_eq!((clock::now() - start).as_secs(), 25);
        rig.server.port.scope.shutdown.close();
        assert_eq!(rig.server.idle(after(1)).await, 0);
    };
    let (hang, ()) = tokio::join!(hang, others);
    assert!(hang.is_err());
    let tasks = &rig.server.port.scope.tasks;
    assert_eq!((rig.dropped(), tasks.wait(after(1)).await), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_route_of_the_users_counts_as_a_call() {
    let (entered, release) = (Arc::new(tokio::sync::Notify::new()), Arc::default());
    let route = {
        let (entered, release) =
            (Arc::clone(&entered), Arc::<tokio::sync::Notify>::clone(&release));
        axum::routing::get(async move || {
            entered.notify_one();
            release.notified().await;
            "done"
        })
    };
    let mut limits = Limits::default();
    limits.call.in_flight_max = 1;
    let user = axum::Router::new().route("/slow", route);
    let rig = Rig::new(|builder| builder.router(user).limits(limits));
    let slow = rig.send(request("GET", "/slow", ""));
    let others = async {
        entered.notified().await;
        assert_eq!(rig.server.in_flight(), 1);
        let refused = rig.send(request("GET", "/slow", "")).await;
        assert_eq!(
            (refused.status, &refused.headers["micro-retry"]),
            (503, &"safe".parse().unwrap())
        );
        assert_eq!(rig.server.drain(after(5)).await, 1, "it is cut, and that is said");
        release.notify_one();
    };
    let (slow, ()) = tokio::join!(slow, others);
    assert_eq!((slow.status, rig.server.in_flight()), (200, 0));
}

#[tokio::test(start_paused = true)]
async fn http2_says_goodbye_and_finishes() {
    let rig = Rig::plain();
    let mut http = http2(rig.dial()).await;
    let body = http_body_util::Empty::new().map_err(|never| match never {});
    let body = http_body_util::combinators::BoxBody::new(body);
    let request = Request::post("http://localhost/sample/Sample.Hang").body(body).unwrap();
    let hang = http.send_request(request);
    let others = async {
        rig.until_started(1).await;
        let release = async {
            clock::sleep(Duration::from_secs(1)).await;
            rig.seen.release.notify_waiters();
        };
        let (left, ()) = tokio::join!(rig.server.drain(after(30)), release);
        assert_eq!(left, 0);
    };
    let (hang, ()) = tokio::join!(hang, others);
    assert_eq!(hang.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_greets_while_the_server_drains_is_told_so() {
    let rig = Rig::plain();
    let mut pipe = rig.dial();
    pipe.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    clock::sleep(Duration::from_millis(1)).await;
    let greeting = async {
        clock::sleep(LINGER / 2).await;
        pipe.write_all(b"\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut all = Vec::new();
        // A frame of kind 7: no more streams on this connection.
        while !frames(&all).contains(&7) {
            assert_ne!(pipe.read_buf(&mut all).await.unwrap(), 0, "{:?}", frames(&all));
        }
        drop(pipe);
    };
    let greeting = clock::timeout(LINGER * 2, greeting);
    let (left, greeted) = tokio::join!(rig.server.drain(after(30)), greeting);
    assert_eq!(left, 0);
    greeted.unwrap();
}

/// The kinds of the HTTP/2 frames in what a server sent.
fn frames(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        kinds.push(*kind);
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        bytes = rest.get(length..).unwrap_or_default();
    }
    kinds
}
