//! What the cross-component tests share.
