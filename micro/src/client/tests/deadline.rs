//! One deadline for a chain of calls.
