//! Raw identifiers lose their prefix on the wire only.

#![deny(warnings)]

use micro::prelude::*;

#[derive(serde::Serialize, serde::Deserialize)]
struct r#Match {
    r#type: u8,
}

struct r#Move;

#[service]
impl r#Move {
    #[handler]
    async fn r#type(&self, r#in: r#Match) -> Result<u8> {
        Ok(r#in.r#type)
    }
}

#[service]
trait r#Loop: Send + Sync + 'static {
    #[handler]
    async fn r#while(&self, r#if: u8) -> Result<u8>;
}

#[service]
struct Wired {
    #[wire(default)]
    r#type: u8,
}

#[subscriber(topic = "made")]
async fn r#enum(r#struct: u8) -> Result<()> {
    let _ = r#struct;
    Ok(())
}

fn main() {
    let _ = |client: &MoveClient| client.r#type(r#Match { r#type: 1 });
    let _ = |client: &LoopClient| client.r#while(1);
    let _ = Wired { r#type: 1 }.r#type;
    let descriptor = <r#Move as micro::Serve>::DESCRIPTOR;
    assert_eq!((descriptor.name, descriptor.type_name), ("move", "Move"));
    assert_eq!(descriptor.endpoints[0].name, "Move.Type");
    assert_eq!(<r#enum as micro::Subscriber>::SPEC.name, "Enum");
}
