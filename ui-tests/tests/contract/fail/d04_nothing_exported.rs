use micro::prelude::*;

#[service]
trait Orders: Send + Sync + 'static { //~
    async fn helper(&self) {}
}

fn main() {}
