use micro::prelude::*;

#[derive(Debug)]
struct Fault;

impl From<Fault> for micro::Error {
    fn from(_: Fault) -> Self {
        micro::Error::internal("orders", "fault")
    }
}

#[service]
trait Orders: Send + Sync + 'static {
    #[handler]
    async fn count(&self) -> Result<u64, Fault>; //~
}

fn main() {}
