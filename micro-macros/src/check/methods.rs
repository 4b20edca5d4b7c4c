//! Checks of the marked members of an item, one after the other and against each other.

use crate::args;
use crate::args::Access;
use crate::args::ServiceArgs;
use crate::check::method;
use crate::check::method::Named;
use crate::check::method::Place;
use crate::check::signature::Subject;
use crate::errors::Errors;
use crate::errors::Id;
use crate::model::Endpoint;
use crate::model::Passed;
use crate::model::Subscription;
use crate::names;
use crate::parse::Function;
use crate::parse::Mark;
use crate::parse::Member;
use crate::parse::MemberBody;
use crate::parse::Members;
use crate::parse::Role;
use crate::text::show;
use proc_macro2::Ident;

/// What the marked members lower to.
pub(crate) struct Methods<'a> {
    service: &'a Ident,
    defaults: &'a ServiceArgs,
    place: Place,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) subscriptions: Vec<Subscription>,
    produced: Vec<Produced>,
}

/// A wire name and the method it comes from, sound or not.
struct Produced {
    wire: String,
    ident: Ident,
    conditional: bool,
}

impl<'a> Methods<'a> {
    pub(crate) fn new(service: &'a Ident, defaults: &'a ServiceArgs, place: Place) -> Self {
        let (endpoints, subscriptions, produced) = (Vec::new(), Vec::new(), Vec::new());
        Self { service, defaults, place, endpoints, subscriptions, produced }
    }

    pub(crate) fn lower(&mut self, members: &Members, errors: &mut Errors) {
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
            let text = format!(
                "contract method `{ident}` cannot be a subscriber: topics are the contract for \
                 events\nhelp: share a `Topic<T>` const and put `#[subscriber]` in an inherent impl"
            );
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
    let name = match &member.body {
        MemberBody::Function(function) => Some(&function.sig.ident),
        MemberBody::Raw { name, .. } => name.as_ref(),
    };
    for mark in &member.hidden {
        let condition = args::pieces(mark.args()).first().map(show).unwrap_or_default();
        let role = mark.role.name();
        let text = format!(
            "`#[{role}]` of `{}` inside `cfg_attr` is invisible to `#[service]`\n\
             help: use `#[cfg({condition})] #[{role}]`",
            show(name)
        );
        errors.push(Id::D07, &mark.attribute, text);
    }
}

/// D08, D09: one mark per method.
fn repeated_marks(member: &Member, errors: &mut Errors) {
    let MemberBody::Function(function) = &member.body else { return };
    let ident = &function.sig.ident;
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
