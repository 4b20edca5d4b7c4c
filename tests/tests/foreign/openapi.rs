//! A validator of OpenAPI documents reads what a service says of itself.

use libtest_mimic::{Failed, Trial};
use micro::prelude::*;
use micro::registry::Memory;
use schemars::JsonSchema;

use crate::program::{Program, trial};

/// Python with the validator.
const PYTHON: Program = Program {
    name: "python3",
    variable: "MICRO_TEST_PYTHON_BIN",
    probe: &["-c", "import openapi_spec_validator"],
    package: "openapi-spec-validator (PyPI)",
};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
enum Size {
    Small,
    Large,
}

/// Something to order.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Item {
    name: String,
    size: Size,
    /// What belongs to it.
    parts: Vec<Item>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Range {
    from: u64,
    to: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Search {
    text: String,
    sizes: Vec<Size>,
    range: Option<Range>,
}

/// A message without a schema.
#[derive(Debug, Serialize, Deserialize)]
struct Opaque(String);

/// Takes orders.
///
/// By every kind of call.
struct Shop;

/// Takes orders.
#[service(name = "shop")]
impl Shop {
    /// Takes an order.
    ///
    /// @example {"name": "chair", "size": "Small", "parts": []}
    #[handler(scope = "orders")]
    async fn place(&self, item: Item) -> Result<Opaque> {
        Ok(Opaque(item.name))
    }

    /// Finds items.
    #[handler(idempotent, public)]
    async fn find(&self, search: Search) -> Result<Vec<Item>> {
        Ok(vec![Item { name: search.text, size: Size::Small, parts: vec![] }])
    }

    #[handler(idempotent)]
    async fn watch(&self, search: Search) -> Result<Streaming<Item>> {
        let item = Item { name: search.text, size: Size::Large, parts: vec![] };
        Ok(Streaming::from_iter([item]))
    }

    #[handler]
    async fn load(&self, mut items: Streaming<Item>) -> Result<u64> {
        let mut count = 0;
        while let Some(item) = items.next().await {
            item?;
            count += 1;
        }
        Ok(count)
    }

    #[handler]
    async fn reset(&self) -> Result<()> {
        Ok(())
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("a_validator_accepts_the_openapi_document", PYTHON, validated)]
}

async fn validated() -> Result<(), Failed> {
    let service = Service::new("shop").no_env().registry(Memory::new()).mount(Shop);
    let running = service.start().await?;
    let url = format!("http://{}/openapi.json", running.address());
    let said = PYTHON.run(&["openapi_check.py", &url]).await?;
    running.stop().await;
    let wanted = "5 paths, 7 operations; Find asks for range, sizes, text; Item is known";
    if said.trim() == wanted { Ok(()) } else { Err(said.into()) }
}
