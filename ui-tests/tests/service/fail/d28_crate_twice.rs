use micro::prelude::*;

#[service(crate = micro, crate = micro)] //~
struct Mailer {
    client: Client,
}

fn main() {
    let _ = |mailer: Mailer| mailer.client;
}
