//! What an expansion needs to know: plain data, neither parsed nor printed here.

use crate::docs::Docs;
use crate::parse::ImplBlock;
use crate::parse::TraitBlock;
use proc_macro2::Ident;
use proc_macro2::TokenStream;
use std::time::Duration;
use syn::Attribute;
use syn::Generics;
use syn::Member;
use syn::Path;
use syn::Type;
use syn::Visibility;

/// What an attribute turned out to stand on.
pub(crate) enum Model {
    Service(Box<Service>),
    Wired(Box<Wired>),
    Function(Box<FreeSubscriber>),
    /// Nothing can be generated; the item is printed as it came.
    Opaque(TokenStream),
}

/// An inherent `impl` or a contract.
pub(crate) struct Service {
    pub(crate) krate: Path,
    pub(crate) form: Form,
    /// The type's or the trait's identifier.
    pub(crate) ident: Ident,
    /// Visibility of what is generated beside the item.
    pub(crate) vis: Visibility,
    pub(crate) client: Option<Ident>,
    pub(crate) name: String,
    /// `None` is the version of the package that is compiled.
    pub(crate) version: Option<String>,
    pub(crate) docs: Docs,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) subscriptions: Vec<Subscription>,
}

pub(crate) enum Form {
    Inherent(Box<ImplBlock>),
    Contract {
        block: Box<TraitBlock>,
        /// Whether the trait is one that a client can implement; if not, a mistake says why.
        concrete: bool,
    },
}

/// Which side of a call streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unary,
    ServerStream,
    ClientStream,
    Bidi,
}

/// One exported method.
pub(crate) struct Endpoint {
    pub(crate) ident: Ident,
    /// `Greeter.Hello`.
    pub(crate) wire: String,
    pub(crate) kind: Kind,
    pub(crate) receiver: Receiver,
    pub(crate) context: Option<ContextArg>,
    pub(crate) request: Option<Request>,
    pub(crate) reply: Reply,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) public: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idempotent: bool,
    pub(crate) detached: bool,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) attributes: Passed,
}

/// What the user's attributes on a method mean for what is generated from it.
pub(crate) struct Passed {
    pub(crate) docs: Docs,
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) deprecated: Option<Deprecated>,
}

/// `#[deprecated]`, perhaps inside `cfg_attr`.
pub(crate) struct Deprecated {
    /// The attribute for the client's method.
    pub(crate) attribute: Attribute,
    /// Under which configuration it holds; `None` means always.
    pub(crate) condition: Option<TokenStream>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// `&self`
    Ref,
    /// `self: Arc<Self>`
    Shared,
    /// A free function.
    Absent,
}

/// A context parameter, whose type is checked to be ours.
#[derive(Clone)]
pub(crate) struct ContextArg {
    pub(crate) ty: Type,
    pub(crate) by_ref: bool,
}

/// The message parameter.
pub(crate) struct Request {
    pub(crate) ident: Ident,
    /// The message: the item type of a stream.
    pub(crate) ty: Type,
}

/// What comes back.
pub(crate) struct Reply {
    /// The return type as written.
    pub(crate) output: Type,
    /// The message (the item type of a stream); `None` is the `Ok` of an alias.
    pub(crate) ty: Option<Type>,
    /// The second argument of `Result`.
    pub(crate) error: Option<Type>,
}

/// A subscribing method.
pub(crate) struct Subscription {
    pub(crate) ident: Ident,
    pub(crate) wire: String,
    pub(crate) receiver: Receiver,
    pub(crate) context: Option<ContextArg>,
    pub(crate) topic: Topic,
    pub(crate) queue: Option<String>,
    pub(crate) concurrency: u32,
    /// The variant of the runtime's `Overflow`.
    pub(crate) overflow: &'static str,
    pub(crate) manual_ack: bool,
    pub(crate) event: Event,
    pub(crate) output: Type,
    pub(crate) error: Option<Type>,
    pub(crate) attributes: Passed,
}

pub(crate) enum Topic {
    Name(String),
    Constant(Path),
}

/// The event parameter.
pub(crate) struct Event {
    /// The message inside.
    pub(crate) ty: Type,
    /// Whether `Event<T>` is taken rather than `T`.
    pub(crate) envelope: bool,
}

/// A free subscribing function.
pub(crate) struct FreeSubscriber {
    pub(crate) krate: Path,
    pub(crate) item: TokenStream,
    pub(crate) vis: Visibility,
    pub(crate) ident: Ident,
    /// `None` when a mistake left nothing to call.
    pub(crate) subscription: Option<Subscription>,
}

/// A struct built from the running service.
pub(crate) struct Wired {
    pub(crate) krate: Path,
    /// The struct without our field attributes.
    pub(crate) item: TokenStream,
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    pub(crate) fields: Vec<WiredField>,
}

pub(crate) struct WiredField {
    pub(crate) member: Member,
    pub(crate) ty: Type,
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) source: WireSource,
}

pub(crate) enum WireSource {
    Service,
    Config(String),
    Default,
}
