use micro::prelude::*;

struct Greeter;

#[service]
impl Greeter { //~
    async fn helper(&self) {}
}

fn main() {
    // The service is still one: mounting it is no second mistake.
    fn served<S: micro::Serve>(_: S) {}
    served(Greeter);
    Greeter.helper();
}
