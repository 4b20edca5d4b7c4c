//! The grammar of attribute arguments, read one comma-separated piece at a time so that one bad
//! argument hides no other.

use crate::errors::Errors;
use crate::errors::Id;
use crate::names;
use crate::text::show;
use crate::value;
use proc_macro2::Ident;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use quote::ToTokens;
use std::time::Duration;
use syn::Lit;
use syn::LitInt;
use syn::LitStr;
use syn::Path;
use syn::Token;
use syn::parse::Parser;
use syn::punctuated::Punctuated;

const SERVICE: &[&str] =
    &["name", "version", "scope", "public", "timeout", "metadata", "client", "crate"];
const HANDLER: &[&str] =
    &["name", "scope", "public", "timeout", "idempotent", "detached", "metadata"];
const SUBSCRIBER: &[&str] = &["topic", "queue", "concurrency", "ack"];
const FREE_SUBSCRIBER: &[&str] = &["topic", "queue", "concurrency", "ack", "crate"];
const WIRE: &[&str] = &["config", "default"];

/// Who may call: nothing said, everybody, or holders of one of the scopes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    #[default]
    Unsaid,
    Public,
    Scopes(Vec<String>),
}

/// Whether a client is generated, and under which name.
#[derive(Debug, Default)]
pub(crate) enum ClientChoice {
    #[default]
    Derived,
    Named(Ident),
    Absent,
}

/// Arguments of `#[service]`.
#[derive(Debug, Default)]
pub(crate) struct ServiceArgs {
    pub(crate) krate: Option<Path>,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) access: Access,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) client: ClientChoice,
}

/// Arguments of `#[handler]`.
#[derive(Debug, Default)]
pub(crate) struct HandlerArgs {
    pub(crate) name: Option<LitStr>,
    pub(crate) access: Access,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idempotent: bool,
    pub(crate) detached: bool,
    pub(crate) metadata: Vec<(String, String)>,
}

/// Where events come from.
#[derive(Debug, Clone)]
pub(crate) enum TopicSource {
    Name(LitStr),
    Constant(Path),
}

/// Arguments of `#[subscriber]`.
#[derive(Debug, Default)]
pub(crate) struct SubscriberArgs {
    pub(crate) krate: Option<Path>,
    /// Whether the key was written, be its value sound or not.
    pub(crate) topic_given: bool,
    pub(crate) topic: Option<TopicSource>,
    pub(crate) queue: Option<String>,
    /// Zero when unsaid.
    pub(crate) concurrency: u32,
    /// The word `manual`, when the handler acknowledges by itself.
    pub(crate) manual_ack: Option<Ident>,
}

/// Arguments of `#[wire]` on a field.
#[derive(Debug, Default)]
pub(crate) enum WireArgs {
    #[default]
    Service,
    Config(String),
    Default,
}

/// One argument: `key`, `key = value` or `key(list)`.
pub(crate) struct Arg {
    pub(crate) key: Ident,
    /// The piece as written.
    pub(crate) tokens: TokenStream,
    value: Value,
}

enum Value {
    Absent,
    Assigned(TokenStream),
    Listed(TokenStream),
}

/// Splits at the commas outside of delimiters; empty pieces vanish.
pub(crate) fn pieces(tokens: TokenStream) -> Vec<TokenStream> {
    let mut pieces = vec![Vec::new()];
    for token in tokens {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => pieces.push(Vec::new()),
            _ => {
                if let Some(piece) = pieces.last_mut() {
                    piece.push(token);
                }
            }
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces.into_iter().map(|piece| piece.into_iter().collect()).collect()
}

/// Reads the arguments without judging keys; pieces that have no key are errors.
pub(crate) fn split(tokens: TokenStream, known: &[&str], errors: &mut Errors) -> Vec<Arg> {
    let mut args = Vec::new();
    for tokens in pieces(tokens) {
        let mut rest = tokens.clone().into_iter();
        let Some(TokenTree::Ident(key)) = rest.next() else {
            let text = format!("expected an argument, found `{}`; {}", show(&tokens), list(known));
            errors.push(Id::D27, tokens, text);
            continue;
        };
        let value = match rest.next() {
            None => Value::Absent,
            Some(TokenTree::Punct(punct)) if punct.as_char() == '=' => {
                Value::Assigned(rest.collect())
            }
            Some(TokenTree::Group(group)) if rest.next().is_none() => Value::Listed(group.stream()),
            Some(_) => {
                let text =
                    format!("expected an argument, found `{}`; {}", show(&tokens), list(known));
                errors.push(Id::D27, tokens, text);
                continue;
            }
        };
        args.push(Arg { key, tokens, value });
    }
    args
}

fn list(known: &[&str]) -> String {
    let keys: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
    format!("expected one of {}", keys.join(", "))
}

/// Reads the arguments; unknown and repeated keys are errors and dropped.
fn read(tokens: TokenStream, known: &[&str], errors: &mut Errors) -> Vec<Arg> {
    let mut seen: Vec<String> = Vec::new();
    let mut args = split(tokens, known, errors);
    args.retain(|arg| {
        let key = arg.key.to_string();
        if !known.contains(&key.as_str()) {
            let mut text = format!("unknown argument `{key}`; {}", list(known));
            if let Some(meant) = names::suggestion(&key, known) {
                text.push_str(&format!("\nhelp: did you mean `{meant}`?"));
            }
            errors.push(Id::D27, &arg.key, text);
            return false;
        }
        if seen.contains(&key) {
            errors.push(Id::D28, &arg.key, format!("`{key}` given twice"));
            return false;
        }
        seen.push(key);
        true
    });
    args
}

/// Reads the arguments of `#[service]` on an `impl` or a `trait`.
pub(crate) fn service(tokens: TokenStream, errors: &mut Errors) -> ServiceArgs {
    let mut out = ServiceArgs::default();
    for arg in read(tokens, SERVICE, errors) {
        match arg.key.to_string().as_str() {
            "name" => out.name = arg.name("service", errors).map(|name| name.value()),
            "version" => out.version = arg.version(errors),
            "timeout" => out.timeout = arg.duration(errors),
            "metadata" => out.metadata = arg.metadata(errors),
            "client" => out.client = arg.client(errors),
            "crate" => out.krate = arg.krate(errors),
            _ => arg.access(&mut out.access, errors),
        }
    }
    out
}

/// Reads the arguments of `#[handler]`.
pub(crate) fn handler(tokens: TokenStream, errors: &mut Errors) -> HandlerArgs {
    let mut out = HandlerArgs::default();
    for arg in read(tokens, HANDLER, errors) {
        match arg.key.to_string().as_str() {
            "name" => out.name = arg.name("endpoint", errors),
            "timeout" => out.timeout = arg.duration(errors),
            "idempotent" => out.idempotent = arg.flag(errors),
            "detached" => out.detached = arg.flag(errors),
            "metadata" => out.metadata = arg.metadata(errors),
            _ => arg.access(&mut out.access, errors),
        }
    }
    out
}

/// Reads the arguments of `#[subscriber]`; only a free function may name the crate itself.
pub(crate) fn subscriber(tokens: TokenStream, free: bool, errors: &mut Errors) -> SubscriberArgs {
    let mut out = SubscriberArgs::default();
    for arg in read(tokens, if free { FREE_SUBSCRIBER } else { SUBSCRIBER }, errors) {
        match arg.key.to_string().as_str() {
            "topic" => {
                out.topic_given = true;
                out.topic = arg.topic(errors);
            }
            "queue" => out.queue = arg.name("queue", errors).map(|name| name.value()),
            "concurrency" => out.concurrency = arg.concurrency(errors),
            "crate" => out.krate = arg.krate(errors),
            _ => out.manual_ack = arg.manual_ack(errors),
        }
    }
    out
}

/// Reads the arguments of `#[wire]`.
pub(crate) fn wire(tokens: TokenStream, errors: &mut Errors) -> WireArgs {
    let mut out = WireArgs::Service;
    for arg in read(tokens, WIRE, errors) {
        if !matches!(out, WireArgs::Service) {
            errors.push(Id::D32, &arg.key, "`config` and `default` contradict each other");
            continue;
        }
        if arg.key == "default" {
            arg.flag(errors);
            out = WireArgs::Default;
        } else {
            let wanted = "`config` takes the path of a section such as \"smtp\"";
            out =
                WireArgs::Config(arg.string(wanted, errors).map(|s| s.value()).unwrap_or_default());
        }
    }
    out
}

impl Arg {
    /// Reports a value that is not of the wanted form, on the value or, without one, the key.
    fn wrong(&self, wanted: &str, errors: &mut Errors) {
        match &self.value {
            Value::Assigned(value) if !value.is_empty() => errors.push(Id::D29, value, wanted),
            Value::Listed(_) => errors.push(Id::D29, &self.tokens, wanted),
            _ => errors.push(Id::D29, &self.key, wanted),
        }
    }

    fn parsed<T>(&self, parser: impl Parser<Output = T>) -> Option<T> {
        match &self.value {
            Value::Assigned(value) => parser.parse2(value.clone()).ok(),
            _ => None,
        }
    }

    fn string(&self, wanted: &str, errors: &mut Errors) -> Option<LitStr> {
        let value = self.parsed(<LitStr as syn::parse::Parse>::parse);
        if value.is_none() {
            self.wrong(wanted, errors);
        }
        value
    }

    fn flag(&self, errors: &mut Errors) -> bool {
        if !matches!(self.value, Value::Absent) {
            self.wrong(&format!("`{}` takes no value", self.key), errors);
        }
        true
    }

    fn name(&self, what: &str, errors: &mut Errors) -> Option<LitStr> {
        let example = match what {
            "service" => "orders",
            "queue" => "mailer",
            _ => "Create",
        };
        let wanted = format!("`{}` takes a string such as \"{example}\"", self.key);
        let name = self.string(&wanted, errors)?;
        if names::is_wire_name(&name.value()) {
            return Some(name);
        }
        let text = format!(
            "`{}` is not a valid {what} name: {}",
            name.to_token_stream(),
            names::NAME_RULE
        );
        errors.push(Id::D30, &name, text);
        None
    }

    fn version(&self, errors: &mut Errors) -> Option<String> {
        let version = self.string("`version` takes a string such as \"1.4.0\"", errors)?;
        if let Err(reason) = value::semver(&version.value()) {
            errors.push(Id::D33, &version, format!("`version` must be semver: {reason}"));
        }
        Some(version.value())
    }

    fn duration(&self, errors: &mut Errors) -> Option<Duration> {
        let wanted = "`timeout` takes a duration string such as \"500ms\", \"2s\", \"1m\"";
        let text = self.string(wanted, errors)?;
        let duration = value::duration(&text.value());
        if duration.is_none() {
            self.wrong(wanted, errors);
        }
        duration
    }

    /// Reads `scope` or `public`, which exclude each other.
    fn access(&self, access: &mut Access, errors: &mut Errors) {
        let read = if self.key == "public" {
            self.flag(errors);
            Access::Public
        } else {
            Access::Scopes(self.scopes(errors))
        };
        if *access == Access::Unsaid {
            *access = read;
        } else {
            errors.push(Id::D32, &self.key, "`public` and `scope` contradict each other");
        }
    }

    fn scopes(&self, errors: &mut Errors) -> Vec<String> {
        let one = self.parsed(<LitStr as syn::parse::Parse>::parse);
        let many = || self.parsed(bracketed_strings);
        let scopes: Vec<String> = one
            .map(|one| vec![one])
            .or_else(many)
            .unwrap_or_default()
            .iter()
            .map(LitStr::value)
            .collect();
        // A comma would split one scope in two in the registry's record.
        let sound = |scope: &String| !scope.is_empty() && !scope.contains([',', ' ']);
        if scopes.is_empty() || !scopes.iter().all(sound) {
            let wanted =
                "`scope` takes a string or a list such as [\"orders:read\", \"orders:write\"]";
            self.wrong(wanted, errors);
        }
        scopes
    }

    fn metadata(&self, errors: &mut Errors) -> Vec<(String, String)> {
        let wanted = "`metadata` takes pairs such as `metadata(team = \"core\")`";
        let Value::Listed(list) = &self.value else {
            self.wrong(wanted, errors);
            return Vec::new();
        };
        let mut pairs: Vec<(String, String)> = Vec::new();
        for piece in pieces(list.clone()) {
            let Ok((key, value)) = pair.parse2(piece.clone()) else {
                errors.push(Id::D29, piece, wanted);
                continue;
            };
            let name = match syn::parse2::<Lit>(key.clone()) {
                Ok(Lit::Str(quoted)) => quoted.value(),
                _ => show(&key),
            };
            if names::RESERVED_METADATA.contains(&name.as_str()) {
                let text = format!("the metadata key `{name}` is set by the framework");
                errors.push(Id::D55, key, text);
            } else if pairs.iter().any(|(known, _)| *known == name) {
                errors.push(Id::D28, key, format!("`{name}` given twice"));
            } else {
                pairs.push((name, value.value()));
            }
        }
        pairs
    }

    fn client(&self, errors: &mut Errors) -> ClientChoice {
        match self.parsed(<Ident as syn::parse::Parse>::parse) {
            Some(none) if none == "none" => ClientChoice::Absent,
            Some(name) => ClientChoice::Named(name),
            None => {
                self.wrong("`client` takes a type name or `none`", errors);
                ClientChoice::Derived
            }
        }
    }

    fn krate(&self, errors: &mut Errors) -> Option<Path> {
        let path = self.parsed(Path::parse_mod_style);
        if path.is_none() {
            self.wrong("`crate` takes a path such as `my_facade::micro`", errors);
        }
        path
    }

    fn topic(&self, errors: &mut Errors) -> Option<TopicSource> {
        if let Some(path) = self.parsed(<Path as syn::parse::Parse>::parse) {
            return Some(TopicSource::Constant(path));
        }
        let wanted = "`topic` takes a string such as \"orders.created\" or a `Topic<T>` const";
        let name = self.string(wanted, errors)?;
        let value = name.value();
        let sound = |letter: char| letter.is_ascii_graphic();
        if value.is_empty() || !value.chars().all(sound) {
            let text = format!(
                "`{}` is not a valid topic: visible ASCII characters, at least one",
                name.to_token_stream()
            );
            errors.push(Id::D54, &name, text);
            return None;
        }
        Some(TopicSource::Name(name))
    }

    fn concurrency(&self, errors: &mut Errors) -> u32 {
        let number = self.parsed(<LitInt as syn::parse::Parse>::parse);
        let number = number.and_then(|number| number.base10_parse().ok()).unwrap_or_default();
        if number == 0 {
            self.wrong("`concurrency` takes a whole number from 1 up such as 16", errors);
        }
        number
    }

    fn manual_ack(&self, errors: &mut Errors) -> Option<Ident> {
        let word = self.parsed(<Ident as syn::parse::Parse>::parse);
        match word {
            Some(word) if word == "manual" => Some(word),
            Some(word) if word == "auto" => None,
            _ => {
                self.wrong("`ack` takes `auto` or `manual`", errors);
                None
            }
        }
    }
}

fn bracketed_strings(input: syn::parse::ParseStream<'_>) -> syn::Result<Vec<LitStr>> {
    let content;
    syn::bracketed!(content in input);
    let list = Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?;
    Ok(list.into_iter().collect())
}

/// `key = "value"`, the key being an identifier or a string.
fn pair(input: syn::parse::ParseStream<'_>) -> syn::Result<(TokenStream, LitStr)> {
    let key = if input.peek(LitStr) {
        input.parse::<LitStr>()?.into_token_stream()
    } else {
        input.call(<Ident as syn::ext::IdentExt>::parse_any)?.into_token_stream()
    };
    input.parse::<Token![=]>()?;
    Ok((key, input.parse()?))
}
