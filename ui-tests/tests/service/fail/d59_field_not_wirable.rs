use micro::prelude::*;

struct Pool;

#[service]
struct Mailer {
    pool: Pool, //~
}

fn main() {
    let _ = Mailer { pool: Pool }.pool;
}
