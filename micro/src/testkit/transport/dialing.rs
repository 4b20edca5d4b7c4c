//! Claims about dialing and listening.

use bytes::Bytes;

use crate::core::descriptor::CallKind;
use crate::core::error::{Result, Retry};
use crate::core::limits::Limits;
use crate::testkit::transport::lab::{ENDPOINTS, Lab};
use crate::testkit::transport::sources;
use crate::testkit::transport::stand::{Stand, Words, opened, reply, scope};
use crate::testkit::transport::{ALL_KINDS, Subject, Verdict, ensure, must};

pub(super) async fn a_bound_address_can_be_dialed(subject: &Subject) -> Verdict {
    ensure(!subject.client.name().is_empty(), || "the transport has no name".to_owned())?;
    let stand = Stand::new(subject).await?;
    let open = stand.connection.is_open() && !stand.connection.is_full();
    ensure(open, || "a connection that was just dialed takes no call".to_owned())?;
    stand.answers().await?;
    // A second caller shares nothing with the first.
    let scope = scope(Limits::default());
    let second = must("dial again", stand.dialer.dial(&stand.bound, &scope).await)?;
    stand.connection.close();
    let body = Bytes::from_static(b"2");
    let called = stand.call_on(&second, "Lab.Echo", body, Words::default()).await;
    let answer = must("a call", reply(must("a call", called)?).await)?;
    second.close();
    ensure(answer == "2", || format!("a call was told {answer:?}"))
}

pub(super) async fn where_nobody_listens_nothing_runs(subject: &Subject) -> Verdict {
    // Somebody listens elsewhere, so that the name or port alone tells.
    let stand = Stand::new(subject).await?;
    let outcome = called_at(&stand, &subject.nowhere).await;
    match outcome {
        Ok(answer) => Err(format!("a call to nobody was told {answer:?}")),
        Err(error) => ensure(error.retry() == Retry::Safe && error.code() == 503, || {
            format!("a call to nobody is {:?} to repeat: {error:?}", error.retry())
        }),
    }
}

/// Dials an address and calls there; some transports learn by the call that nobody listens.
pub(super) async fn called_at(stand: &Stand, address: &crate::core::net::Address) -> Result<Bytes> {
    let dialed = stand.dialer.dial(address, &stand.client).await?;
    let body = Bytes::from_static(b"1");
    let outcome = match stand.call_on(&dialed, "Lab.Echo", body, Words::default()).await {
        Ok(exchange) => reply(exchange).await,
        Err(error) => Err(error),
    };
    dialed.close();
    outcome
}

pub(super) async fn an_address_has_one_listener(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    let other = std::sync::Arc::new(Lab::new());
    let scope = scope(Limits::default());
    let second = subject.server.listen(&stand.bound, other, &scope).await;
    scope.shutdown.close();
    ensure(second.is_err(), || format!("{} has two listeners", stand.bound))?;
    stand.answers().await
}

pub(super) async fn call_kinds_that_are_not_carried_are_refused(subject: &Subject) -> Verdict {
    let stand = Stand::new(subject).await?;
    for kind in ALL_KINDS.iter().filter(|kind| !subject.kinds.contains(kind)) {
        let named = ENDPOINTS.iter().find(|(_, of)| of == kind);
        let (name, _) = named.ok_or_else(|| format!("no endpoint is a {kind:?}"))?;
        let source = kind.streams_requests().then(|| sources::numbers(1, None));
        let words = Words { source, ..Words::default() };
        let outcome = match stand.call(name, "1", words).await {
            Err(error) => Err(error),
            Ok(exchange) if *kind == CallKind::ClientStream => reply(exchange).await.map(drop),
            Ok(exchange) => opened(exchange).await.map(drop),
        };
        let code = outcome.as_ref().map_or_else(crate::core::error::Error::code, |()| 200);
        ensure(code == 501, || format!("a call of kind {kind:?} returns {outcome:?}"))?;
    }
    stand.answers().await
}
