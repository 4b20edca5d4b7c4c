//! What lies on the shelf, counted in the store.

use micro::prelude::*;

/// Keeps the shelf.
#[service]
pub(crate) struct Stock {
    store: Store,
    /// How many of an item there are at first: `MICRO_CONFIG_SHELF__COUNT=10`.
    #[wire(config = "shelf")]
    shelf: Shelf,
}

#[derive(Debug, Deserialize)]
struct Shelf {
    count: u32,
}

/// An item, and how many of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) item: String,
    pub(crate) count: u32,
}

#[service]
impl Stock {
    /// Takes items off the shelf and returns how many are left; all or none.
    #[handler]
    pub(crate) async fn take(&self, wanted: Taken) -> Result<u32> {
        let Taken { item, count } = wanted;
        // Two processes that take the last one do not both get it: the store compares versions.
        let mut short = None;
        let left = self.store.update(&item, |left: Option<u32>| {
            let left = left.unwrap_or(self.shelf.count);
            short = (left < count).then_some(left);
            left.checked_sub(count).unwrap_or(left)
        });
        let left = left.await?;
        match short {
            None => {
                tracing::info!(%item, count, "taken");
                Ok(left)
            }
            Some(left) => Err(Error::conflict("stock", format!("of {item} there are {left} left"))),
        }
    }
}
