//! Tokens reach the policy of the server and nobody else.

use std::sync::Arc;

use crate::auth::Session;
use crate::client::bearer::Bearer;
use crate::client::tests::lab::{Lab, at_once, call};
use crate::core::context::{Context, Parts};
use crate::core::metadata::Metadata;

async fn lab() -> Lab {
    let mut lab = Lab::default();
    lab.node("a", at_once(Ok(()))).await;
    lab
}

fn tokens(lab: &Lab) -> Vec<Option<String>> {
    let token = |headers: &Metadata| headers.get("authorization").map(str::to_owned);
    lab.extras().iter().map(|extra| token(&extra.headers)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_client_sends_its_token_with_every_call_and_a_call_its_own() {
    let lab = lab().await;
    let client = lab.builder().bearer("shop".to_owned()).unwrap().build();
    call(&client).await.unwrap();
    call(&client).metadata("tenant", "acme").await.unwrap();
    call(&client).bearer("mine".to_owned()).header("x-more", "1").await.unwrap();
    let sent = ["Bearer shop", "Bearer shop", "Bearer mine"].map(|t| Some(t.to_owned()));
    assert_eq!(tokens(&lab), sent);
    let extras = lab.extras();
    assert_eq!(extras[2].headers.get("x-more"), Some("1"));
    for extra in extras {
        assert!(!extra.metadata.contains_key("authorization"), "{extra:?}");
        assert!(!extra.persistent.contains_key("authorization"), "{extra:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_of_a_caller_does_not_travel_on() {
    let lab = lab().await;
    let inner = lab.builder().build();
    let mut headers = Metadata::new();
    headers.insert("tenant", "acme").unwrap();
    let context = Context::from_parts(Parts { persistent: headers, ..Parts::default() });
    call(&inner).context(&context).await.unwrap();
    assert_eq!(tokens(&lab), [None]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_no_header_can_carry_is_a_400() {
    let lab = lab().await;
    assert_eq!(lab.builder().bearer("a\nb".to_owned()).unwrap_err().code(), 400);
    let client = Arc::new(lab.builder().build());
    assert_eq!(call(&client).bearer("a\nb".to_owned()).await.unwrap_err().code(), 400);
    let debug = format!("{:?}", lab.builder().bearer("hunter2".to_owned()).unwrap());
    assert!(!debug.contains("hunter2"), "{debug}");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_the_call_or_of_the_client_goes_before_the_one_of_a_session() {
    let lab = lab().await;
    let layer = || Bearer::new(Arc::new(Session::fixed("session".to_owned().into())));
    let plain = lab.builder().layer(&layer()).build();
    call(&plain).await.unwrap();
    call(&plain).bearer("mine".to_owned()).await.unwrap();
    let client = lab.builder().layer(&layer()).bearer("shop".to_owned()).unwrap().build();
    call(&client).await.unwrap();
    let sent = ["Bearer session", "Bearer mine", "Bearer shop"].map(|t| Some(t.to_owned()));
    assert_eq!(tokens(&lab), sent);
}
