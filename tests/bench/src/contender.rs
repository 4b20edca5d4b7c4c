//! The contenders by name. To add one: a file in `peers/` that implements
//! [`Peer`](crate::peer::Peer), a variant here, and an arm in each `match`.

use std::str::FromStr;

use crate::cell::{Cell, Load};
use crate::outcome::{Fault, Outcome};
use crate::peer::{Announce, Peer as _};
use crate::peers;
use crate::workload::{self, Sample, Workload};

/// Who competes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// Plain tokio TCP without a framework: the limit.
    Raw,
    /// micro over its native transport.
    Native,
    /// micro over HTTP.
    Http,
    /// micro's server of gRPC, called by tonic's client.
    Grpc,
    /// tarpc.
    Tarpc,
    /// tonic.
    Tonic,
    /// axum behind hyper's client.
    Axum,
}

impl Contender {
    /// In the order of the report.
    pub(crate) const ALL: &'static [Self] =
        &[Self::Raw, Self::Native, Self::Http, Self::Grpc, Self::Tarpc, Self::Tonic, Self::Axum];

    /// As written in rows and options.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Native => "native",
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tarpc => "tarpc",
            Self::Tonic => "tonic",
            Self::Axum => "axum",
        }
    }

    /// What a reader must know to judge the comparison.
    pub(crate) fn settings(self) -> &'static str {
        match self {
            Self::Raw => {
                "tokio TCP, NODELAY, length-prefixed frames, rmp-serde named maps; server: handler \
                 polled inline, flush at 8 KiB or when input runs dry; client: task per call, \
                 slab of reply slots, yield once before flush; stream decoded \
                 from the read buffer. No framework: the limit"
            }
            Self::Native => {
                "micro with default limits and features, a service of `#[service]`, its typed \
                 client over a registry in memory, MessagePack"
            }
            Self::Http => {
                "the same service over HTTP/1.1 and JSON (payload as base64, body limit 4 MiB); \
                 hyper HTTP/1.1 client, one keep-alive connection per call in flight"
            }
            Self::Grpc => {
                "the same service over gRPC, called by the client of `tonic` as below: beside \
                 `tonic` this compares the servers alone"
            }
            Self::Tarpc => {
                "tarpc over LengthDelimitedCodec and postcard (encoder of our own, into a reused \
                 buffer), NODELAY set by us, default channel and client configuration, task per \
                 request as in its documentation"
            }
            Self::Tonic => {
                "tonic with prost, Server and Endpoint defaults (HTTP/2 windows, 200 concurrent \
                 streams, 4 MiB messages, NODELAY), one Channel per connection; stream fed by an \
                 iterator"
            }
            Self::Axum => {
                "axum::serve with Json (body limit 2 MiB, NODELAY), payload as base64; hyper \
                 HTTP/1.1 client, one keep-alive connection per call in flight"
            }
        }
    }

    /// The crates whose versions the report names.
    pub(crate) fn crates(self) -> &'static [&'static str] {
        match self {
            Self::Raw => &["tokio", "rmp-serde"],
            Self::Native => &["micro", "rmp-serde"],
            Self::Http => &["micro", "hyper", "serde_json"],
            Self::Grpc => &["micro", "tonic", "prost", "h2"],
            Self::Tarpc => &["tarpc", "postcard"],
            Self::Tonic => &["tonic", "prost", "h2"],
            Self::Axum => &["axum", "hyper", "serde_json"],
        }
    }

    /// Whether the cell means anything for this contender.
    pub(crate) fn runs(self, cell: &Cell) -> bool {
        match self {
            Self::Raw | Self::Native | Self::Grpc | Self::Tonic => true,
            Self::Tarpc => cell.load != Load::Stream,
            // A connection carries one call at a time, so the number of connections is given.
            Self::Http | Self::Axum => cell.load != Load::Stream && cell.shape.connections == 1,
        }
    }

    /// Runs the server until dropped.
    pub(crate) async fn serve(self, announce: Announce) -> Outcome<()> {
        match self {
            Self::Raw => peers::Raw::serve(announce).await,
            Self::Native => peers::Native::serve(announce).await,
            Self::Http => peers::Http::serve(announce).await,
            Self::Grpc => peers::Grpc::serve(announce).await,
            Self::Tarpc => peers::Tarpc::serve(announce).await,
            Self::Tonic => peers::Tonic::serve(announce).await,
            Self::Axum => peers::Axum::serve(announce).await,
        }
    }

    /// Runs the client through one workload.
    pub(crate) async fn drive(self, workload: &Workload) -> Outcome<Sample> {
        match self {
            Self::Raw => workload::drive::<peers::Raw>(workload).await,
            Self::Native => workload::drive::<peers::Native>(workload).await,
            Self::Http => workload::drive::<peers::Http>(workload).await,
            Self::Grpc => workload::drive::<peers::Grpc>(workload).await,
            Self::Tarpc => workload::drive::<peers::Tarpc>(workload).await,
            Self::Tonic => workload::drive::<peers::Tonic>(workload).await,
            Self::Axum => workload::drive::<peers::Axum>(workload).await,
        }
    }
}

impl FromStr for Contender {
    type Err = Fault;

    fn from_str(text: &str) -> Outcome<Self> {
        let known = Self::ALL.iter().copied().find(|contender| contender.name() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ");
            format!("no such contender: {text} (there are {names})").into()
        })
    }
}
