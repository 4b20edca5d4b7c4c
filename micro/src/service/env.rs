//! `MICRO_*` variables: each setting under its name in capitals.

use std::ffi::OsString;

use crate::config::Flat;
use crate::core::error::{Error, Result};
use crate::core::nearest::nearest;
use crate::service::settings::{SECTION, SPECS, foreign};

/// The prefix of every variable.
const PREFIX: &str = "MICRO_";

/// The prefix of the variables that are the program's own settings.
pub(crate) const CONFIG_PREFIX: &str = "MICRO_CONFIG_";

/// The variables of a process.
pub(crate) type Variables = Vec<(OsString, OsString)>;

/// Returns the variables of this process as they are at this moment.
pub(crate) fn of_process() -> Variables {
    std::env::vars_os().collect()
}

/// Takes the settings out of the variables.
///
/// A variable that is nearly the name of a setting is logged: other programs have variables with
/// this prefix too, so it is no error.
pub(crate) fn settings(variables: &Variables) -> Result<Flat> {
    let mut out = Flat::new("environment");
    for (variable, value) in variables {
        let Some(variable) = variable.to_str() else { continue };
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        if variable.starts_with(CONFIG_PREFIX) {
            continue;
        }
        let name = name.to_ascii_lowercase();
        if SPECS.iter().any(|spec| spec.name == name) {
            let value = value.to_str().ok_or_else(|| {
                let detail = format!("the value of {variable} is not Unicode");
                Error::precondition_failed("micro.service", detail)
            })?;
            out.set(format!("{SECTION}.{name}"), value, variable);
        } else if let Some(text) = foreign(&name) {
            tracing::warn!(variable, "{text}");
        } else if let Some(meant) = nearest(&name, SPECS.iter().map(|spec| spec.name)) {
            let meant = format!("{PREFIX}{}", meant.to_ascii_uppercase());
            tracing::warn!(variable, "unknown variable; did you mean {meant}?");
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::heard::Heard;

    #[test]
    fn a_variable_of_go_micro_without_a_meaning_is_one_warning() {
        let names = ["MICRO_LOG_LEVEL", "MICRO_PROFILE", "MICRO_STORE_TABLE", "MICRO_CLIENT"];
        let variables = names.map(|name| (name.into(), "x".into())).into();
        let (flat, warned) = Heard::during(|| settings(&variables).unwrap());
        assert_eq!(flat.text("micro.profile"), None);
        let known =
            ["log_level", "profile", "store_table", "client"].map(|name| foreign(name).unwrap());
        assert_eq!(warned, known);
    }

    #[test]
    fn settings_are_found_under_their_names_and_others_are_left_alone() {
        let variables = [
            ("MICRO_SERVER_ADDRESS", "127.0.0.1:1"),
            ("MICRO_CONFIG", "a.json"),
            ("MICRO_CONFIG_REGISTRY", "mine"),
            ("MICRO_REGSITRY", "typo"),
            ("MICRO_TEST_ETCD_BIN", "/x"),
            ("HOME", "/"),
        ];
        let variables = variables.map(|(key, value)| (key.into(), value.into())).into();
        let flat = settings(&variables).unwrap();
        assert_eq!(flat.text("micro.server_address"), Some("127.0.0.1:1"));
        assert_eq!(flat.text("micro.config"), Some("a.json"));
        assert_eq!(flat.text("micro.registry"), None);
    }
}
