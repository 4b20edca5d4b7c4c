//! The attribute macros of `micro`.
