//! Streams are recognised on either side, with and without a path.

#![deny(warnings)]

use micro::prelude::*;

struct Rows;

#[service]
impl Rows {
    #[handler]
    async fn unary(&self, row: u64) -> Result<u64> {
        Ok(row)
    }

    #[handler]
    async fn server_stream(&self, row: u64) -> Result<micro::Streaming<u64>> {
        Ok(Streaming::from_iter([row]))
    }

    #[handler]
    async fn client_stream(&self, rows: Streaming<u64>) -> Result<u64> {
        drop(rows);
        Ok(1)
    }

    #[handler]
    async fn bidi(&self, rows: Streaming<u64>) -> Result<Streaming<u64>> {
        Ok(rows)
    }

    #[handler]
    async fn nothing(&self) -> Result<()> {
        Ok(())
    }
}

fn calls(
    client: &RowsClient,
    rows: Streaming<u64>,
    more: Streaming<u64>,
) -> (Call<u64>, Call<Streaming<u64>>, Call<u64>, Call<Streaming<u64>>, Call<()>) {
    (
        client.unary(1),
        client.server_stream(1),
        client.client_stream(rows),
        client.bidi(more),
        client.nothing(),
    )
}

fn main() {
    let _ = (calls, Rows);
    let kinds: Vec<String> = <Rows as micro::Serve>::DESCRIPTOR
        .endpoints
        .iter()
        .map(|one| format!("{:?}", one.kind))
        .collect();
    assert_eq!(kinds, ["Unary", "ServerStream", "ClientStream", "Bidi", "Unary"]);
}
