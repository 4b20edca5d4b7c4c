//! ZooKeeper, one member.

use super::{Place, Program, Server, words};

/// The server of ZooKeeper: an archive that `java` runs.
pub const ZOOKEEPER: Program = Program {
    name: "ZooKeeper",
    variable: "MICRO_TEST_ZOOKEEPER_JAR",
    places: &["/usr/share/java/zookeeper.jar"],
    package: "zookeeper",
};

/// Starts ZooKeeper; what it acknowledges is on disk. Its data are in the folder `data`.
///
/// # Panics
/// When it does not start.
pub fn zookeeper() -> Server {
    Server::start(ZOOKEEPER, |place: &Place<'_>| {
        let settings = place.folder.join("zoo.cfg");
        let text = format!(
            "tickTime=500\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\n",
            place.folder.join("data").display(),
            place.port
        );
        std::fs::write(&settings, text).unwrap();
        let class = format!("/etc/zookeeper/conf:{}", place.program.display());
        let java = Place { program: "/usr/bin/java".as_ref(), ..*place };
        words(
            &java,
            &[
                "-Xmx256m",
                "-cp",
                &class,
                "org.apache.zookeeper.server.quorum.QuorumPeerMain",
                &settings.to_string_lossy(),
            ],
        )
    })
}
