use micro::prelude::*;

#[subscriber] //~
async fn audit(made: u8) -> Result<()> {
    let _ = made;
    Ok(())
}

fn main() {}
