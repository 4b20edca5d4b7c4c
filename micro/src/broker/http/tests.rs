//! The http broker: pairs of processes, ends, go-micro.
