//! Every kind of call by every way to a service of this crate.

use super::*;

#[tokio::test]
async fn every_kind_of_call_works_by_both_versions_in_both_formats() {
    let served = Served::start().await;
    for (scheme, format) in WAYS {
        let (lab, to) = served.by(scheme, &format);
        let named = format!("{scheme} {format:?}");
        assert_eq!(
            lab.echo("Ada \u{e9}".to_owned()).to(&to).await.unwrap(),
            "Ada \u{e9}",
            "{named}"
        );
        let counted = lab.count(3).to(&to).await.unwrap().collect(10).await.unwrap();
        assert_eq!(counted, [0, 1, 2], "{named}");
        let many = lab.count(5000).to(&to).await.unwrap().collect(5000).await.unwrap();
        assert_eq!(many.len(), 5000, "{named}");
        let numbers = Streaming::from_iter(1..=100_u32);
        assert_eq!(lab.sum(numbers).to(&to).await.unwrap(), 5050, "{named}");
        let doubled = lab.double(Streaming::from_iter(1..=3_u32)).to(&to).await;
        match scheme {
            "h2c" => assert_eq!(doubled.unwrap().collect(9).await.unwrap(), [2, 4, 6], "{named}"),
            _ => {
                let refused = doubled.unwrap_err();
                assert_eq!(refused.code(), 501);
                assert!(refused.detail().contains("h2c"), "{refused}");
            }
        }
    }
    served.running.stop().await;
}

#[tokio::test]
async fn streams_both_ways_run_in_lockstep() {
    let served = Served::start().await;
    let (lab, to) = served.by("h2c", &Format::MsgPack);
    let (sender, numbers) = Streaming::channel(1);
    let mut doubled = lab.double(numbers).to(&to).await.unwrap();
    for n in 1..20_u32 {
        sender.send(n).await.unwrap();
        assert_eq!(doubled.next().await.unwrap().unwrap(), n * 2);
    }
    drop(sender);
    assert!(doubled.next().await.is_none());
    served.running.stop().await;
}

#[tokio::test]
async fn an_error_comes_back_whole() {
    let served = Served::start().await;
    for (scheme, format) in WAYS {
        let (lab, to) = served.by(scheme, &format);
        let error = lab.fail().to(&to).await.unwrap_err();
        assert_eq!((error.code(), error.detail(), error.id()), (409, "on purpose", "lab.Lab.Fail"));
        assert_eq!((error.details::<u32>(), error.retry()), (Some(7), Retry::Never));
        let mut counted = lab.count(8).to(&to).await.unwrap();
        for n in 0..8 {
            assert_eq!(counted.next().await.unwrap().unwrap(), n);
        }
        let failed = counted.next().await.unwrap().unwrap_err();
        assert_eq!((failed.code(), failed.detail()), (423, "on purpose"), "{scheme} {format:?}");
        assert!(counted.next().await.is_none());
        let lookalikes = lab.lookalikes().to(&to).await.unwrap().collect(9).await;
        // The last of a stream of lines that looks like a failure is taken for one.
        match format {
            Format::Json => assert_eq!(lookalikes.unwrap_err().code(), 2),
            _ => assert_eq!(lookalikes.unwrap().len(), 2),
        }
        let request = Streaming::from_iter([1_u32]);
        let failing = Streaming::channel(1);
        let (sender, numbers): (_, Streaming<u32>) = failing;
        sender.fail(Error::forbidden("here", "no more")).await.unwrap();
        let error = lab.sum(numbers).to(&to).await.unwrap_err();
        assert_eq!((error.code(), error.detail()), (403, "no more"), "{scheme} {format:?}");
        assert_eq!(lab.sum(request).to(&to).await.unwrap(), 1);
    }
    served.running.stop().await;
}

#[tokio::test]
async fn what_a_call_carries_arrives() {
    let served = Served::start().await;
    for (scheme, format) in WAYS {
        let (lab, to) = served.by(scheme, &format);
        let ctx = Context::new().persist("user", "ada, =\u{e9}").unwrap();
        let about = lab.about().to(&to).metadata("tenant", "acme").context(&ctx).await.unwrap();
        let mut parts = about.split(' ');
        assert_eq!(parts.next().unwrap(), "tenant=acme", "{about}");
        assert!(about.contains("user=ada, =\u{e9}"), "{about}");
        assert!(about.ends_with("true"), "{about}");
    }
    let (lab, to) = served.by("http", &Format::Json);
    let error = lab.about().to(&to).metadata("host", "evil.example").await.unwrap_err();
    assert_eq!((error.code(), error.retry()), (400, Retry::Never));
    served.running.stop().await;
}

#[tokio::test]
async fn a_deadline_ends_the_call_and_its_handler() {
    let served = Served::start().await;
    for (turn, (scheme, format)) in WAYS.into_iter().enumerate() {
        let (lab, to) = served.by(scheme, &format);
        let error = lab.hang().to(&to).timeout(Duration::from_millis(100)).await.unwrap_err();
        assert_eq!(error.code(), 408, "{scheme} {format:?}: {error}");
        served.until_dropped(turn + 1).await;
    }
    served.running.stop().await;
}

#[tokio::test]
async fn a_dropped_call_drops_its_handler() {
    let served = Served::start().await;
    for (turn, (scheme, format)) in WAYS.into_iter().enumerate() {
        let (lab, to) = served.by(scheme, &format);
        let call = tokio::time::timeout(Duration::from_secs(60), lab.hang().to(&to));
        tokio::select! {
            _ended = call => panic!("it hangs"),
            () = served.until_started(turn + 1) => {}
        }
        served.until_dropped(turn + 1).await;
    }
    served.running.stop().await;
}

#[tokio::test]
async fn a_reader_that_leaves_a_stream_ends_it() {
    let served = Served::start().await;
    for (turn, (scheme, format)) in WAYS.into_iter().enumerate() {
        let (lab, to) = served.by(scheme, &format);
        let mut flood = lab.flood().to(&to).await.unwrap();
        assert_eq!(flood.next().await.unwrap().unwrap(), "0");
        drop(flood);
        served.until_dropped(turn + 1).await;
        // The way is open for others.
        assert_eq!(lab.echo("x".to_owned()).to(&to).await.unwrap(), "x");
    }
    served.running.stop().await;
}

#[tokio::test]
async fn a_unix_socket_is_as_good_as_a_port() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab.sock");
    let address = format!("unix:{}", path.display());
    let served = Served::with(|service| service.address(address)).await;
    for (scheme, format) in WAYS {
        let (lab, to) = served.by(scheme, &format);
        assert!(to.contains("+unix:"), "{to}");
        assert_eq!(lab.echo("x".to_owned()).to(&to).await.unwrap(), "x", "{to}");
    }
    served.running.stop().await;
}

#[tokio::test]
async fn a_process_may_call_by_http_whatever_it_is_told() {
    let (scope, drivers) = (micro::transport::Scope::default(), micro::driver::Drivers::default());
    for name in ["http", "h2c"] {
        let transport = micro::service::open::transport(name, &scope, &drivers).unwrap();
        assert_eq!((transport.name(), transport.has_listener()), (name, false));
        let lab = Lab::default();
        let http = if name == "http" { Http::new() } else { Http::h2c() };
        let service = Service::new("lab").no_env().registry(Memory::new()).transport(http);
        let running = service.mount(lab).start().await.unwrap();
        let lab: LabClient = running.client();
        assert_eq!(lab.echo("x".to_owned()).await.unwrap(), "x", "{name}");
        running.stop().await;
    }
}

#[tokio::test]
async fn many_calls_at_once_find_their_answers() {
    let served = Served::start().await;
    for (scheme, format) in WAYS {
        let (lab, to) = served.by(scheme, &format);
        let calls = (0..300).map(|n| {
            let call = lab.echo(n.to_string()).to(&to);
            async move { call.await.unwrap() == n.to_string() }
        });
        let right = futures_util::future::join_all(calls).await;
        assert!(right.into_iter().all(|right| right), "{scheme} {format:?}");
    }
    served.running.stop().await;
}

#[tokio::test]
async fn a_node_that_stops_loses_no_call_that_it_took() {
    for scheme in ["http", "h2c"] {
        let served = Served::start().await;
        let (lab, to) = served.by(scheme, &Format::Json);
        let calls = (0..50).map(|_| {
            let (lab, to) = (lab.clone(), to.clone());
            async move {
                let mut done = 0;
                // Progress: the node stops, and then refuses.
                loop {
                    match lab.echo("x".to_owned()).to(&to).retries(0).await {
                        Ok(_) => done += 1,
                        Err(error) => return (done, error),
                    }
                }
            }
        });
        let calls = futures_util::future::join_all(calls);
        let stopped = async {
            served.until_started(200).await;
            served.running.stop().await;
        };
        let (ended, ()) = tokio::join!(calls, stopped);
        let (answered, ran) = (
            ended.iter().map(|(done, _)| done).sum::<usize>(),
            served.seen.started.load(Ordering::SeqCst),
        );
        assert_eq!(answered, ran, "{scheme}: every call that ran was answered");
        for (_, error) in ended {
            assert_eq!(error.retry(), Retry::Safe, "{scheme}: {error:?}");
        }
    }
}
