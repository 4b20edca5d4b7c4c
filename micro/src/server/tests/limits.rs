//! Every bound at it, above it and far above it.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_body_at_the_limit_passes_and_above_it_is_a_413() {
    let rig = Rig::limited(|limits| limits.message.bytes_max = 1000);
    for (bytes, status) in [(1000, 200), (1001, 413), (10_000, 413)] {
        let body = format!("\"{}\"", "x".repeat(bytes - 2));
        let got = rig.call("Echo", &body).await;
        assert_eq!(got.status, status, "{bytes}");
        if status == 413 {
            assert_eq!(got.error().code(), 413);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_declared_length_past_the_limit_is_answered_before_the_body_comes() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rig = Rig::plain();
    for declared in ["4194305", "99999999999"] {
        let mut pipe = rig.dial();
        let head = format!(
            "POST /sample/Sample.Echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: {declared}\r\n\r\n"
        );
        pipe.write_all(head.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).await.unwrap();
        let text = String::from_utf8(all).unwrap();
        assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_past_the_limit_wait_and_those_past_the_queue_are_refused() {
    let rig = Rig::limited(|limits| {
        limits.call.in_flight_max = 2;
        limits.call.default_timeout = Duration::from_secs(100);
    });
    let mut pending = Vec::new();
    for _ in 0..2 {
        let mut http = rig.http1().await;
        pending.push(Box::pin(async move {
            got(http.send_request(post("Hang", "")).await.unwrap()).await
        }));
    }
    let fill = futures_util::future::join_all(&mut pending);
    tokio::select! {
        _ = fill => panic!("nothing was released"),
        () = rig.until_started(2) => {}
    }
    assert_eq!(rig.server.in_flight(), 2);
    let mut outcomes = Vec::new();
    for request in 0..20 {
        let mut http = rig.http1().await;
        outcomes.push(async move {
            let start = clock::now();
            let got = got(http.send_request(post("Echo", "\"x\"")).await.unwrap()).await;
            assert_eq!(got.headers["micro-retry"], "safe", "{request}");
            assert!(got.headers.contains_key("retry-after"));
            (got.status, clock::now() - start)
        });
    }
    let outcomes = futures_util::future::join_all(outcomes).await;
    let refused = outcomes.iter().filter(|(status, took)| *status == 429 && took.is_zero()).count();
    let waited = outcomes.iter().filter(|(status, took)| *status == 503 && took.as_secs() == 1);
    assert_eq!((refused, waited.count()), (18, 2));
    rig.seen.release.notify_waiters();
    for done in futures_util::future::join_all(pending).await {
        assert_eq!(done.status, 200);
    }
    assert_eq!(rig.server.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_share_of_its_time_and_no_longer() {
    let rig = Rig::limited(|limits| {
        limits.call.in_flight_max = 1;
        limits.call.queue_wait_max = Duration::from_secs(2);
        limits.call.queue_wait_percent = 20;
    });
    let mut busy = rig.http1().await;
    let hang = busy.send_request(with(post("Hang", ""), "timeout", "1000s"));
    let others = async {
        rig.until_started(1).await;
        for (timeout, millis) in [("1s", 200), ("5s", 1000), ("10s", 2000), ("100s", 2000)] {
            let start = clock::now();
            let waited = rig.send(with(post("Echo", "\"x\""), "timeout", timeout)).await;
            assert_eq!(waited.status, 503, "{timeout}");
            // Timers count whole milliseconds.
            let late = (clock::now() - start).as_millis() - millis;
            assert!(late <= 1, "{timeout} {late}");
        }
        rig.seen.release.notify_waiters();
    };
    assert_eq!(tokio::join!(hang, others).0.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn r15_a_repeated_call_does_not_wait_for_room() {
    let rig = Rig::limited(|limits| {
        limits.call.in_flight_max = 1;
        limits.call.queue_wait_max = Duration::from_secs(2);
    });
    let mut busy = rig.http1().await;
    let hang = busy.send_request(with(post("Hang", ""), "timeout", "1000s"));
    let others = async {
        rig.until_started(1).await;
        let waits = [("1", 503, 2), ("2", 429, 0), ("7", 429, 0), ("many", 503, 2)];
        for (attempt, status, seconds) in waits {
            let start = clock::now();
            let echo = with(post("Echo", "\"x\""), "timeout", "100s");
            let refused = rig.send(with(echo, "x-attempt", attempt)).await;
            let took = (clock::now() - start).as_secs();
            assert_eq!((refused.status, took), (status, seconds), "{attempt}");
            assert_eq!(refused.headers["micro-retry"], "safe", "{attempt}");
        }
        rig.seen.release.notify_waiters();
    };
    assert_eq!(tokio::join!(hang, others).0.unwrap().status(), 200);
    // Where there is room it runs as any other.
    let repeated = rig.send(with(post("Echo", "\"x\""), "x-attempt", "2")).await;
    assert_eq!(repeated.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_queued_call_runs_when_there_is_room() {
    let rig = Rig::limited(|limits| limits.call.in_flight_max = 1);
    let hang = rig.call("Hang", "");
    let queued = async {
        rig.until_started(1).await;
        let mut http = rig.http1().await;
        let queued = http.send_request(post("Echo", "\"x\""));
        let release = async {
            clock::sleep(Duration::from_millis(500)).await;
            rig.seen.release.notify_waiters();
        };
        let (response, ()) = tokio::join!(queued, release);
        got(response.unwrap()).await
    };
    let (hang, queued) = tokio::join!(hang, queued);
    assert_eq!((hang.status, queued.status), (200, 200));
    assert_eq!(rig.server.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_has_its_own_limit() {
    let rig = Rig::limited(|limits| limits.call.in_flight_per_endpoint_max = Some(1));
    let hang = rig.call("Hang", "");
    let others = async {
        rig.until_started(1).await;
        let other = rig.call("Echo", "\"x\"").await;
        let same = rig.call("Hang", "").await;
        rig.seen.release.notify_waiters();
        (other.status, same.status)
    };
    let (hang, others) = tokio::join!(hang, others);
    assert_eq!((hang.status, others), (200, (200, 503)));
}

#[tokio::test(start_paused = true)]
async fn slots_are_given_back_after_panics_failures_and_timeouts() {
    let rig = Rig::limited(|limits| limits.call.in_flight_max = 1);
    for round in 0..100 {
        for (endpoint, body, status) in [
            ("Panic", "", 500),
            ("Fail", "", 409),
            ("Echo", "{", 400),
            ("Count", "20", 200),
            ("Brief", "", 504),
        ] {
            assert_eq!(rig.call(endpoint, body).await.status, status, "{endpoint} {round}");
            assert_eq!(rig.server.in_flight(), 0, "{endpoint} {round}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_connections_close_the_idle_ones_first() {
    let rig = Rig::limited(|limits| limits.connection.total_max = 3);
    let mut first = rig.http1().await;
    let hang = first.send_request(post("Hang", ""));
    let others = async {
        rig.until_started(1).await;
        for _ in 0..30 {
            assert_eq!(rig.call("Echo", "\"x\"").await.status, 200);
            assert!(rig.server.connections() <= 4);
        }
        rig.seen.release.notify_waiters();
    };
    let (hang, ()) = tokio::join!(hang, others);
    assert_eq!(hang.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_head_past_its_limits_is_refused() {
    let rig = Rig::plain();
    for (count, status) in [(60, 200), (70, 400), (150, 431)] {
        let mut request = post("Echo", "\"x\"");
        for n in 0..count {
            let name = http::HeaderName::try_from(format!("k{n}")).unwrap();
            request.headers_mut().insert(name, http::HeaderValue::from_static("v"));
        }
        assert_eq!(rig.send(request).await.status, status, "{count}");
    }
}
