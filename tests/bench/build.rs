//! Generates tonic's client and server stubs from a definition in Rust, so that no `protoc` is
//! needed. The result is what `tonic-prost-build` would write for the equivalent `.proto` file.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let method = |name: &str, route: &str, input: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(input)
            .output_type("crate::message::Message")
            .codec_path("tonic_prost::ProstCodec")
    };
    let echo = method("echo", "Echo", "crate::message::Message").build();
    let produce = method("produce", "Produce", "crate::message::Order").server_streaming().build();
    let service =
        Service::builder().name("Bench").package("bench").method(echo).method(produce).build();
    Builder::new().compile(&[service]);
}
