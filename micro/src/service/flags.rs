//! The command line: settings as flags, and the program's own flags beside them.

use std::ffi::OsString;
use std::fmt::Write;

use crate::config::Flat;
use crate::core::error::{Error, Result};
use crate::core::nearest::nearest;
use crate::core::secret::without_passwords;
use crate::service::settings::{SECTION, SPECS, foreign};

/// A flag of the program itself.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) name: String,
    pub(crate) help: String,
}

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Flags {
    /// Settings, `--set` keys and the program's own flags.
    pub(crate) values: Flat,
    /// Whether `--help` was asked for.
    pub(crate) help: bool,
}

/// Flags that are no settings.
const OTHERS: [&str; 2] = ["set", "help"];

/// Reads the arguments, without the program's name.
///
/// `--name value`, `--name=value`, with `_` or `-` in names; what follows `--` is the program's.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>, own: &[Own]) -> Result<Flags> {
    let mut flags = Flags { values: Flat::new("flags"), help: false };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let arg = text(arg)?;
        if arg == "--" {
            break;
        }
        if arg == "-h" || arg == "--help" {
            flags.help = true;
            continue;
        }
        let Some(flag) = arg.strip_prefix("--") else {
            let arg = without_passwords(&arg);
            let arg = arg.escape_debug();
            return Err(wrong(format!("unexpected argument `{arg}`; flags begin with `--`")));
        };
        let (name, given) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        flags.take(name, given, &mut args, own)?;
    }
    Ok(flags)
}

impl Flags {
    fn take(
        &mut self,
        name: &str,
        given: Option<String>,
        args: &mut impl Iterator<Item = OsString>,
        own: &[Own],
    ) -> Result<()> {
        if let Some(own) = own.iter().find(|own| same(&own.name, name)) {
            // The program's own flags take a value only after `=`: whether the next argument
            // belongs to them is not known here.
            let key = own.name.replace('-', "_");
            self.values.set(key, given.unwrap_or_else(|| "true".to_owned()), format!("--{name}"));
            return Ok(());
        }
        let spec = SPECS.iter().find(|spec| same(spec.name, name));
        let foreign = foreign(&name.replace('-', "_"));
        if spec.is_none() && foreign.is_none() && name != "set" {
            return Err(unknown(name, own));
        }
        let value = match given {
            Some(value) => value,
            None => args
                .next()
                .map(text)
                .transpose()?
                .ok_or_else(|| wrong(format!("`--{name}` needs a value: `--{name}=VALUE`")))?,
        };
        if let Some(text) = foreign {
            tracing::warn!(flag = name, "{text}");
            return Ok(());
        }
        if let Some(spec) = spec {
            self.values.set(format!("{SECTION}.{}", spec.name), value, format!("--{name}"));
            return Ok(());
        }
        let (key, value) = value.split_once('=').ok_or_else(|| {
            wrong("`--set` takes KEY=VALUE, such as `--set smtp.host=localhost`".to_owned())
        })?;
        self.values.set(key, value, format!("--set {key}"));
        Ok(())
    }
}

fn text(arg: OsString) -> Result<String> {
    arg.into_string().map_err(|arg| wrong(format!("the argument {arg:?} is not Unicode")))
}

/// Compares names of flags, to which `_` and `-` are one.
fn same(left: &str, right: &str) -> bool {
    let plain = |c: char| if c == '-' { '_' } else { c };
    left.chars().map(plain).eq(right.chars().map(plain))
}

fn unknown(name: &str, own: &[Own]) -> Error {
    let shown = name.escape_debug();
    let plain = name.replace('-', "_");
    let own: Vec<String> = own.iter().map(|own| own.name.replace('-', "_")).collect();
    let names = SPECS.iter().map(|spec| spec.name).chain(OTHERS);
    let names = names.chain(own.iter().map(String::as_str));
    let hint = nearest(&plain, names).map_or_else(
        || "; `--help` lists what there is".to_owned(),
        |meant| format!("; did you mean `--{}`?", meant.replace('_', "-")),
    );
    wrong(format!("unknown flag `--{shown}`{hint}"))
}

fn wrong(detail: String) -> Error {
    Error::bad_request("micro.flags", detail)
}

/// Writes what flags there are.
pub(crate) fn help(program: &str, own: &[Own]) -> String {
    let mut out = format!("Usage: {program} [FLAGS]\n\nFlags (and their variables):\n");
    let mut line = |flag: String, help: &str| {
        // Writing into a string cannot fail.
        let _written = writeln!(out, "  {flag:<40} {help}");
    };
    for spec in SPECS {
        let flag = format!("--{} {}", spec.name.replace('_', "-"), spec.value);
        let variable = format!("MICRO_{}", spec.name.to_ascii_uppercase());
        line(flag, &format!("{} [{variable}]", spec.help));
    }
    line("--set KEY=VALUE".to_owned(), "a setting of the program [MICRO_CONFIG_KEY]");
    for own in own {
        line(format!("--{}", own.name), &own.help);
    }
    line("--help".to_owned(), "this text");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::heard::Heard;

    fn once() -> Vec<Own> {
        vec![Own { name: "once".into(), help: "end at once".into() }]
    }

    fn read(args: &[&str]) -> Result<Flags> {
        parse(args.iter().map(OsString::from), &once())
    }

    #[test]
    fn both_spellings_and_both_forms_are_read() {
        for args in [
            ["--server_address", "a:1"].as_slice(),
            &["--server-address", "a:1"],
            &["--server-address=a:1"],
        ] {
            let flags = read(args).unwrap();
            assert_eq!(flags.values.text("micro.server_address"), Some("a:1"));
        }
        let flags = read(&["--set", "smtp.host=b=c", "--once"]).unwrap();
        assert_eq!(flags.values.text("smtp.host"), Some("b=c"));
        assert_eq!(flags.values.text("once"), Some("true"));
    }

    #[test]
    fn a_flag_of_go_micro_without_a_meaning_is_taken_with_its_value_and_one_warning() {
        let words = ["--client_pool_size", "10", "--profile=dev", "--server-address", "a:1"];
        let (flags, warned) = Heard::during(|| read(&words).unwrap());
        assert_eq!(flags.values.text("micro.server_address"), Some("a:1"));
        assert_eq!(flags.values.text("micro.client_pool_size"), None);
        let expected = [
            "`client_pool_size` has no meaning here: calls share a connection",
            "`profile` has no meaning here: each part is chosen by its own setting",
        ];
        assert_eq!(warned, expected);
    }

    #[test]
    fn an_unknown_flag_names_the_nearest_one() {
        for (arg, part) in [
            ("--server-adress", "did you mean `--server-address`?"),
            ("--onec", "did you mean `--once`?"),
            ("--verbose", "`--help` lists"),
            ("file.txt", "unexpected argument `file.txt`"),
        ] {
            let error = read(&[arg]).unwrap_err();
            assert!(error.detail().contains(part), "{error}");
        }
    }

    #[test]
    fn a_flag_without_its_value_is_an_error() {
        assert!(read(&["--registry"]).unwrap_err().detail().contains("`--registry` needs a value"));
        assert!(read(&["--set", "a"]).unwrap_err().detail().contains("KEY=VALUE"));
    }

    #[test]
    fn what_follows_two_dashes_is_the_programs() {
        let flags = read(&["--once=2", "--", "--whatever", "x"]).unwrap();
        assert_eq!(flags.values.text("once"), Some("2"));
    }

    #[test]
    fn the_help_names_every_flag_and_variable() {
        assert!(read(&["-h"]).unwrap().help);
        let help = help("hello", &once());
        for part in ["--server-address ADDRESS", "[MICRO_REGISTRY]", "--once", "--help"] {
            assert!(help.contains(part), "{help}");
        }
    }
}
