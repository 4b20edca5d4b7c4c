//! Who was invited, who has joined, and who is not to come back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::auth::ERROR_ID;
use crate::auth::authority::CERTIFICATE_LIFE_MAX;
use crate::auth::authority::JOIN_LIFE_DEFAULT;
use crate::auth::authority::REVOKED_MAX;
use crate::auth::authority::root::Root;
use crate::auth::authority::token::JoinToken;
use crate::auth::jwt::random;
use crate::auth::mirror::Mirror;
use crate::auth::refused;
use crate::core::clock;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::secret::Secret;
use crate::core::shutdown::TaskTracker;
use crate::store;
use crate::store::Record;
use crate::store::is_conflict;
use crate::transport::tls::Identity;
use crate::transport::tls::SERVE_SCOPE;

const INVITED: &str = "invited";
const MEMBERS: &str = "members";
const REVOKED: &str = "revoked-names";

/// Bytes of all scopes and hosts of one member.
const FACTS_BYTES_MAX: usize = 4 * 1024;

/// How long whoever used a token may show it again with the same request: the answer may have been
/// lost on its way.
const AGAIN: Duration = Duration::from_secs(60);

/// How long a name stays among the revoked ones: longer than any certificate.
const REVOKED_LIFE: Duration = Duration::from_secs(2 * CERTIFICATE_LIFE_MAX.as_secs());

/// Who may join, and what the certificate will say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Invitation {
    /// The name of the service.
    pub service: String,
    /// What it may do, beside `service:NAME`, which everybody has for the own name.
    pub scopes: Vec<String>,
    /// What it may serve beside its own name; `*` stands for every service but the authority.
    pub serves: Vec<String>,
    /// Host names and addresses under which HTTPS clients reach it.
    pub hosts: Vec<String>,
    /// How long the token waits for its use.
    pub life: Duration,
}

impl Invitation {
    /// Invites a service for [`JOIN_LIFE_DEFAULT`].
    pub fn new(service: impl Into<String>) -> Self {
        let (scopes, serves, hosts) = (Vec::new(), Vec::new(), Vec::new());
        Self { service: service.into(), scopes, serves, hosts, life: JOIN_LIFE_DEFAULT }
    }

    /// Adds a scope.
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Adds a service that the process may serve; members call it there and nothing else.
    #[must_use]
    pub fn serving(mut self, service: impl Into<String>) -> Self {
        self.serves.push(service.into());
        self
    }

    /// Adds a host name or address.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Replaces how long the token waits for its use.
    #[must_use]
    pub fn with_life(mut self, life: Duration) -> Self {
        self.life = life;
        self
    }

    fn check(&self, root: &Root) -> Result<()> {
        root.name(&self.service)?;
        let plain = |text: &String| !text.is_empty() && !text.chars().any(char::is_control);
        let host = |text: &String| {
            let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
            text.parse::<IpAddr>().is_ok() || (!text.is_empty() && text.bytes().all(is_name))
        };
        let named = self.scopes.iter().chain(&self.serves);
        let bytes: usize = named.clone().chain(&self.hosts).map(String::len).sum();
        let fits = named.clone().all(plain) && self.hosts.iter().all(host);
        if !fits || bytes > FACTS_BYTES_MAX || self.service == Identity::AUTHORITY {
            let detail = "an invitation is for a service other than the authority, with few plain \
                          scopes, services and hosts";
            return Err(Error::bad_request(ERROR_ID, detail));
        }
        Ok(())
    }
}

/// What a certificate says beside its name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) scopes: Vec<String>,
    pub(super) hosts: Vec<String>,
}

/// An invitation as it is kept, under the hash of its secret.
#[derive(Serialize, Deserialize)]
struct Invited {
    service: String,
    facts: Facts,
    /// In seconds since 1970, as everywhere here.
    issued: u64,
    until: u64,
    /// The hash of the request that used it up.
    #[serde(default)]
    used: Option<String>,
}

pub(super) async fn invite(
    database: &store::Handle,
    invitation: &Invitation,
    root: &Root,
) -> Result<Secret<String>> {
    invitation.check(root)?;
    let secret = random::text()?;
    let issued = clock::unix_now().as_secs();
    let mut scopes = invitation.scopes.clone();
    scopes.push(format!("service:{}", invitation.service));
    scopes.extend(invitation.serves.iter().map(|served| format!("{SERVE_SCOPE}{served}")));
    let invited = Invited {
        service: invitation.service.clone(),
        facts: Facts { scopes, hosts: invitation.hosts.clone() },
        issued,
        until: issued.saturating_add(invitation.life.as_secs()),
        used: None,
    };
    let table = database.table(INVITED)?;
    let put = table.put(&random::fingerprint(&secret), &invited);
    let life = invitation.life.max(Duration::from_secs(1));
    let put = if table.capabilities().ttl { put.ttl(life) } else { put };
    put.await?;
    Ok(JoinToken::write(&secret, &root.hash()))
}

/// Uses an invitation up for one request and makes its service a member; returns the service.
///
/// For a while the same request, and no other, may be repeated.
pub(super) async fn join(
    database: &store::Handle,
    secret: &str,
    request: &str,
) -> Result<(String, Facts)> {
    let (table, key) = (database.table(INVITED)?, random::fingerprint(secret));
    let record = table.read(&key).await?.ok_or_else(|| reject("the join token is unknown"))?;
    let mut invited: Invited = record.decode()?;
    let (now, request) = (clock::unix_now().as_secs(), random::fingerprint(request));
    if now >= invited.until {
        return Err(reject("the join token is over"));
    }
    match &invited.used {
        Some(used) if *used == request => {}
        Some(_) => return Err(reject("the join token was used")),
        None => {
            invited.used = Some(request);
            invited.until = now.saturating_add(AGAIN.as_secs());
            let put = table.put(&key, &invited).if_version(record.version);
            let put = if table.capabilities().ttl { put.ttl(AGAIN) } else { put };
            // Of several that show the token at once, one gets further.
            put.await.map_err(|error| {
                if is_conflict(&error) { reject("the join token was used") } else { error }
            })?;
        }
    }
    let revoked: Option<u64> = database.table(REVOKED)?.get(&invited.service).await?;
    if revoked.is_some_and(|revoked| invited.issued <= revoked) {
        return Err(reject("the join token is of before the revocation"));
    }
    database.table(MEMBERS)?.put(&invited.service, &invited.facts).await?;
    Ok((invited.service, invited.facts))
}

/// Returns what the certificates of a member say.
pub(super) async fn member(database: &store::Handle, service: &str) -> Result<Facts> {
    let facts = database.table(MEMBERS)?.get(service).await?;
    facts.ok_or_else(|| reject("the service is no member any more"))
}

pub(super) async fn revoke(database: &store::Handle, service: &str) -> Result<()> {
    // The member first: nothing is renewed any more when what there is becomes void.
    database.table(MEMBERS)?.delete(service).await?;
    let table = database.table(REVOKED)?;
    let put = table.put(service, &clock::unix_now().as_secs());
    let put = if table.capabilities().ttl { put.ttl(REVOKED_LIFE) } else { put };
    put.await.map(drop)
}

/// The names that were revoked, and when.
pub(super) type Names = Mirror<HashMap<String, u64>>;

/// Opens the table of revoked names.
pub(super) async fn revoked(database: &store::Handle, tasks: &TaskTracker) -> Result<Arc<Names>> {
    fn build(records: Vec<Record>) -> Result<HashMap<String, u64>> {
        let pair = |record: Record| Ok((record.key.clone(), record.decode()?));
        records.into_iter().map(pair).collect()
    }
    Mirror::open(database.table(REVOKED)?, REVOKED_MAX, build, tasks).await
}

/// Refuses with the one error of all credentials; the reason is for the log.
pub(super) fn reject(reason: &str) -> Error {
    tracing::info!(reason, "refused to sign a certificate");
    refused()
}
