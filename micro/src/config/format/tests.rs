//! Each format, and what it refuses.

use serde_json::json;

use super::*;

fn lines(format: Format, text: &str) -> Vec<(String, usize)> {
    let value = format.parse(text).unwrap();
    format.lines(text, &value).into_iter().collect()
}

#[test]
fn json_keys_know_their_lines() {
    let text =
        "{\"a\": 1,\n \"b\": {\"c\": [{\"d\": 1}],\n\n  \"e\\\"\": \"x:\\\"{,\"},\n\"f\": 2}";
    let found = lines(Format::Json, text);
    let wanted = [("a", 1), ("b", 2), ("b.c", 2), ("b.e\"", 4), ("f", 5)];
    assert_eq!(found, wanted.map(|(key, line)| (key.to_owned(), line)));
}

#[test]
fn extensions_that_are_not_known_name_what_is_meant() {
    for (extension, part) in [("jsn", "did you mean `.json`?"), ("ini", "there are json, yaml")] {
        let error = Format::of(Some(extension)).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(Format::of(Some("JSON")), Ok(Format::Json));
}

#[cfg(not(feature = "toml"))]
#[test]
fn a_format_that_is_not_compiled_in_names_its_feature() {
    assert!(Format::of(Some("toml")).unwrap_err().contains("enable the feature `toml`"));
}

#[test]
fn a_document_that_is_no_object_is_refused() {
    assert!(Format::Json.parse("[1]").is_err());
    assert_eq!(Format::Json.parse("\u{feff}{}"), Ok(json!({})));
}

#[cfg(feature = "yaml")]
#[test]
fn yaml_is_read_literally() {
    let text = "# mail\nsmtp:\n  host: ${HOME}\n  port: 25\n  to: [a, b]\ndb:\n  port: 5432\n";
    let value = Format::Yaml.parse(text).unwrap();
    let smtp = json!({"host": "${HOME}", "port": 25, "to": ["a", "b"]});
    assert_eq!(value, json!({"smtp": smtp, "db": {"port": 5432}}));
    let found = Format::Yaml.lines(text, &value);
    for (key, line) in [("smtp", 2), ("smtp.host", 3), ("smtp.port", 4), ("db.port", 7)] {
        assert_eq!(found.get(key), Some(&line), "{key}");
    }
    assert_eq!(Format::Yaml.parse("# nothing\n"), Ok(json!({})));
}

#[cfg(feature = "yaml")]
#[test]
fn yaml_cannot_grow_or_nest_without_end() {
    let bomb: String = (1..30).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect();
    assert!(Format::Yaml.parse(&format!("a0: &a0 x\n{bomb}")).is_err());
    assert!(Format::Yaml.parse(&format!("a: {}", "[".repeat(100_000))).is_err());
    let deep: String = (0..3000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    assert!(Format::Yaml.parse(&deep).is_err());
}

#[cfg(feature = "toml")]
#[test]
fn toml_is_read() {
    let text = "name = \"a\"\n[smtp]\nport = 25\n[db]\nport = 1\npool.size = 3\n";
    let value = Format::Toml.parse(text).unwrap();
    let db = json!({"port": 1, "pool": {"size": 3}});
    assert_eq!(value, json!({"name": "a", "smtp": {"port": 25}, "db": db}));
    let found = Format::Toml.lines(text, &value);
    for (key, line) in [("name", 1), ("smtp", 2), ("smtp.port", 3), ("db.port", 5)] {
        assert_eq!(found.get(key), Some(&line), "{key}");
    }
    assert!(Format::Toml.parse(&format!("a = {}", "[".repeat(100_000))).is_err());
}

#[cfg(feature = "hcl")]
#[test]
fn hcl_is_read_and_evaluates_nothing() {
    let text = "name = \"${env.HOME}\"\nsmtp {\n  port = 25\n}\nnode \"a\" {\n  zone = 1\n}\n";
    let value = Format::Hcl.parse(text).unwrap();
    let node = json!({"a": {"zone": 1}});
    assert_eq!(value, json!({"name": "${env.HOME}", "smtp": {"port": 25}, "node": node}));
    let found = Format::Hcl.lines(text, &value);
    assert_eq!((found.get("smtp.port"), found.get("node")), (Some(&3), Some(&5)));
    assert!(Format::Hcl.parse(&format!("a = {}", "[".repeat(100_000))).is_err());
}

#[cfg(feature = "xml")]
#[test]
fn xml_is_read_as_text() {
    let text = "<?xml version=\"1.0\"?>\n<app>\n <smtp port=\"25\">\n  <host>a &amp; b&#33;</host>\n  \
                <to>x</to><to>y</to>\n </smtp>\n <name><![CDATA[<n>]]></name>\n</app>";
    let value = Format::Xml.parse(text).unwrap();
    let smtp = json!({"port": "25", "host": "a & b!", "to": ["x", "y"]});
    assert_eq!(value, json!({"smtp": smtp, "name": "<n>"}));
    let found = Format::Xml.lines(text, &value);
    assert_eq!((found.get("smtp.port"), found.get("smtp.host")), (Some(&3), Some(&4)));
    assert_eq!(Format::Xml.parse("<app/>"), Ok(json!({})));
}

#[cfg(feature = "xml")]
#[test]
fn xml_refuses_what_reaches_outside_or_never_ends() {
    let bomb = "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a><b>&x;</b></a>";
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    for (text, part) in [
        (bomb, "document type"),
        ("<a><b>&x;</b></a>", "unknown entity `x`"),
        (deep.as_str(), "elements are open"),
        ("<a>\n<b></a>", "line 2"),
        ("<a>", "not closed"),
        ("<a/><b/>", "more than one"),
        ("", "no element"),
    ] {
        let error = Format::Xml.parse(text).unwrap_err();
        assert!(error.contains(part), "{part}: {error}");
    }
}

/// Whoever reads the log of a broken file does not read what is in it.
#[test]
fn broken_files_name_the_line_and_hide_what_is_on_it() {
    let broken = [
        (Format::Json, "{\n\"password\": \"hunter2\" x}"),
        #[cfg(feature = "yaml")]
        (Format::Yaml, "a: 1\npassword: \"hunter2\" x\n"),
        #[cfg(feature = "toml")]
        (Format::Toml, "a = 1\npassword = \"hunter2\" x\n"),
        #[cfg(feature = "hcl")]
        (Format::Hcl, "a = 1\npassword = \"hunter2\" x\n"),
        #[cfg(feature = "xml")]
        (Format::Xml, "<a>\n<password>hunter2</x></a>"),
    ];
    for (format, text) in broken {
        let error = format.parse(text).unwrap_err();
        assert!(!error.contains("hunter2"), "{format:?}: {error}");
        assert!(error.contains("line 2"), "{format:?}: {error}");
    }
}
