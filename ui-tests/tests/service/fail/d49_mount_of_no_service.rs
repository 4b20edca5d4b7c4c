struct Plain;

fn served<S: micro::Serve>(_: S) {}

fn main() {
    served(Plain); //~
}
