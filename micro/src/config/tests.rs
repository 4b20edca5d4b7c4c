//! The rules for settings, each under its id.
