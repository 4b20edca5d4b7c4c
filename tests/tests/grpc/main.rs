//! gRPC with tonic at the other end: its client calls our server, our client calls its server.

#![cfg(feature = "grpc")]

mod called;
mod foreign;
mod served;
