//! What the parts of the server promise together.
