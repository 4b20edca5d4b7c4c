//! The accounts and rules of a process: handed over, or opened by URL.
//!
//! | `MICRO_AUTH` | |
//! |---|---|
//! | `deny` | knows nobody; rules may let nobody in particular in |
//! | `jwt` | accounts and keys in database `micro.auth` of the store; `?issuer=..&audience=..` |
//! | `jwks` | checks tokens of such an issuer that shares the store |
//! | `jwks:///path/keys.json?issuer=..&audience=..` | checks tokens with published keys |
//! | `jwks://127.0.0.1:8080/keys?issuer=..&audience=..` | the same, fetched over HTTP from this machine (feature `jwks`) |
//!
//! Issuer and audience are `micro` unless stated; published keys belong to another issuer, whose
//! names have to be stated.

use std::sync::Arc;

use crate::auth::{Auth, Deny, Handle, Proof, Session, StoredRules};
#[cfg(feature = "jwt")]
use crate::auth::{Jwt, JwtConfig, KeyFile};
use crate::core::error::{Error, Result};
use crate::core::shutdown::TaskTracker;
use crate::service::backends::{Backends, GivenAuth};
use crate::service::kept::Kept;
use crate::service::settings::Settings;
use crate::service::url::{Backend, Url};
use crate::store;

/// The database, in the store of the process, of accounts and rules: no process is to be named so.
pub(crate) const DATABASE: &str = "micro.auth";

const AUTHS: &[Backend] = &[
    Backend::built_in("deny"),
    Backend::behind("jwt", "jwt", cfg!(feature = "jwt")),
    Backend::behind("jwks", "jwt", cfg!(feature = "jwt")),
];

/// Opens accounts and rules, if the program or a setting asks for them, and the session of calls.
pub(crate) async fn open(
    given: GivenAuth,
    settings: &Settings,
    kept: &Kept,
    backends: &mut Backends,
) -> Result<()> {
    let proof = proof(given.proof, settings)?;
    let setting = settings.auth.as_deref();
    let mutual = settings.auth_identity.is_some();
    if given.auth.is_none() && given.rules.is_none() && setting.is_none() && !mutual {
        if proof.is_some() {
            let detail = "calls as an account need a `micro.auth` that knows it";
            return Err(Error::precondition_failed("micro.auth", detail));
        }
        return Ok(());
    }
    let database = kept.handle(DATABASE)?;
    let auth: Arc<dyn Auth> = match (given.auth, setting) {
        (Some(auth), setting) => {
            if setting.is_some() {
                let component = "auth";
                tracing::warn!(component, "the program brings its own: the setting is ignored");
            }
            auth
        }
        (None, Some(setting)) => by_url(setting, &database, &backends.tasks).await?,
        (None, None) => Arc::new(Deny),
    };
    let handle = Handle::shared(auth);
    let handle = match given.rules {
        Some(rules) => handle.with_shared_rules(rules),
        None => {
            let table = database.table("rules")?;
            handle.with_rules(StoredRules::open(table, &backends.tasks).await?)
        }
    };
    if let Some(proof) = proof {
        backends.session = Some(Arc::new(Session::new(handle.clone(), proof)));
    }
    backends.auth = Some(handle);
    Ok(())
}

fn proof(given: Option<Proof>, settings: &Settings) -> Result<Option<Proof>> {
    if given.is_some() {
        return Ok(given);
    }
    match (&settings.auth_id, &settings.auth_secret) {
        (Some(id), Some(secret)) => {
            Ok(Some(Proof::Secret { id: id.clone(), secret: secret.clone() }))
        }
        (None, None) => Ok(None),
        _ => {
            let detail = "`micro.auth_id` and `micro.auth_secret` belong together";
            Err(Error::precondition_failed("micro.auth", detail))
        }
    }
}

#[cfg(feature = "jwt")]
async fn by_url(
    text: &str,
    database: &store::Handle,
    tasks: &TaskTracker,
) -> Result<Arc<dyn Auth>> {
    let mut url = Url::parse(text)?;
    let named = url.scheme == "jwks" && !url.rest.is_empty();
    let (issuer, audience) = match url.scheme.as_str() {
        "jwt" | "jwks" => (url.take("issuer"), url.take("audience")),
        _ => (None, None),
    };
    url.check("auth", AUTHS)?;
    if named && (issuer.is_none() || audience.is_none()) {
        let detail = "keys of others need `?issuer=..&audience=..`: tokens of others prove nothing";
        return Err(Error::precondition_failed("micro.open", detail));
    }
    let usual = || "micro".to_owned();
    let config = JwtConfig::new(issuer.unwrap_or_else(usual), audience.unwrap_or_else(usual));
    Ok(match (url.scheme.as_str(), named) {
        ("jwt", _) if url.rest.is_empty() => {
            if !database.capabilities().durable {
                tracing::warn!("accounts and keys are kept in memory and end with this process");
            }
            Arc::new(Jwt::issuer(config, database, tasks).await?)
        }
        ("jwks", true) if url.rest.starts_with('/') => {
            Arc::new(Jwt::verifier(config, KeyFile::new(&url.rest), tasks).await?)
        }
        ("jwks", true) => Arc::new(Jwt::verifier(config, at(&url.rest)?, tasks).await?),
        ("jwks", false) => Arc::new(Jwt::verifier_at(config, database, tasks).await?),
        _ => deny(&url)?,
    })
}

/// Names keys that are published over HTTP.
#[cfg(feature = "jwks")]
fn at(place: &str) -> Result<crate::auth::KeyUrl> {
    crate::auth::KeyUrl::parse(&format!("http://{place}"))
}

#[cfg(all(feature = "jwt", not(feature = "jwks")))]
fn at(_: &str) -> Result<KeyFile> {
    let detail = "to fetch keys over HTTP enable the feature `jwks`; a file is `jwks:///path`";
    Err(Error::precondition_failed("micro.open", detail))
}

#[cfg(not(feature = "jwt"))]
async fn by_url(text: &str, _: &store::Handle, _: &TaskTracker) -> Result<Arc<dyn Auth>> {
    let url = Url::parse(text)?;
    url.check("auth", AUTHS)?;
    deny(&url)
}

fn deny(url: &Url) -> Result<Arc<dyn Auth>> {
    if url.rest.is_empty() {
        return Ok(Arc::new(Deny));
    }
    let detail = format!("the auth `{}` takes no address", url.scheme);
    Err(Error::precondition_failed("micro.open", detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    async fn opened(url: &str) -> Result<Arc<dyn Auth>> {
        let database = store::Handle::new(Memory::new()).database(DATABASE).unwrap();
        by_url(url, &database, &TaskTracker::new()).await
    }

    #[tokio::test]
    async fn a_name_opens_what_it_names_and_all_else_says_why() {
        assert_eq!(opened("deny").await.unwrap().name(), "deny");
        for (url, part) in [
            ("dney", "did you mean `deny`?"),
            ("allow", "there are deny, jwt, jwks"),
            ("deny://x", "takes no address"),
            ("deny?issuer=x", "no option `issuer`"),
        ] {
            let error = opened(url).await.unwrap_err();
            assert!(error.detail().contains(part), "{error}");
        }
    }

    #[cfg(not(feature = "jwt"))]
    #[tokio::test]
    async fn tokens_without_their_feature_name_it() {
        for url in ["jwt", "jwks:///keys.json"] {
            let error = opened(url).await.unwrap_err();
            assert!(error.detail().contains("enable the feature `jwt`"), "{error}");
        }
    }

    #[cfg(feature = "jwt")]
    #[tokio::test]
    async fn an_issuer_and_verifiers_open_by_url() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        std::fs::write(&path, "{\"keys\":[]}").unwrap();
        let file = format!("jwks://{}", path.display());
        let full = format!("{file}?issuer=https://id.example&audience=shop");
        for (url, issues) in
            [("jwt", true), ("jwt?issuer=a&audience=b", true), ("jwks", false), (&full, false)]
        {
            let auth = opened(url).await.unwrap();
            assert_eq!((auth.name(), auth.capabilities().issues), ("jwt", issues), "{url}");
        }
        let by_http = if cfg!(feature = "jwks") { "this machine only" } else { "feature `jwks`" };
        for (url, part) in [
            (file.as_str(), "?issuer="),
            ("jwt://elsewhere", "takes no address"),
            ("jwks://10.0.0.1/keys?issuer=a&audience=b", by_http),
            ("jwks:///not/there?issuer=a&audience=b", "cannot be read"),
            ("jwt?leeway=1h", "no option `leeway`"),
        ] {
            let error = opened(url).await.unwrap_err();
            assert!(error.detail().contains(part), "{error}");
        }
    }
}
