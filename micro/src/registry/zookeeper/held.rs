//! The records of this process, each an ephemeral node of its session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use zookeeper_client::{Acls, CreateMode, CreateOptions, Error as Fault};

use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};
use crate::driver;
use crate::driver::zookeeper::Session;
use crate::registry::check::ERROR_ID;
use crate::registry::pace::jitter;
use crate::registry::record::{Node, Record};
use crate::registry::zookeeper::place::{decode, encode};

/// Records of one process; more are a 429.
const HELD_MAX: usize = 65_536;
/// Times that a write or a removal looks again because somebody has written meanwhile.
const TRIES_MAX: u32 = 8;
/// Mean of the pause after a break before nodes are put back.
const RESTORE_PAUSE: Duration = Duration::from_millis(250);
/// Pause between looks at whether nodes are still renewed.
const REAP_INTERVAL: Duration = Duration::from_millis(250);

const NODE: CreateOptions<'static> = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
/// Servers remove it some time after the last node in it.
const SERVICE: CreateOptions<'static> = CreateMode::Container.with_acls(Acls::anyone_all());
const FOLDER: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());

/// What this process has registered.
#[derive(Debug, Default)]
pub(super) struct Holder {
    held: Mutex<HashMap<String, Held>>,
    /// One changes nodes at a time, so that none that was removed comes back.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Held {
    content: Vec<u8>,
    /// When it is removed unless it is renewed.
    ends: Instant,
    /// Whether the server is known to have taken the content.
    is_written: bool,
    /// Whether it is being removed: it is not put back, whatever becomes of that.
    is_leaving: bool,
}

impl Holder {
    /// Registers a node, or renews it: then it costs a look whether the node is there.
    pub(super) async fn keep(
        &self,
        zookeeper: &driver::ZooKeeper,
        path: String,
        record: &Record,
        ttl: Duration,
    ) -> Result<()> {
        let content = encode(record)?;
        let _turn = self.turn.lock().await;
        if self.held().len() >= HELD_MAX && !self.held().contains_key(&path) {
            let detail = format!("this process has registered {HELD_MAX} nodes already");
            return Err(Error::too_many_requests(ERROR_ID, detail).with_retry(Retry::Safe));
        }
        let known = self.held().get(&path).cloned();
        let is_written = known.is_some_and(|held| held.is_written && held.content == content);
        // From here on it may be there, whatever becomes of this call.
        let ends = clock::after(clock::now(), ttl);
        let held = Held { content: content.clone(), ends, is_written: false, is_leaving: false };
        self.held().insert(path.clone(), held);
        write(zookeeper, &path, &content, is_written).await?;
        self.mark_written(&path);
        Ok(())
    }

    /// Removes a node, unless another one has taken its path.
    pub(super) async fn release(
        &self,
        zookeeper: &driver::ZooKeeper,
        path: String,
        (record, node): (&Record, &Node),
    ) -> Result<()> {
        let is_same = |content: &[u8]| {
            decode(content).is_none_or(|known| {
                known.name == record.name
                    && known
                        .nodes
                        .iter()
                        .all(|known| known.id == node.id && known.address == node.address)
            })
        };
        // Before anything is awaited: it stays away whatever becomes of this call.
        if let Some(held) = self.held().get_mut(&path).filter(|held| is_same(&held.content)) {
            held.is_leaving = true;
        }
        let _turn = self.turn.lock().await;
        let session = zookeeper.session().await?;
        for _ in 0..TRIES_MAX {
            let asked = session.client.get_data(&path);
            let answer = zookeeper.answer("for a node", Retry::Safe, asked).await?;
            let Ok((content, stat)) = answer else { break };
            if !is_same(&content) {
                break;
            }
            let asked = session.client.delete(&path, Some(stat.version));
            let deleted = zookeeper.answer("to delete a node", Retry::Unknown, asked).await?;
            if !matches!(deleted, Err(Fault::BadVersion)) {
                break;
            }
        }
        self.held().remove(&path);
        Ok(())
    }

    /// Puts all nodes back after each break; ends with the holder.
    pub(super) async fn restore(holder: Weak<Self>, zookeeper: Arc<driver::ZooKeeper>) {
        let mut seen = zookeeper.connection_after(0).await;
        loop {
            seen = zookeeper.connection_after(seen).await;
            // All processes of a server find it again at the same moment.
            clock::sleep(jitter(RESTORE_PAUSE, 100)).await;
            let Some(holder) = holder.upgrade() else { return };
            let paths: Vec<String> = holder.held().keys().cloned().collect();
            for path in paths {
                let _turn = holder.turn.lock().await;
                let held = holder.held().get(&path).filter(|held| !held.is_leaving).cloned();
                let Some(held) = held else { continue };
                let written = write(&zookeeper, &path, &held.content, held.is_written).await;
                if let Err(error) = written {
                    tracing::debug!(%error, "a record waits for its heartbeat");
                    break;
                }
                holder.mark_written(&path);
            }
        }
    }

    /// Removes nodes that are not renewed in time; ends with the holder.
    pub(super) async fn reap(holder: Weak<Self>, zookeeper: Arc<driver::ZooKeeper>) {
        loop {
            clock::sleep(REAP_INTERVAL).await;
            let Some(holder) = holder.upgrade() else { return };
            let now = clock::now();
            let is_over = |held: &Held| held.ends <= now;
            let over: Vec<String> = {
                let held = holder.held();
                let over = held.iter().filter(|(_, held)| is_over(held));
                over.map(|(path, _)| path.clone()).collect()
            };
            for path in over {
                let _turn = holder.turn.lock().await;
                // It may have been renewed or removed meanwhile.
                if holder.held().get(&path).is_some_and(is_over)
                    && let Ok(()) = remove_own(&zookeeper, &path).await
                {
                    holder.held().remove(&path);
                }
            }
        }
    }

    fn mark_written(&self, path: &str) {
        if let Some(held) = self.held().get_mut(path) {
            held.is_written = true;
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        // Every critical section leaves the map whole, so a poisoned lock is still sound.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has a node be there with this content, and belong to the session.
async fn write(
    zookeeper: &driver::ZooKeeper,
    path: &str,
    content: &[u8],
    is_written: bool,
) -> Result<()> {
    let session = zookeeper.session().await?;
    for _ in 0..TRIES_MAX {
        let asked = session.client.check_stat(path);
        let stat = zookeeper.answer("for a node", Retry::Safe, asked).await?;
        match stat.ok().flatten() {
            Some(stat) if stat.ephemeral_owner == session.id && is_written => return Ok(()),
            Some(stat) if stat.ephemeral_owner == session.id => {
                let asked = session.client.set_data(path, content, None);
                if zookeeper.answer("to write a node", Retry::Unknown, asked).await?.is_ok() {
                    return Ok(());
                }
            }
            Some(stat) => {
                // Of a session before, or of a twin that is replaced.
                if replace(zookeeper, &session, (path, content), stat.version).await? {
                    return Ok(());
                }
            }
            None => {
                let asked = session.client.create(path, content, &NODE);
                match zookeeper.answer("to create a node", Retry::Unknown, asked).await? {
                    Ok(_) => return Ok(()),
                    Err(Fault::NoNode) => make_folders(zookeeper, &session, path).await?,
                    Err(_) => {}
                }
            }
        }
    }
    let detail = format!("{path} in zookeeper is written by others all the time");
    Err(Error::unavailable(ERROR_ID, detail).with_retry(Retry::Safe))
}

/// Has the session own a node instead of whoever does, at once, so that nobody misses it; returns
/// whether it was still of a version.
async fn replace(
    zookeeper: &driver::ZooKeeper,
    session: &Session,
    (path, content): (&str, &[u8]),
    version: i32,
) -> Result<bool> {
    let mut writer = session.client.new_multi_writer();
    let queued = match writer.add_delete(path, Some(version)) {
        Ok(()) => writer.add_create(path, content, &NODE),
        refused => refused,
    };
    if let Err(fault) = queued {
        let detail = format!("zookeeper does not take the path {path}: {fault}");
        return Err(Error::internal(ERROR_ID, detail));
    }
    let commit = writer.commit();
    let asked = async { commit.await.map_err(Fault::from) };
    Ok(zookeeper.answer("to replace a node", Retry::Unknown, asked).await?.is_ok())
}

/// Makes the folders above a node.
async fn make_folders(zookeeper: &driver::ZooKeeper, session: &Session, path: &str) -> Result<()> {
    let Some((service, _)) = path.rsplit_once('/') else { return Ok(()) };
    let Some((root, _)) = service.rsplit_once('/') else { return Ok(()) };
    let asked = session.client.mkdir(root, &FOLDER);
    let _exists = zookeeper.answer("to make a folder", Retry::Safe, asked).await?;
    let asked = session.client.create(service, &[], &SERVICE);
    let _exists = zookeeper.answer("to make a folder", Retry::Safe, asked).await?;
    Ok(())
}

/// Removes a node if it belongs to the session.
async fn remove_own(zookeeper: &driver::ZooKeeper, path: &str) -> Result<()> {
    let session = zookeeper.session().await?;
    let asked = session.client.check_stat(path);
    let stat = zookeeper.answer("for a node", Retry::Safe, asked).await?;
    if let Some(stat) = stat.ok().flatten()
        && stat.ephemeral_owner == session.id
    {
        let asked = session.client.delete(path, None);
        let _gone = zookeeper.answer("to delete a node", Retry::Unknown, asked).await?;
    }
    Ok(())
}
