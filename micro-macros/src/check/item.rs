//! Checks of whole items: what the attribute stands on and what its members are.

use crate::args;
use crate::args::ClientChoice;
use crate::args::ServiceArgs;
use crate::check::method::Place;
use crate::check::methods::Methods;
use crate::docs::Docs;
use crate::errors::Errors;
use crate::errors::Id;
use crate::model::Endpoint;
use crate::model::Form;
use crate::model::Model;
use crate::model::Service;
use crate::model::Subscription;
use crate::names;
use crate::parse::Function;
use crate::parse::ImplBlock;
use crate::parse::Member;
use crate::parse::MemberBody;
use crate::parse::Members;
use crate::parse::Role;
use crate::parse::TraitBlock;
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
pub(crate) fn contract_impl(
    args: TokenStream,
    mut block: Box<ImplBlock>,
    errors: &mut Errors,
) -> Model {
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
pub(crate) fn inherent(args: TokenStream, mut block: Box<ImplBlock>, errors: &mut Errors) -> Model {
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
pub(crate) fn contract(
    args: TokenStream,
    mut block: Box<TraitBlock>,
    errors: &mut Errors,
) -> Model {
    let args = args::service(args, errors);
    let krate = args.krate.clone().unwrap_or_else(path::default_crate);
    block.members.list.iter_mut().for_each(|member| member.take_marks(&krate));
    let before = errors.count();
    generic_contract(&block, errors);
    demanding_contract(&block, errors);
    let concrete = errors.count() == before;
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
    service(
        Head { krate, ident, vis, docs, endpoints, subscriptions },
        args,
        Form::Contract { block, concrete },
    )
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
    let shape = "the wire has one concrete shape";
    if !block.generics.params.is_empty() {
        let generics = &block.generics;
        let text = format!("contract `{}` cannot be generic: {shape}", block.ident);
        errors.push(Id::D42, quote::quote!(#generics), text);
    }
    for member in &block.members.list {
        let MemberBody::Raw { kind, name: Some(name), tokens, .. } = &member.body else { continue };
        let given = tokens.clone().into_iter().any(|token| token.to_string() == "=");
        if member.marks.is_empty() && (kind == "type" || (kind == "const" && !given)) {
            let text =
                format!("contract `{}` cannot be generic over `{name}`: {shape}", block.ident);
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
    let MemberBody::Function(function) = &member.body else { return };
    let Function { sig, block: None, .. } = &**function else { return };
    if member.marks.is_empty() && member.hidden.is_empty() {
        let text = format!(
            "contract method `{}` is neither a `#[handler]` nor has a default body",
            sig.ident
        );
        errors.push(Id::D41, &sig.ident, text);
    }
}
