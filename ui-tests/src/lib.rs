//! Compile-pass, compile-fail and hygiene cases of the macros.
