//! The whole client against whole servers, over connections that break where a test wants it.

mod addresses;
mod credentials;
mod cut;
mod cuts;
mod deadline;
mod dials;
mod hedges;
mod lab;
mod layers;
mod retries;
mod world;
