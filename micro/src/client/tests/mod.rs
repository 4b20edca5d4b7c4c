//! The whole client against whole servers, over connections that break where a test wants it.

mod cut;
mod cuts;
mod deadline;
mod layers;
mod retries;
mod world;
