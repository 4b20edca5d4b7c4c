//! A service as the first page of a manual has it.

use micro::prelude::*;

/// Whom to greet.
#[derive(Debug, Serialize, Deserialize)]
pub struct HelloRequest {
    /// The name, as it appears in the greeting.
    pub name: String,
}

/// A greeting.
#[derive(Debug, Serialize, Deserialize)]
pub struct HelloReply {
    /// The text.
    pub message: String,
}

/// Greets.
#[derive(Debug, Default)]
pub struct Greeter;

/// Greets people.
#[service(name = "greeter")]
impl Greeter {
    /// Says hello.
    ///
    /// @example {"name": "Ada"}
    #[handler]
    pub async fn hello(&self, req: HelloRequest) -> Result<HelloReply> {
        if req.name == "nobody" {
            return Err(Error::not_found("greeter", "there is nobody to greet"));
        }
        Ok(HelloReply { message: format!("Hello {}", req.name) })
    }
}
