use micro::prelude::*;

#[service]
async fn run() {} //~

fn main() {}
