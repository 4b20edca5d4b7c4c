//! Describes the service, as a `.proto` file would.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let hello = Method::builder()
        .name("hello")
        .route_name("Hello")
        .input_type("crate::Message")
        .output_type("crate::Message")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let greeter = Service::builder().name("Greeter").package("greeter").method(hello).build();
    Builder::new().compile(&[greeter]);
}
