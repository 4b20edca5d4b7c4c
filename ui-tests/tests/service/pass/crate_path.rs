//! The runtime may be known by another name.

#![deny(warnings)]

extern crate micro as rpc;

pub mod facade {
    pub use micro as inner;
}

use rpc::Result;

struct Renamed;

#[rpc::service(crate = rpc)]
impl Renamed {
    #[rpc::handler]
    async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

struct Behind;

#[facade::inner::service(crate = crate::facade::inner)]
impl Behind {
    #[crate::facade::inner::handler]
    async fn helper(&self) -> Result<()> {
        Ok(())
    }
}

#[rpc::service(crate = rpc)]
struct Wired {
    client: RenamedClient,
}

#[rpc::subscriber(topic = "made", crate = rpc)]
async fn on_made(made: u8) -> Result<()> {
    let _ = made;
    Ok(())
}

fn main() {
    assert_eq!(<Renamed as rpc::Serve>::ENDPOINTS.len(), 1);
    let _ = |wired: Wired| wired.client;
    let _ = on_made;
}
