//! The impl's generics are kept; the client has only those that its messages mention.

#![deny(warnings)]

use micro::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

trait Db: Send + Sync + 'static {}
impl Db for u8 {}

struct Cache<D, T, const N: usize> {
    db: D,
    items: PhantomData<fn() -> T>,
}

#[service]
impl<D: Db, T, const N: usize> Cache<D, T, N>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    #[handler]
    async fn put(&self, item: T) -> Result<usize> {
        let _ = (&self.db, &self.items, item);
        Ok(N)
    }

    #[handler]
    async fn all(&self) -> Result<Streaming<T>> {
        Err(Error::not_found("cache", "empty"))
    }

    #[subscriber(topic = "put")]
    async fn on_put(&self, item: T) -> Result<()> {
        drop(item);
        Ok(())
    }
}

struct Store<D>(D);

#[service]
impl<D: Db> Store<D> {
    #[handler]
    async fn size(&self) -> Result<u64> {
        let _ = &self.0;
        Ok(1)
    }
}

struct Fixed<T>(T);

#[service(client = FixedClient)]
impl Fixed<u8> {
    #[handler]
    async fn get(&self) -> Result<u8> {
        Ok(self.0)
    }
}

fn clients(cache: &CacheClient<String>, store: &StoreClient) -> (Call<usize>, Call<u64>) {
    (cache.put("item".to_owned()), store.size())
}

fn main() {
    let _ = clients;
    let _ = (Cache::<u8, u8, 3> { db: 1, items: PhantomData }, Store(1_u8), Fixed(1_u8));
    assert_eq!(<Cache<u8, String, 3> as micro::Serve>::ENDPOINTS.len(), 2);
    assert_eq!(<Store<u8> as micro::Serve>::ENDPOINTS.len(), 1);
    assert_eq!(<Fixed<u8> as micro::Serve>::ENDPOINTS.len(), 1);
}
