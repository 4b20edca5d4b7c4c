use micro::prelude::*;

#[service]
struct Mailer {
    #[wire(defualt)] //~
    sent: Client,
}

fn main() {
    let _ = |mailer: Mailer| mailer.sent;
}
