//! Calls of every kind.

use super::*;
use crate::auth::Handle;
use crate::server::Guard;
use crate::server::testing::Two;

async fn answers(rig: &Rig, endpoint: &str, says: &[&str]) -> Vec<Seen> {
    let mut client = rig.socket(endpoint).await;
    for words in says {
        client.say(words).await;
    }
    client.all().await
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_call_ends_with_a_goodbye() {
    let rig = Rig::plain();
    let done = closed(1000);
    for (endpoint, sent, received) in [
        ("Echo", &["\"x\""][..], &["\"x\""][..]),
        ("Echo", &["\"x\"", ""], &["\"x\""]),
        ("Count", &["3"], &["0", "1", "2"]),
        ("Count", &["0"], &[]),
        ("Sum", &["1", "2", "39", ""], &["42"]),
        ("Sum", &[""], &["0"]),
        ("Double", &["1", "21", ""], &["2", "42"]),
        ("Double", &[""], &[]),
    ] {
        let seen = answers(&rig, endpoint, sent).await;
        let mut expected: Vec<_> = received.iter().map(|text| says(text)).collect();
        expected.push(done.clone());
        assert_eq!(seen, expected, "{endpoint} {sent:?}");
    }
    rig.until_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn requests_and_responses_interleave() {
    let rig = Rig::plain();
    let mut client = rig.socket("Double").await;
    for (number, doubled) in [("1", "2"), ("2", "4"), ("300", "600")] {
        client.say(number).await;
        assert_eq!(client.next().await, says(doubled));
    }
    assert_eq!(rig.server.in_flight(), 2, "the call, and the connection that is not HTTP's");
    client.say("").await;
    assert_eq!(client.all().await, [closed(1000)]);
    rig.until_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_subprotocol_chooses_the_codec_of_binary_messages() {
    let rig = Rig::plain();
    let offered = "sec-websocket-protocol: chat, micro.msgpack, micro.json\r\n";
    let (mut client, response) =
        Client::over(rig.dial(), "/sample/Sample.Double", offered).await.unwrap();
    assert!(response.contains("sec-websocket-protocol: micro.msgpack\r\n"), "{response}");
    client.send(&frame(FIN | BINARY, &[7])).await;
    assert_eq!(client.next().await, Seen::Binary(vec![14]));
    client.say("").await;
    assert_eq!(client.all().await, [closed(1000)]);
    let plain = Client::over(rig.dial(), "/sample/Sample.Double", "").await.unwrap().1;
    assert!(!plain.contains("sec-websocket-protocol"), "{plain}");
}

#[tokio::test(start_paused = true)]
async fn an_error_is_the_last_message_and_the_close_code() {
    let rig = Rig::plain();
    for (endpoint, sent, messages, code) in [
        ("Fail", "null", 0, 4409),
        ("Panic", "null", 0, 4500),
        ("Echo", "7", 0, 4400),
        ("Echo", "{", 0, 4400),
        ("Hang", "null", 0, 4504),
        ("Brief", "null", 0, 4504),
        ("Count", "8", 1, 4409),
        ("Count", "20", 13, 4500),
        ("Sum", "x", 0, 4400),
        ("Double", "x", 0, 4400),
    ] {
        let seen = answers(&rig, endpoint, &[sent]).await;
        let seen: Vec<_> = seen.into_iter().filter(|seen| *seen != Seen::Ping).collect();
        assert_eq!(seen.len(), messages + 2, "{endpoint} {sent}: {seen:?}");
        let Seen::Text(error) = &seen[messages] else { panic!("{seen:?}") };
        let document: serde_json::Value = serde_json::from_str(error).unwrap();
        let error = Error::parse(&document["error"].to_string());
        let Seen::Closed(closed, reason) = &seen[messages + 1] else { panic!("{seen:?}") };
        assert_eq!(*closed, code, "{endpoint} {sent}");
        assert!(error.detail().starts_with(reason.as_str()) && !reason.is_empty(), "{reason}");
    }
    rig.until_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn messages_of_the_wrong_kind_or_number_are_told_so() {
    let rig = Rig::plain();
    for (endpoint, frames, code) in [
        ("Double", vec![frame(FIN | BINARY, b"1")], 4415),
        ("Hang", vec![text("null"), text("null")], 4400),
        ("Sum", vec![text("1"), text(""), text("2")], 4400),
    ] {
        let mut client = rig.socket(endpoint).await;
        client.send(&frames.concat()).await;
        let seen = client.all().await;
        assert!(
            matches!(seen.last(), Some(Seen::Closed(closed, _)) if *closed == code)
                // The sum may have been told before the message came that is one too many.
                || endpoint == "Sum" && seen == [says("1"), closed(1000)],
            "{endpoint}: {seen:?}"
        );
    }
    let offered = "sec-websocket-protocol: micro.msgpack\r\n";
    let mut client = rig.open("/sample/Sample.Double", offered).await.unwrap();
    client.say("1").await;
    assert!(matches!(client.all().await.last(), Some(Seen::Closed(4415, _))));
}

#[tokio::test(start_paused = true)]
async fn headers_of_the_handshake_are_those_of_the_call() {
    let rig = Rig::plain();
    let headers = "tenant: acme\r\ntimeout: 2s\r\nbaggage: a=1\r\n\
                   traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let mut client = rig.open("/sample/Sample.About", headers).await.unwrap();
    client.say("null").await;
    let Seen::Text(about) = client.next().await else { panic!("no answer") };
    for part in [
        "endpoint=Sample.About left=2000 metadata=[tenant=acme] persistent=[a=1]",
        "trace=0af7651916cd43dd8448eb211c80319c current=true",
    ] {
        assert!(about.contains(part), "{about}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_request_does_not_come_ends_by_its_deadline() {
    let rig = Rig::plain();
    let start = clock::now();
    let mut client = rig.open("/sample/Sample.Echo", "timeout: 3s\r\n").await.unwrap();
    let seen = client.all().await;
    assert!(matches!(seen.last(), Some(Seen::Closed(4504, _))), "{seen:?}");
    assert!(clock::now() - start < Duration::from_secs(5));
    rig.until_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_is_refused_where_a_call_would_be() {
    let rig = Rig::plain();
    for (path, headers, status) in [
        ("/sample/Sample.Gone", "", "404"),
        ("/", "", "404"),
        ("/sample/Sample.Echo", "origin: https://evil.example\r\n", "403"),
        ("/sample/Sample.Echo", "sec-fetch-site: cross-site\r\n", "403"),
        ("/rpc", "origin: https://evil.example\r\n", "403"),
        ("/", "origin: https://evil.example\r\nsec-websocket-protocol: micro.native\r\n", "403"),
        ("/sample/Sample.Echo", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", "400"),
        ("/sample/Sample.Echo", "timeout: soon\r\n", "400"),
    ] {
        let response = match Client::over(rig.dial(), path, headers).await {
            Ok((_, response)) | Err(response) => response,
        };
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {headers}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_version_of_the_protocol_is_told_the_one_there_is() {
    let rig = Rig::plain();
    let mut pipe = rig.dial();
    let head = "GET /sample/Sample.Echo HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, close\r\n\
                upgrade: websocket\r\nsec-websocket-version: 8\r\n\r\n";
    pipe.write_all(head.as_bytes()).await.unwrap();
    let mut response = String::new();
    pipe.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 426 "), "{response}");
    assert!(response.contains("sec-websocket-version: 13\r\n"), "{response}");
}

#[tokio::test(start_paused = true)]
async fn a_page_of_an_allowed_origin_calls() {
    let rig = Rig::new(|builder| builder.allow_origin("https://shop.example"));
    let origin = "origin: https://shop.example\r\nsec-fetch-site: cross-site\r\n";
    let mut client = rig.open("/sample/Sample.Echo", origin).await.unwrap();
    client.say("\"x\"").await;
    assert_eq!(client.next().await, says("\"x\""));
}

#[tokio::test(start_paused = true)]
async fn a_token_comes_as_a_header_or_as_a_subprotocol() {
    let auth = Handle::shared(Arc::new(Two::default()));
    let rig = Rig::new(|builder| builder.policy(Arc::new(Guard::new(auth).everywhere())));
    for (headers, status) in [
        ("", "401"),
        ("authorization: Bearer staff\r\n", "101"),
        ("authorization: Bearer forged\r\n", "401"),
        ("sec-websocket-protocol: micro.json, micro.bearer.staff\r\n", "101"),
        ("sec-websocket-protocol: micro.bearer.staff, micro.json\r\n", "101"),
        ("sec-websocket-protocol: micro.bearer.staff\r\n", "101"),
        ("sec-websocket-protocol: micro.json, micro.bearer.forged\r\n", "401"),
        ("sec-websocket-protocol: micro.bearer.\r\n", "401"),
        ("authorization: Bearer staff\r\nsec-websocket-protocol: micro.bearer.staff\r\n", "400"),
    ] {
        let response = match Client::over(rig.dial(), "/sample/Sample.Echo", headers).await {
            Ok((_, response)) | Err(response) => response,
        };
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}: {response}");
        assert!(!response.contains("staff"), "the token is not said again: {response}");
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_are_judged_before_what_nobody_can_decode() {
    let auth = Handle::shared(Arc::new(Two::default()));
    let rig = Rig::new(|builder| builder.policy(Arc::new(Guard::new(auth).everywhere())));
    let staff = "authorization: Bearer staff\r\n";
    let forged = "authorization: Bearer forged\r\n";
    for endpoint in ["Echo", "Count", "Sum"] {
        for headers in ["", forged] {
            let mut pipe = rig.dial();
            let head = format!(
                "GET /sample/Sample.{endpoint} HTTP/1.1\r\nhost: localhost\r\n\
                 connection: upgrade\r\nupgrade: websocket\r\n{KEY}{headers}\r\n"
            );
            // The message is there before anybody is asked who sent it.
            pipe.write_all(&[head.as_bytes(), &text("{")].concat()).await.unwrap();
            let mut first = [0; 12];
            pipe.read_exact(&mut first).await.unwrap();
            assert_eq!(&first, b"HTTP/1.1 401", "{endpoint} {headers}");
        }
        let path = format!("/sample/Sample.{endpoint}");
        let mut client = rig.open(&path, staff).await.unwrap();
        client.say("{").await;
        let seen = client.all().await;
        assert!(matches!(seen.last(), Some(Seen::Closed(4400, _))), "{endpoint}: {seen:?}");
    }
    for (headers, code) in [("", 401), (forged, 401), (staff, 400)] {
        let mut client = rig.open("/rpc", headers).await.unwrap();
        client.say(r#"{"jsonrpc":"2.0","method":"Sample.Echo","params":[7],"id":1}"#).await;
        let Seen::Text(answer) = client.next().await else { panic!("no answer") };
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"]["data"]["code"], code, "{headers}: {answer}");
    }
}
