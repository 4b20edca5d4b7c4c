//! The suite against the transports of this crate, and against transports with one flaw each.

mod broken;
#[cfg(feature = "server")]
mod port;

use self::broken::{Broken, Flaw};
use super::*;
use crate::transport::{Memory, Native};

async fn passes(make: impl AsyncFn() -> Result<Subject>) {
    conformance(make).await.unwrap_or_else(|failures| panic!("{failures}"));
}

fn in_memory(transport: Arc<dyn Transport>) -> Result<Subject> {
    Ok(Subject::new(transport, "memory:here".parse()?, "memory:nowhere".parse()?))
}

/// Returns an address of a port that is taken and on which nobody listens, and what takes it.
fn nobody() -> (Address, tokio::net::TcpSocket) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap().to_string().parse().unwrap(), socket)
}

fn over_tcp(transport: Arc<dyn Transport>) -> Result<Subject> {
    let (nowhere, taken) = nobody();
    Ok(Subject::new(transport, "127.0.0.1:0".parse()?, nowhere).with_guard(taken))
}

#[tokio::test(start_paused = true)]
async fn memory_conforms() {
    passes(async || in_memory(Arc::new(Memory::new()))).await;
}

#[tokio::test]
async fn native_over_tcp_conforms() {
    passes(async || over_tcp(Arc::new(Native))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_over_tcp_conforms_on_many_threads() {
    passes(async || over_tcp(Arc::new(Native))).await;
}

#[tokio::test]
async fn native_over_a_unix_socket_conforms() {
    passes(async || {
        let temp = tempfile::tempdir().unwrap();
        let at = |name| format!("unix:{}", temp.path().join(name).display()).parse();
        Ok(Subject::new(Arc::new(Native), at("here")?, at("nowhere")?).with_guard(temp))
    })
    .await;
}

#[cfg(feature = "quic")]
#[tokio::test]
async fn quic_conforms() {
    use crate::transport::Quic;
    use crate::transport::tls::Roots;
    use crate::transport::tls::files::tests::{Office, Wanted};
    passes(async || {
        let office = Office::open();
        office.keep("server", &Wanted::of("127.0.0.1"));
        let roots = Arc::new(Roots::open(office.client())?);
        let quic = Arc::new(Quic::new().serving(office.files()).trusting(roots));
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let nowhere = taken.local_addr().unwrap().to_string().parse()?;
        Ok(Subject::new(quic, "127.0.0.1:0".parse()?, nowhere).with_guard((office.folder, taken)))
    })
    .await;
}

#[cfg(feature = "tls")]
mod tls {
    use bytes::BytesMut;

    use super::*;
    use crate::auth::authority::{self, Authority, AuthorityConfig};
    use crate::core::exchange::{Connection, Dispatch};
    use crate::core::net::Listener;
    use crate::core::shutdown::TaskTracker;
    use crate::store;
    use crate::transport::tls::{Identity, Tls, accept};
    use crate::transport::{Scope, native};

    /// Serves inside of TLS, as the one port of a server does.
    #[derive(Debug)]
    struct Sealing(Arc<Identity>);

    impl Transport for Sealing {
        fn name(&self) -> &'static str {
            "native"
        }

        fn dial<'a>(
            &'a self,
            address: &'a Address,
            scope: &'a Scope,
        ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
            Box::pin(async move { Tls::new(Arc::clone(&self.0)).dial(address, scope).await })
        }

        fn listen<'a>(
            &'a self,
            address: &'a Address,
            dispatch: Arc<dyn Dispatch>,
            scope: &'a Scope,
        ) -> BoxFuture<'a, Result<Address>> {
            Box::pin(async move {
                let listener = Listener::bind(address).await?;
                let bound = listener.address()?;
                let (own, identity) = (scope.clone(), Arc::clone(&self.0));
                scope.tasks.spawn("listener", async move {
                    loop {
                        let accepted = tokio::select! {
                            accepted = listener.accept() => accepted.unwrap(),
                            () = own.shutdown.draining() => return,
                        };
                        let (scope, identity) = (own.clone(), Arc::clone(&identity));
                        let dispatch = Arc::clone(&dispatch);
                        own.tasks.spawn("connection", async move {
                            let taken = accept(accepted, BytesMut::new(), &identity).await;
                            if let Ok(taken) = taken {
                                let prefix = BytesMut::new();
                                native::serve(taken.stream, prefix, dispatch, &scope).await;
                            }
                        });
                    }
                });
                Ok(bound)
            })
        }
    }

    #[tokio::test]
    async fn native_inside_of_tls_conforms() {
        let database = store::Handle::new(store::Memory::new()).database("micro.auth").unwrap();
        authority::init(&database, &AuthorityConfig::new("test.local")).await.unwrap();
        let authority = Authority::open(&database, &TaskTracker::new()).await.unwrap();
        let identity = Arc::new(authority.identity(4).unwrap());
        authority.certify(&identity).unwrap();
        passes(async || over_tcp(Arc::new(Sealing(Arc::clone(&identity))))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_serves_is_asked_for_what_it_does_not_carry() {
    let unary_only = async || {
        let subject = in_memory(Arc::new(Memory::new()))?;
        Ok(subject.with_kinds([CallKind::Unary]))
    };
    let failures = conformance(unary_only).await.expect_err("it carries all");
    assert_eq!(
        failures.names().collect::<Vec<_>>(),
        ["call_kinds_that_are_not_carried_are_refused"]
    );
}

/// Every flaw, and a claim that must catch it.
const FLAWS: [(Flaw, &str); 37] = [
    (Flaw::BlursDialing, "where_nobody_listens_nothing_runs"),
    (Flaw::ListensTwice, "an_address_has_one_listener"),
    (Flaw::ForgetsDeadlines, "the_head_arrives_whole"),
    (Flaw::WaitsOn, "a_deadline_ends_the_call_on_both_sides"),
    (Flaw::DropsMetadata, "the_head_arrives_whole"),
    (Flaw::DropsPersistent, "the_head_arrives_whole"),
    (Flaw::DropsTraces, "the_head_arrives_whole"),
    (Flaw::ShowsCredentials, "the_head_arrives_whole"),
    (Flaw::SpeaksAsciiOnly, "metadata_in_any_script_arrives_unchanged"),
    (Flaw::CutsLongMessages, "large_messages_arrive_whole"),
    (Flaw::TrimsMessages, "messages_arrive_byte_for_byte"),
    (Flaw::IgnoresLimits, "requests_beyond_the_limit_of_the_server_are_refused"),
    (Flaw::RunsOneAtATime, "a_slow_call_holds_up_no_other"),
    (Flaw::MixesAnswers, "many_calls_get_their_own_answers"),
    (Flaw::GathersRequests, "both_streams_run_at_a_time"),
    (Flaw::GathersResponses, "responses_come_as_they_are_made"),
    (Flaw::EndsFailedRequests, "requests_that_fail_are_no_clean_end"),
    (Flaw::EndsFailedStreams, "a_stream_keeps_what_came_before_its_error"),
    (Flaw::EndsCutStreams, "a_server_that_closes_ends_no_stream_cleanly"),
    (Flaw::LosesTheLast, "responses_arrive_in_order_and_end"),
    (Flaw::Reorders, "responses_arrive_in_order_and_end"),
    (Flaw::Hoards, "a_stopped_reader_holds_its_producer_and_nobody_else"),
    (Flaw::BlursCodes, "errors_keep_what_they_say"),
    (Flaw::DropsDetails, "errors_keep_what_they_say"),
    (Flaw::BlursTheUnknown, "an_unknown_endpoint_is_not_found"),
    (Flaw::BlursRefusals, "a_refusal_is_safe_to_repeat"),
    (Flaw::SwearsNothingRan, "an_error_of_a_handler_is_never_safe_to_repeat"),
    (Flaw::SwearsNothingRan, "a_server_that_closes_leaves_outcomes_unknown"),
    (Flaw::RunsOn, "a_dropped_call_reaches_its_handler"),
    (Flaw::KeepsRequests, "a_dropped_call_lets_go_of_its_requests"),
    (Flaw::ServesOn, "a_server_that_drains_finishes_what_runs_and_takes_no_more"),
    (Flaw::CutsOnDrain, "a_connection_that_drains_finishes_what_runs_and_takes_no_more"),
    (Flaw::NeverDrains, "a_connection_that_drains_finishes_what_runs_and_takes_no_more"),
    (Flaw::NeverCloses, "a_closed_connection_ends_its_calls"),
    (Flaw::NeverSaysClosed, "a_closed_connection_ends_its_calls"),
    (Flaw::SaysOpen, "a_closed_connection_ends_its_calls"),
    (Flaw::LeavesTasks, "dropped_calls_leave_no_task"),
];

#[tokio::test(start_paused = true)]
async fn a_broken_transport_without_a_flaw_conforms() {
    passes(async || in_memory(Arc::new(Broken::new(Flaw::None)))).await;
}

#[tokio::test(start_paused = true)]
async fn broken_transports_fail() {
    for (flaw, name) in FLAWS {
        let claim = CLAIMS.iter().find(|claim| claim.name == name).expect(name);
        let subject = in_memory(Arc::new(Broken::new(flaw))).unwrap();
        claim.examine(&subject).await.expect_err(&format!("{flaw:?} passes {name}"));
    }
}
