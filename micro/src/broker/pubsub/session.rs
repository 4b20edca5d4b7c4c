//! Connections to a server that answered, and one request on one of them.

use std::sync::OnceLock;
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::calls::Call;

/// Connections on which subscriptions wait for messages. Google's servers take 100 requests at a
/// time on one, and a process has 1,000 subscriptions.
const POLLING_MAX: usize = 16;

/// Silence on a connection with a request that waits, after which its other end is asked: nothing
/// else tells one that is dead from one without messages. Servers that gRPC made, such as the
/// emulator, close a connection for the third such question between two answers, which are at most
/// 90 s apart, and for those without a request that waits: there are none.
const SILENCE: Duration = Duration::from_secs(35);

/// The longest that the other end may take to say that it is there; then the connection is closed.
const SILENCE_WAIT: Duration = Duration::from_secs(5);

/// Bytes of an answer that is read; then fewer messages are asked for.
pub(super) const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A server that answered.
#[derive(Debug)]
pub(super) struct Session {
    /// To the same servers, for connections on which subscriptions wait.
    endpoint: Endpoint,
    /// For all but waiting for messages.
    channel: Channel,
    polling: [OnceLock<Channel>; POLLING_MAX],
}

impl Session {
    pub(super) fn new(endpoint: Endpoint, channel: Channel) -> Self {
        let endpoint = endpoint
            .http2_keep_alive_interval(SILENCE)
            .keep_alive_timeout(SILENCE_WAIT)
            .keep_alive_while_idle(false);
        Self { endpoint, channel, polling: Default::default() }
    }

    /// Returns the connection for what is answered at once.
    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Returns the connection on which a subscription waits, by its number.
    pub(super) fn polling(&self, number: u64) -> &Channel {
        let at = usize::try_from(number).unwrap_or_default() % POLLING_MAX;
        let channel = self.polling.get(at).unwrap_or(&self.polling[0]);
        channel.get_or_init(|| self.endpoint.connect_lazy())
    }
}

/// Asks one question.
pub(super) async fn unary<Q, A>(
    channel: &Channel,
    call: &Call,
    request: Request<Q>,
) -> Result<A, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut client = Grpc::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
    client.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    let (path, codec) = (PathAndQuery::from_static(call.path), ProstCodec::<Q, A>::default());
    Ok(client.unary(request, path, codec).await?.into_inner())
}
