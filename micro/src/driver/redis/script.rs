//! Scripts that the server runs whole or not at all.

use std::sync::OnceLock;

use redis::Cmd;

/// A script, sent once and named by its digest afterwards.
#[derive(Debug)]
pub(crate) struct Script {
    code: &'static str,
    digest: OnceLock<String>,
}

impl Script {
    /// Makes a script of its Lua text.
    pub(crate) const fn new(code: &'static str) -> Self {
        Self { code, digest: OnceLock::new() }
    }

    /// Begins a call with the keys that the script touches; arguments follow.
    pub(crate) fn call(&self, keys: &[&str]) -> Cmd {
        let digest =
            self.digest.get_or_init(|| redis::Script::new(self.code).get_hash().to_owned());
        let mut command = redis::cmd("EVALSHA");
        command.arg(digest).arg(keys.len()).arg(keys);
        command
    }

    /// Makes the command that brings the script to the server.
    pub(super) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.code);
        command
    }
}
