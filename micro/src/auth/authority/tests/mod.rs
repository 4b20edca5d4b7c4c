//! Who gets a certificate, and who gets in with what.

mod forged;
mod joining;
mod refused;
