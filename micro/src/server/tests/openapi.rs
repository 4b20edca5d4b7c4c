//! The document of what is served.

use serde_json::Value;

use super::*;
use crate::server::Guard;
use crate::server::testing::Two;

fn paths(got: &Got) -> Vec<String> {
    assert_eq!(
        (got.status, &got.headers["content-type"]),
        (200, &http::HeaderValue::from_static("application/json"),)
    );
    let document: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    document["paths"].as_object().unwrap().keys().cloned().collect()
}

fn asked() -> Request<Full<Bytes>> {
    request("GET", "/openapi.json", "")
}

#[tokio::test(start_paused = true)]
async fn every_endpoint_is_described_once_for_each_way_to_call_it() {
    let rig = Rig::plain();
    let got = rig.send(asked()).await;
    assert_eq!(paths(&got).len(), 14);
    let document: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!(document["info"]["title"], "sample");
    let methods = |endpoint: &str| {
        let path = &document["paths"][format!("/sample/Sample.{endpoint}")];
        path.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        (methods("Echo"), methods("Find")),
        (vec!["post".to_owned()], vec!["get".to_owned(), "post".to_owned()],)
    );
    let count = &document["paths"]["/sample/Sample.Count"]["post"];
    let streamed = count["responses"]["200"]["content"].as_object().unwrap();
    assert!(
        streamed.contains_key("text/event-stream") && streamed.contains_key("application/x-ndjson")
    );
    assert_eq!(count["operationId"], "sample.Sample.Count");
}

#[tokio::test(start_paused = true)]
async fn strangers_see_what_is_public_and_members_see_all() {
    let rig = Rig::plain();
    let mut stranger = rig.off_host().await;
    let public = got(stranger.send_request(asked()).await.unwrap()).await;
    assert_eq!(paths(&public), ["/sample/Sample.Public"]);
    let open = Rig::new(Builder::open_to_network);
    let mut anybody = open.off_host().await;
    assert_eq!(paths(&got(anybody.send_request(asked()).await.unwrap()).await).len(), 14);

    let auth = crate::auth::Handle::new(Two::default());
    let rig = Rig::new(|builder| builder.policy(Arc::new(Guard::new(auth))));
    for (token, shown) in
        [(None, Some(1)), (Some("Bearer plain"), Some(14)), (Some("Bearer x"), None)]
    {
        let mut caller = rig.off_host().await;
        let request = match token {
            Some(token) => with(asked(), "authorization", token),
            None => asked(),
        };
        let answer = got(caller.send_request(request).await.unwrap()).await;
        match shown {
            Some(count) => assert_eq!(paths(&answer).len(), count, "{token:?}"),
            None => assert_eq!(answer.status, 401),
        }
    }
    assert_eq!(paths(&rig.send(asked()).await).len(), 14, "callers on this machine see all");
}

#[tokio::test(start_paused = true)]
async fn a_page_of_the_users_own_comes_first() {
    let user = axum::Router::new().route("/openapi.json", axum::routing::get(|| async { "mine" }));
    let rig = Rig::new(|builder| builder.router(user));
    assert_eq!(rig.send(asked()).await.body, "mine");
    let foreign = with(asked(), "origin", "https://evil.example");
    assert_eq!(rig.send(foreign).await.status, 403);
}
