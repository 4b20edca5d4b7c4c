//! The inbox of a process that has no port of its own, as a transport serves it.

use std::sync::Arc;

use crate::broker::inbox::INBOX_ENDPOINT;
use crate::broker::inbox::INBOX_NODE;
use crate::broker::inbox::INBOX_SERVICE;
use crate::broker::inbox::Inbox;
use crate::core::context::Context;
use crate::core::descriptor::CallKind;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::exchange::Dispatch;
use crate::core::exchange::Inbound;
use crate::core::exchange::Outgoing;
use crate::core::exchange::Running;
use crate::core::exchange::Target;

use super::ERROR_ID;

/// Serves the one endpoint that an inbox has.
#[derive(Debug)]
pub(super) struct Door {
    inbox: Arc<dyn Inbox>,
}

impl Door {
    pub(super) fn new(inbox: Arc<dyn Inbox>) -> Self {
        Self { inbox }
    }
}

impl Dispatch for Door {
    fn resolve(&self, service: &str, endpoint: &str) -> Result<Target> {
        if service == INBOX_SERVICE && endpoint == INBOX_ENDPOINT {
            return Ok(Target::new(0, CallKind::Bidi));
        }
        let text = format!("there is {INBOX_SERVICE}/{INBOX_ENDPOINT} and nothing else");
        Err(Error::not_found(ERROR_ID, text))
    }

    fn dispatch(&self, call: Inbound) -> Result<Running> {
        let extra = call.extra.as_deref();
        let node = extra.and_then(|extra| extra.metadata.get(INBOX_NODE)).unwrap_or_default();
        let missing = || Error::bad_request(ERROR_ID, "copies come as a stream");
        let copies = call.messages.ok_or_else(missing)?;
        let answers = self.inbox.link(node, copies)?;
        let answered = std::future::ready(Ok(Outgoing::Stream(answers)));
        Ok(Running::new(Context::default(), Box::pin(answered)))
    }
}
