//! `micro new NAME`: a project that builds, runs and is tested.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};
use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::screen::Screen;

/// The files of a project, with what stands for its names.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../template/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("../template/lib.rs.txt")),
    ("src/main.rs", include_str!("../template/main.rs.txt")),
    ("tests/service.rs", include_str!("../template/service.rs.txt")),
    ("README.md", include_str!("../template/README.md.txt")),
    (".gitignore", "/target\n"),
];

/// Characters of a name.
const NAME_CHARS_MAX: usize = 64;

/// Names that mean something else to Rust or to Cargo.
const TAKEN: [&str; 14] = [
    "async", "await", "box", "build", "core", "crate", "deps", "examples", "micro", "std", "super",
    "test", "tokio", "serde",
];

pub(crate) fn command() -> Command {
    let path =
        |name: &'static str, value, help| Arg::new(name).long(name).value_name(value).help(help);
    Command::new("new")
        .about("Make a project with a service, its test and its program")
        .arg(Arg::new("name").value_name("NAME").required(true).help("The name of the service, such as `shop-orders`"))
        .arg(path("path", "DIRECTORY", "Where to put it [default: ./NAME]"))
        .arg(path("micro", "DIRECTORY", "Where the crate `micro` lies [default: where this program was built, else the registry]"))
}

pub(crate) fn run(args: &ArgMatches, screen: Screen) -> Outcome {
    let name = args.get_one::<String>("name").map_or("", String::as_str);
    check(name)?;
    let directory = args.get_one::<String>("path").map_or_else(|| name.into(), PathBuf::from);
    let dependency = dependency(args.get_one::<String>("micro"))?;
    make(&directory, name, &dependency)?;
    let place = directory.display().to_string();
    screen.said(
        &json!({"name": name, "path": place}),
        &format!("made {place}; `cd {place} && cargo run` serves it, `cargo test` tests it"),
    )
}

/// Refuses what is no name of a crate or of a service.
fn check(name: &str) -> Outcome {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    let ends = !name.ends_with('-') && !name.contains("--");
    if begins
        && ends
        && name.len() <= NAME_CHARS_MAX
        && name.chars().all(fits)
        && !TAKEN.contains(&name)
    {
        return Ok(());
    }
    let suggestion: String = name
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if fits(c) { c } else { '-' })
        .collect();
    let suggestion = suggestion.trim_matches(|c: char| !c.is_ascii_lowercase()).to_owned();
    let hint = match check_plain(&suggestion) {
        true if suggestion != name => format!(", such as `{suggestion}`"),
        _ => ", such as `greeter`".to_owned(),
    };
    Err(Failure::usage(format!(
        "`{name}` is no name for a service: small letters, digits and single `-` between them{hint}"
    )))
}

fn check_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains("--") && !TAKEN.contains(&name)
}

/// Returns how the project depends on this crate.
fn dependency(given: Option<&String>) -> Outcome<String> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = match given {
        Some(path) => fs::canonicalize(path)?,
        None if built.join("Cargo.toml").is_file() => built.to_owned(),
        None => return Ok(format!("micro = \"{}\"", env!("CARGO_PKG_VERSION"))),
    };
    if !path.join("Cargo.toml").is_file() {
        return Err(Failure::usage(format!("there is no crate at {}", path.display())));
    }
    let quoted = serde_json::Value::from(path.to_string_lossy().as_ref());
    Ok(format!("micro = {{ path = {quoted} }}"))
}

/// Writes the files; a directory that holds anything is left alone.
fn make(directory: &Path, name: &str, dependency: &str) -> Outcome {
    match fs::read_dir(directory).map(|mut entries| entries.next().is_some()) {
        Ok(false) => {}
        Ok(true) => {
            let place = directory.display();
            return Err(Failure::usage(format!(
                "{place} is there and not empty; `--path` names another"
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let library = name.replace('-', "_");
    let kind = pascal(name);
    for (file, text) in FILES {
        let path = directory.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let text = text
            .replace("{{name}}", name)
            .replace("{{library}}", &library)
            .replace("{{Type}}", &kind)
            .replace("{{dependency}}", dependency);
        fs::File::create_new(path)?.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// Returns a name as that of a type: `shop-orders` is `ShopOrders`.
fn pascal(name: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        chars.next().map_or_else(String::new, |first| {
            first.to_ascii_uppercase().to_string() + chars.as_str()
        })
    };
    name.split('-').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_none_say_which_would_be() {
        assert!(check("shop-orders2").is_ok());
        for (name, part) in [
            ("Shop_Orders", "`shop-orders`"),
            ("2shop", "`shop`"),
            ("", "`greeter`"),
            ("test", "`greeter`"),
            ("a--b", "`greeter`"),
        ] {
            let Err(Failure::Usage(text)) = check(name) else { panic!("{name} was taken") };
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_directory_with_something_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine"), "x").unwrap();
        assert!(matches!(make(dir.path(), "a", "micro = \"0.1\""), Err(Failure::Usage(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("x"), "shop-orders", "micro = \"0.1\"").unwrap();
        for (file, _) in FILES {
            let text = fs::read_to_string(dir.path().join("x").join(file)).unwrap();
            assert!(!text.contains("{{"), "{file}: {text}");
        }
    }
}
