//! What must not be seen: keys in files, secrets in what is printed.

use super::*;

/// What a field that holds a secret is called.
const SECRETS: [&str; 8] =
    ["password", "passwd", "secret", "token", "private", "credential", "bearer", "pkcs8"];

/// Tells whether a declaration such as `token: Option<String>` or `Token(String)` is of a secret as
/// plain text or bytes.
fn is_bare_secret(name: &str, kind: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut kind = kind.trim();
    while let Some(inner) = ["Option<", "Arc<", "Box<", "Mutex<", "Cow<'static, "]
        .iter()
        .find_map(|wrapper| kind.strip_prefix(wrapper))
    {
        kind = inner;
    }
    let bare = ["String", "str", "&'static str", "Vec<u8>", "Vec<String>", "Bytes", "[u8"];
    SECRETS.iter().any(|secret| name.contains(secret))
        && bare.iter().any(|bare| kind.starts_with(bare))
}

/// Every struct of a file that derives `Debug`: its name, and what is declared in it.
fn shown_structs(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    let (mut attributes, mut lines) = (String::new(), text.lines());
    while let Some(line) = lines.next() {
        let line = line.trim();
        let is_visibility = |before: &str| before.is_empty() || before.starts_with("pub");
        let declared = line.split_once("struct ").filter(|(before, _)| is_visibility(before));
        let Some((_, declared)) = declared else {
            let goes_on = line.starts_with("#[")
                || line.starts_with("//")
                || !attributes.is_empty() && !line.ends_with(['{', '}', ';']) && !line.is_empty();
            if goes_on && !line.starts_with("//") {
                attributes.push_str(line);
            } else if !goes_on {
                attributes.clear();
            }
            continue;
        };
        let attributes = std::mem::take(&mut attributes);
        let is_message = attributes.contains("Message") && !attributes.contains("skip_debug");
        let name: String = declared.chars().take_while(|c| c.is_alphanumeric()).collect();
        let mut fields = Vec::new();
        if let Some((_, inner)) = declared.split_once('(') {
            let kind = inner.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            fields.push((name.clone(), kind.to_owned()));
        } else if declared.ends_with('{') {
            for line in lines.by_ref().take_while(|line| line.trim() != "}") {
                let line = line.trim().trim_end_matches(',');
                if let Some((name, kind)) = line.split_once(": ").filter(|_| !is_comment(line)) {
                    let name = name.rsplit(' ').next().unwrap_or(name);
                    fields.push((name.to_owned(), kind.to_owned()));
                }
            }
        }
        if attributes.contains("Debug") || is_message {
            found.push((name, fields));
        }
    }
    found
}

/// A19: what is called a secret is one by its type, or has a `Debug` of its own.
#[test]
fn what_holds_a_secret_shows_none() {
    let seen = shown_structs(
        "#[derive(Debug)]\nstruct A {\n    /// Text: more.\n    pub(crate) token: Option<String>,\n}\n\
         #[derive(Clone)]\npub struct B {\n    token: String,\n}\n\
         #[derive(Clone, Message)]\n#[prost(skip_debug)]\nstruct C {\n    token: String,\n}\n\
         #[derive(Message)]\npub(super) struct D {\n    #[prost(string, tag = \"1\")]\n    \
         password: String,\n}\n#[derive(Debug)]\npub struct Token(String);\n\
         #[derive(Debug)]\nstruct E {\n    secret: Secret<String>,\n}\n",
    );
    let bare: Vec<&str> = seen
        .iter()
        .filter(|(_, fields)| fields.iter().any(|(name, kind)| is_bare_secret(name, kind)))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(bare, ["A", "D", "Token"], "the test sees what it is for: {seen:?}");
    let mut faults = Vec::new();
    for folder in ["micro/src", "examples"] {
        for (path, text) in sources(folder) {
            for (owner, fields) in shown_structs(&product(&path, &text)) {
                for (name, _) in fields.iter().filter(|(name, kind)| is_bare_secret(name, kind)) {
                    faults.push(format!("{}: {owner}.{name} shows a secret", path.display()));
                }
            }
        }
    }
    assert_none(&faults);
}

/// A10: keys of tests are made when they run.
#[test]
fn a10_no_file_holds_a_private_key() {
    let (mut faults, mut folders, mut read) = (Vec::new(), vec![root()], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
                folders.push(path);
            } else if kind.is_file() {
                let bytes = fs::read(&path).unwrap();
                read += 1;
                let text = String::from_utf8_lossy(&bytes);
                let is_key = |line: &str| {
                    line.contains(concat!("-----BE", "GIN")) && line.contains("PRIVATE KEY-----")
                };
                if text.lines().any(is_key) {
                    faults.push(format!("{} holds a private key", path.display()));
                }
            }
        }
    }
    assert!(read > 500, "{read} files are looked at");
    assert_none(&faults);
}
