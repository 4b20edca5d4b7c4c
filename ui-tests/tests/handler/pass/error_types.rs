//! A handler returns any error that becomes a `micro::Error`.

#![deny(warnings)]

use micro::prelude::*;

enum Fault {
    Gone,
}

impl From<Fault> for Error {
    fn from(_: Fault) -> Self {
        Error::not_found("greeter", "gone")
    }
}

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn ours(&self) -> Result<(), Error> {
        Ok(())
    }

    #[handler]
    async fn theirs(&self) -> std::result::Result<(), Fault> {
        Err(Fault::Gone)
    }

    #[handler]
    async fn streamed(&self) -> Result<Streaming<u8>, Fault> {
        Err(Fault::Gone)
    }

    #[subscriber(topic = "made")]
    async fn on_made(&self, made: u8) -> Result<(), Fault> {
        let _ = made;
        Err(Fault::Gone)
    }
}

fn calls(client: &GreeterClient) -> (Call<()>, Call<Streaming<u8>>) {
    // Inherent clients know our error only: no contract says that theirs can carry it.
    (client.theirs(), client.streamed())
}

fn main() {
    let _ = (calls, Greeter);
}
