//! `grpc.reflection.v1` and `v1alpha`: what can be called, for tools that know no `.proto` file.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::glue::{DecodeProst, EncodeProst, Wire};
use crate::core::descriptor::{CallKind, EndpointSpec, ServiceDescriptor};
use crate::core::error::Error;
use crate::core::status::Code;
use crate::server::grpc::descriptors::Descriptors;
use crate::server::grpc::health::{self, endpoint};
use crate::server::serve::{Endpoint, Serve, inbound, respond_stream};
use crate::server::subscription::Subscription;

/// The packages of the service, under which it is mounted; both speak the same.
pub(in crate::server) const REFLECTION: [&str; 2] =
    ["grpc.reflection.v1", "grpc.reflection.v1alpha"];

/// Answers out of the descriptors that the server was given.
#[derive(Clone, Debug)]
pub(in crate::server) struct Reflection(pub(in crate::server) Arc<Descriptors>);

#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(oneof = "Question", tags = "3, 4, 5, 6, 7")]
    question: Option<Question>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Question {
    #[prost(string, tag = "3")]
    File(String),
    #[prost(string, tag = "4")]
    Symbol(String),
    #[prost(message, tag = "5")]
    Extension(Extension),
    #[prost(string, tag = "6")]
    Extensions(String),
    #[prost(string, tag = "7")]
    Services(String),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Extension {
    #[prost(string, tag = "1")]
    of: String,
    #[prost(int32, tag = "2")]
    number: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answered {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(message, optional, tag = "2")]
    asked: Option<Asked>,
    #[prost(oneof = "Answer", tags = "4, 5, 6, 7")]
    answer: Option<Answer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Answer {
    #[prost(message, tag = "4")]
    Files(Files),
    #[prost(message, tag = "5")]
    Extensions(Extensions),
    #[prost(message, tag = "6")]
    Services(Services),
    #[prost(message, tag = "7")]
    Missing(Missing),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Files {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Extensions {
    #[prost(string, tag = "1")]
    of: String,
    #[prost(int32, repeated, tag = "2")]
    numbers: Vec<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    services: Vec<ServiceName>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ServiceName {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Missing {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

impl Reflection {
    fn answer(&self, asked: Asked) -> Answered {
        let answer = match &asked.question {
            Some(Question::File(name)) => files(self.0.file(name), name),
            Some(Question::Symbol(symbol)) => files(self.0.symbol(symbol), symbol),
            Some(Question::Extension(Extension { of, number })) => {
                files(self.0.extension(of, *number), &format!("extension {number} of {of}"))
            }
            Some(Question::Extensions(of)) => match self.0.extensions(of) {
                Some(numbers) => Answer::Extensions(Extensions { of: of.clone(), numbers }),
                None => missing(of),
            },
            Some(Question::Services(_)) => Answer::Services(self.services()),
            None => Answer::Missing(Missing {
                code: i32::from(Code::InvalidArgument.number()),
                message: "the request asks nothing that is known here".to_owned(),
            }),
        };
        Answered { host: asked.host.clone(), asked: Some(asked), answer: Some(answer) }
    }

    fn services(&self) -> Services {
        let own = REFLECTION.map(|package| format!("{package}.ServerReflection"));
        let health = format!("{}.Health", health::HEALTH);
        let mut names: Vec<_> = self.0.services().map(str::to_owned).collect();
        names.extend(own);
        names.push(health);
        names.sort_unstable();
        names.dedup();
        Services { services: names.into_iter().map(|name| ServiceName { name }).collect() }
    }
}

fn files(found: Option<Vec<Bytes>>, asked: &str) -> Answer {
    found.map_or_else(|| missing(asked), |files| Answer::Files(Files { files }))
}

fn missing(asked: &str) -> Answer {
    Answer::Missing(Missing {
        code: i32::from(Code::NotFound.number()),
        message: format!("no descriptor was given of {}", asked.escape_debug()),
    })
}

const ENDPOINTS: [EndpointSpec; 1] =
    [endpoint("ServerReflection.ServerReflectionInfo", CallKind::Bidi)];

impl Serve for Reflection {
    const DESCRIPTOR: &'static ServiceDescriptor = &ServiceDescriptor {
        name: REFLECTION[0],
        version: "",
        type_name: "ServerReflection",
        doc: "",
        endpoints: &ENDPOINTS,
        subscriptions: &[],
        metadata: &[],
    };
    const ENDPOINTS: &'static [Endpoint<Self>] = &[Endpoint {
        call: |reflection, _, incoming| {
            Box::pin(async move {
                let format = incoming.format().clone();
                let asked = inbound(incoming, (&&&Wire::<Asked>::new()).dec());
                let answers = asked.map(move |asked| reflection.answer(asked));
                let answers = Ok::<_, Error>(answers);
                respond_stream(&format, answers, (&&&Wire::<Answered>::new()).enc())
            })
        },
    }];
    const SUBSCRIPTIONS: &'static [Subscription<Self>] = &[];
}
