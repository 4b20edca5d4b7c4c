//! The whole client against whole servers, over connections that break where a test wants it.

mod cut;
mod cuts;
mod deadline;
mod retries;
mod world;
