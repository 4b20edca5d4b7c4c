use micro::prelude::*;

#[derive(serde::Serialize, serde::Deserialize)]
struct Reply;

struct Greeter;

#[service]
impl Greeter {
    #[handler(timeout = 5, colour = "red")] //~
    pub unsafe fn hello<T>(&mut self, name: &str, ctx: Context, other: T) -> Reply { //~
        Reply
    }
}

fn main() {}
