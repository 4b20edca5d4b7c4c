//! All settings as people may see them.

use std::fmt;

use crate::config::fault::is_secret;
use crate::config::tree::{Kind, Node};
use crate::core::secret::without_passwords;

/// One value as [`Config::settings`](crate::config::Config::settings) lists it.
///
/// Written out it is one line: `smtp.port = 25  # app.json:3`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The dotted key; items of lists are `key[0]`.
    pub key: String,
    /// The value as JSON; `***` where the key looks as if it held a secret, and for the password
    /// in a URL.
    pub value: String,
    /// Where it is set.
    pub origin: String,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  # {}", self.key, self.value, self.origin)
    }
}

/// Lists the values of a document in key order.
pub(super) fn list(root: &Node) -> Vec<Setting> {
    let mut out = Vec::new();
    collect(root, "", false, &mut out);
    out
}

fn collect(node: &Node, key: &str, within_secret: bool, out: &mut Vec<Setting>) {
    // Whatever a secret holds is secret: the key itself may not look so.
    let secret = within_secret || is_secret(key);
    match &node.kind {
        Kind::Table(table) if !table.is_empty() || key.is_empty() => {
            for (name, node) in table {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                collect(node, &key, secret, out);
            }
        }
        Kind::List(items) if !items.is_empty() => {
            for (index, node) in items.iter().enumerate() {
                collect(node, &format!("{key}[{index}]"), secret, out);
            }
        }
        _ => {
            let value = if secret { "***".to_owned() } else { show(node) };
            out.push(Setting { key: key.to_owned(), value, origin: node.origin.to_string() });
        }
    }
}

fn show(node: &Node) -> String {
    match &node.kind {
        Kind::Null => "null".to_owned(),
        Kind::Bool(value) => value.to_string(),
        Kind::Number(value) => value.to_string(),
        Kind::Text(text) => format!("\"{}\"", without_passwords(text).escape_debug()),
        Kind::Loose(text) => without_passwords(text).escape_debug().to_string(),
        Kind::List(_) => "[]".to_owned(),
        Kind::Table(_) => "{}".to_owned(),
    }
}
