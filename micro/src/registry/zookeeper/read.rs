//! What is registered, read node by node: many at a time.

use std::collections::BTreeMap;

use zookeeper_client::Error as Fault;

use crate::core::error::{Result, Retry};
use crate::driver;
use crate::driver::zookeeper::Session;
use crate::registry::record::Record;
use crate::registry::zookeeper::place::{Place, decode, unescape};

/// Nodes that are asked for before the answers are awaited.
const READS_MAX: usize = 256;

/// Nodes that are read at all; further ones are not found.
const NODES_MAX: usize = 200_000;

/// Records by the paths of their nodes.
pub(super) type Found = BTreeMap<String, Record>;

/// Reads one node; `None` where there is no record.
pub(super) async fn node(zookeeper: &driver::ZooKeeper, path: &str) -> Result<Option<Record>> {
    let client = zookeeper.session().await?.client;
    let answer = zookeeper.answer("for a node", Retry::Safe, client.get_data(path)).await?;
    Ok(answer.ok().and_then(|(content, _)| decode(&content)))
}

/// Reads the nodes of a service.
pub(super) async fn service(zookeeper: &driver::ZooKeeper, path: &str) -> Result<Found> {
    let session = zookeeper.session().await?;
    let mut found = Found::new();
    let children = children(zookeeper, &session, path).await?;
    let paths: Vec<String> = children.iter().map(|child| format!("{path}/{child}")).collect();
    let kept = paths.get(..NODES_MAX).unwrap_or(&paths);
    for part in kept.chunks(READS_MAX) {
        // Each is sent as it is made here, and awaited below.
        let asked: Vec<_> = part.iter().map(|path| session.client.get_data(path)).collect();
        for (path, read) in part.iter().zip(asked) {
            let answer = zookeeper.answer("for a node", Retry::Safe, read).await?;
            if let Some(record) = answer.ok().and_then(|(content, _)| decode(&content)) {
                found.insert(path.clone(), record);
            }
        }
    }
    Ok(found)
}

/// Reads the nodes of all services.
pub(super) async fn all(zookeeper: &driver::ZooKeeper, place: &Place) -> Result<Found> {
    let session = zookeeper.session().await?;
    let mut found = Found::new();
    for part in children(zookeeper, &session, place.root()).await? {
        found.extend(service(zookeeper, &format!("{}/{part}", place.root())).await?);
        if found.len() > NODES_MAX {
            break;
        }
    }
    Ok(found)
}

/// Returns the sorted names of the services that have nodes.
pub(super) async fn services(zookeeper: &driver::ZooKeeper, place: &Place) -> Result<Vec<String>> {
    let session = zookeeper.session().await?;
    let mut names = Vec::new();
    for part in children(zookeeper, &session, place.root()).await? {
        let path = format!("{}/{part}", place.root());
        if !children(zookeeper, &session, &path).await?.is_empty() {
            names.extend(unescape(&part));
        }
    }
    names.sort();
    Ok(names)
}

async fn children(
    zookeeper: &driver::ZooKeeper,
    session: &Session,
    path: &str,
) -> Result<Vec<String>> {
    let asked = session.client.list_children(path);
    match zookeeper.answer("for the nodes of a service", Retry::Safe, asked).await? {
        Ok(children) => Ok(children),
        Err(Fault::NoNode) => Ok(Vec::new()),
        Err(fault) => Err(crate::core::error::Error::internal(
            crate::registry::check::ERROR_ID,
            format!("zookeeper does not list nodes: {fault}"),
        )),
    }
}
