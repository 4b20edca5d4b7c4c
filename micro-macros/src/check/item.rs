//! Checks of whole items: what the attribute stands on and what its members are.

use crate::args;
use crate::args::Access;
use crate::args::ClientChoice;
use crate::args::ServiceArgs;
use crate::check::method;
use crate::check::method::Named;
use crate::check::method::Place;
use crate::check::signature::Subject;
use crate::docs::Docs;
use crate::errors::Errors;
use crate::errors::Id;
use crate::model::Endpoint;
use crate::model::Form;
use crate::model::Model;
use crate::model::Passed;
use crate::model::Service;
use crate::model::Subscription;
use crate::names;
use crate::parse::Function;
use crate::parse::ImplBlock;
use crate::parse::Mark;
use crate::parse::Member;
use crate::parse::MemberBody;
use crate::parse::Members;
use crate::parse::Role;
use crate::parse::TraitBlock;
use crate::parse::arguments;
use crate::path;
use crate::text::show;
use crate::types;
use proc_macro2::Ident;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Path;
use syn::TypeParamBound;
use syn::Visibility;

/// D03: an implementation of a contract takes no attribute.
pub(crate) fn contract_impl(args: TokenStream, mut block: ImplBlock, errors: &mut Errors) -> Model {
    let krate = args::service(args, errors).krate.unwrap_or_else(path::default_crate);
    if let Some((contract, _)) = &block.contract {
        let server = types::last_segment(contract)
            .map_or_else(|| "Server".to_owned(), |last| names::server(&last.ident).to_string());
        let text = format!(
            "contract implementations need no attribute\n\
             help: remove `#[service]` and mount it with `{server}(value)`"
        );
        errors.push(Id::D03, contract, text);
    }
    block.members.list.iter_mut().for_each(|member| member.take_marks(&krate));
    Model::Opaque(block.into_token_stream())
}

/// Lowers an inherent `impl`.
pub(crate) fn inherent(args: TokenStream, mut block: ImplBlock, errors: &mut Errors) -> Model {
    let args = args::service(args, errors);
    let krate = args.krate.clone().unwrap_or_else(path::default_crate);
    block.members.list.iter_mut().for_each(|member| member.take_marks(&krate));
    let Some(last) = types::last_segment(&block.self_ty) else {
        let text =
            format!("`#[service]` needs a type with a name, found `{}`", show(&block.self_ty));
        errors.push(Id::D02, &block.self_ty, text);
        return Model::Opaque(block.into_token_stream());
    };
    let ident = last.ident.clone();
    if !exports(&block.members) {
        let text = format!(
            "service `{ident}` exports nothing\nhelp: mark at least one method `#[handler]` or \
             `#[subscriber(topic = \"\u{2026}\")]`"
        );
        errors.push(Id::D04, &block.self_ty, text);
    }
    let mut methods = Methods::new(&ident, &args, Place::Inherent);
    methods.lower(&block.members, errors);
    let (endpoints, subscriptions) = (methods.endpoints, methods.subscriptions);
    let vis = widest(&block.members);
    let docs = Docs::read(&block.attributes);
    service(Head { krate, ident, vis, docs, endpoints, subscriptions }, args, Form::Inherent(block))
}

/// Lowers a contract.
pub(crate) fn contract(args: TokenStream, mut block: TraitBlock, errors: &mut Errors) -> Model {
    let args = args::service(args, errors);
    let krate = args.krate.clone().unwrap_or_else(path::default_crate);
    block.members.list.iter_mut().for_each(|member| member.take_marks(&krate));
    generic_contract(&block, errors);
    demanding_contract(&block, errors);
    if !exports(&block.members) {
        let text = format!(
            "service `{}` exports nothing\nhelp: mark at least one method `#[handler]`",
            block.ident
        );
        errors.push(Id::D04, &block.ident, text);
    }
    for member in &block.members.list {
        abandoned_method(member, errors);
    }
    let ident = block.ident.clone();
    let mut methods = Methods::new(&ident, &args, Place::Contract);
    methods.lower(&block.members, errors);
    let (endpoints, subscriptions) = (methods.endpoints, methods.subscriptions);
    let docs = Docs::read(&block.attributes);
    let vis = block.vis.clone();
    service(Head { krate, ident, vis, docs, endpoints, subscriptions }, args, Form::Contract(block))
}

struct Head {
    krate: Path,
    ident: Ident,
    vis: Visibility,
    docs: Docs,
    endpoints: Vec<Endpoint>,
    subscriptions: Vec<Subscription>,
}

fn service(head: Head, args: ServiceArgs, form: Form) -> Model {
    let client = match args.client {
        ClientChoice::Derived => Some(names::client(&head.ident)),
        ClientChoice::Named(ident) => Some(ident),
        ClientChoice::Absent => None,
    };
    let name = args.name.unwrap_or_else(|| names::kebab_case(&names::plain(&head.ident)));
    Model::Service(Box::new(Service {
        krate: head.krate,
        form,
        ident: head.ident,
        vis: head.vis,
        client,
        name,
        version: args.version,
        docs: head.docs,
        metadata: args.metadata,
        endpoints: head.endpoints,
        subscriptions: head.subscriptions,
    }))
}

/// Whether anything is marked, soundly or not: a misused mark has its own message.
fn exports(members: &Members) -> bool {
    members.list.iter().any(|member| !member.marks.is_empty() || !member.hidden.is_empty())
}

/// The widest visibility among the handlers.
fn widest(members: &Members) -> Visibility {
    let handlers = members
        .list
        .iter()
        .filter(|member| member.marks.first().is_some_and(|mark| mark.role == Role::Handler));
    let visible = handlers.filter_map(|member| match &member.body {
        MemberBody::Function(function) => Some(&function.vis),
        MemberBody::Raw { .. } => None,
    });
    let rank = |vis: &Visibility| match vis {
        Visibility::Public(_) => 3,
        Visibility::Restricted(inside) if inside.path.is_ident("crate") => 2,
        Visibility::Restricted(_) => 1,
        Visibility::Inherited => 0,
    };
    visible.max_by_key(|vis| rank(vis)).cloned().unwrap_or(Visibility::Inherited)
}

/// D42: nothing in a contract may depend on who implements it.
fn generic_contract(block: &TraitBlock, errors: &mut Errors) {
    let text = "contracts cannot be generic: the wire has one concrete shape";
    if !block.generics.params.is_empty() {
        let generics = &block.generics;
        errors.push(Id::D42, quote::quote!(#generics), text);
    }
    for member in &block.members.list {
        let MemberBody::Raw { kind, name: Some(name), tokens, .. } = &member.body else { continue };
        let given = tokens.clone().into_iter().any(|token| token.to_string() == "=");
        if member.marks.is_empty() && (kind == "type" || (kind == "const" && !given)) {
            errors.push(Id::D42, name, text);
        }
    }
}

/// D26, D58: the generated client implements the contract, and can do no more than this.
fn demanding_contract(block: &TraitBlock, errors: &mut Errors) {
    if let Some(unsafety) = &block.unsafety {
        let text = format!("contract `{}` must not be `unsafe`", block.ident);
        errors.push(Id::D26, unsafety, text);
    }
    for bound in &block.supertraits {
        let TypeParamBound::Trait(demanded) = bound else { continue };
        let auto = demanded.path.segments.last().is_some_and(|last| {
            ["Send", "Sync", "Sized", "Unpin"].iter().any(|known| last.ident == known)
        });
        if !auto {
            let text = format!(
                "a contract asks only `Send`, `Sync` and `'static` of its implementations\n\
                 help: the generated client implements `{}` too; make `{}` a contract of its own",
                block.ident,
                show(demanded)
            );
            errors.push(Id::D58, demanded, text);
        }
    }
}

/// D41: a contract method is an endpoint or has a body.
fn abandoned_method(member: &Member, errors: &mut Errors) {
    let MemberBody::Function(Function { sig, block: None, .. }) = &member.body else { return };
    if member.marks.is_empty() && member.hidden.is_empty() {
        let text = format!(
            "contract method `{}` is neither a `#[handler]` nor has a default body",
            sig.ident
        );
        errors.push(Id::D41, &sig.ident, text);
    }
}

/// What the marked members lower to.
struct Methods<'a> {
    service: &'a Ident,
    defaults: &'a ServiceArgs,
    place: Place,
    endpoints: Vec<Endpoint>,
    subscriptions: Vec<Subscription>,
    produced: Vec<Produced>,
}

/// A wire name and the method it comes from, sound or not.
struct Produced {
    wire: String,
    ident: Ident,
    conditional: bool,
}

impl<'a> Methods<'a> {
    fn new(service: &'a Ident, defaults: &'a ServiceArgs, place: Place) -> Self {
        let (endpoints, subscriptions, produced) = (Vec::new(), Vec::new(), Vec::new());
        Self { service, defaults, place, endpoints, subscriptions, produced }
    }

    fn lower(&mut self, members: &Members, errors: &mut Errors) {
        for member in &members.list {
            hidden_marks(member, errors);
            repeated_marks(member, errors);
            let Some(mark) = member.marks.first() else { continue };
            match &member.body {
                MemberBody::Function(function) => {
                    let passed = method::passed(&member.attributes);
                    self.add(function, mark, passed, errors);
                }
                MemberBody::Raw { kind, name, reason, .. } => {
                    no_method(kind, name.as_ref(), mark, reason.as_ref(), errors);
                }
            }
        }
        self.duplicates(errors);
    }

    fn add(&mut self, function: &Function, mark: &Mark, passed: Passed, errors: &mut Errors) {
        let before = errors.count();
        let ident = function.sig.ident.clone();
        let service = names::plain(self.service);
        let mut wire = format!("{service}.{}", names::pascal_case(&names::plain(&ident)));
        let conditional = !passed.cfgs.is_empty();
        if mark.role == Role::Handler {
            let args = args::handler(mark.args(), errors);
            if let Some(name) = &args.name {
                wire = format!("{service}.{}", name.value());
            }
            let named = Named { wire: wire.clone(), passed };
            let subject = Subject::handler(&function.sig, self.place);
            let endpoint = method::endpoint(&subject, args, named, errors);
            let endpoint = endpoint.filter(|_| errors.count() == before);
            self.endpoints.extend(endpoint.map(|endpoint| inherited(endpoint, self.defaults)));
        } else if self.place == Place::Contract {
            let text = "topics are the contract for events\nhelp: share a `Topic<T>` const and \
                 put `#[subscriber]` in an inherent impl";
            errors.push(Id::D40, &mark.attribute, text);
        } else {
            let args = args::subscriber(mark.args(), false, errors);
            let named = Named { wire: wire.clone(), passed };
            let subject = Subject::subscriber(&function.sig, self.place);
            let lowered =
                method::subscription(&subject, args, named, Some(&mark.attribute), errors);
            self.subscriptions.extend(lowered.filter(|_| errors.count() == before));
        }
        self.produced.push(Produced { wire, ident, conditional });
    }

    /// D31: two methods may not answer to one name, unless `cfg` keeps them apart.
    fn duplicates(&self, errors: &mut Errors) {
        for (index, second) in self.produced.iter().enumerate() {
            let earlier = self.produced.iter().take(index);
            let clash = |first: &&Produced| {
                first.wire == second.wire && !(first.conditional && second.conditional)
            };
            let Some(first) = earlier.into_iter().find(clash) else { continue };
            let text = format!(
                "endpoint `{}` is produced twice, by `{}` and `{}`\n\
                 help: `#[handler(name = \"\u{2026}\")]`",
                first.wire, first.ident, second.ident
            );
            errors.push(Id::D31, &first.ident, text.clone());
            errors.push(Id::D31, &second.ident, text);
        }
    }
}

/// Fills what the handler leaves unsaid from the service's defaults.
fn inherited(mut endpoint: Endpoint, args: &ServiceArgs) -> Endpoint {
    if endpoint.scopes.is_none() && !endpoint.public {
        match &args.access {
            Access::Unsaid => {}
            Access::Public => endpoint.public = true,
            Access::Scopes(scopes) => endpoint.scopes = Some(scopes.clone()),
        }
    }
    endpoint.timeout = endpoint.timeout.or(args.timeout);
    endpoint
}

/// D07: a mark inside `cfg_attr` is not seen.
fn hidden_marks(member: &Member, errors: &mut Errors) {
    for attribute in &member.hidden {
        let pieces = args::pieces(arguments(attribute));
        let condition = pieces.first().map(show).unwrap_or_default();
        let is_handler = pieces.iter().skip(1).any(|piece| show(piece).contains("handler"));
        let role = if is_handler { Role::Handler } else { Role::Subscriber }.name();
        let text = format!(
            "`#[{role}]` inside `cfg_attr` is invisible to `#[service]`\n\
             help: use `#[cfg({condition})] #[{role}]`"
        );
        errors.push(Id::D07, attribute, text);
    }
}

/// D08, D09: one mark per method.
fn repeated_marks(member: &Member, errors: &mut Errors) {
    let MemberBody::Function(Function { sig: syn::Signature { ident, .. }, .. }) = &member.body
    else {
        return;
    };
    let Some((first, rest)) = member.marks.split_first() else { return };
    for mark in rest {
        if mark.role == first.role {
            let text = format!("duplicate `#[{}]` on `{ident}`", mark.role.name());
            errors.push(Id::D09, &mark.attribute, text);
        } else {
            let text = format!("method `{ident}` is both handler and subscriber");
            errors.push(Id::D08, &mark.attribute, text);
        }
    }
}

/// D06, D57: only methods that read as such are exported.
fn no_method(
    kind: &str,
    name: Option<&Ident>,
    mark: &Mark,
    reason: Option<&syn::Error>,
    errors: &mut Errors,
) {
    if let Some(reason) = reason {
        let text = format!("the signature of `{}` cannot be read: {reason}", show(name));
        errors.push_at(Id::D57, reason.span(), text);
        return;
    }
    let text = format!(
        "{kind} `{}` cannot be a {}; only `async fn` methods can",
        show(name),
        mark.role.name()
    );
    errors.push(Id::D06, name, text);
}
