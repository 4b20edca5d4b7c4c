//! Each format, and what it refuses.
