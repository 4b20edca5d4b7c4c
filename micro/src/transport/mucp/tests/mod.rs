//! What is said to go-micro, byte for byte, and what it says, however it is cut.

pub(crate) mod golden;
mod node;
mod streams;
mod unary;
