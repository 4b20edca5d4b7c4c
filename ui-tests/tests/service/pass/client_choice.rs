//! The client is named after the service, or as told, or not made.

#![deny(warnings)]

use micro::prelude::*;

struct First;
struct Second;
struct ThirdClient;
struct Third;

#[service]
impl First {
    #[handler]
    async fn one(&self) -> Result<()> {
        Ok(())
    }
}

#[service(client = Caller)]
impl Second {
    #[handler]
    async fn two(&self) -> Result<()> {
        Ok(())
    }
}

#[service(client = none)]
impl Third {
    #[handler]
    async fn three(&self) -> Result<()> {
        Ok(())
    }
}

fn calls(first: &FirstClient, second: &Caller) -> (Call<()>, Call<()>) {
    (first.one(), second.two())
}

fn main() {
    let _ = calls;
    let _ = (First, Second, Third, ThirdClient);
}
