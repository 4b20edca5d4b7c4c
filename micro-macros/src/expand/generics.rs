//! The generics of a generated client: only those that occur in its messages.

use crate::model::Service;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use quote::ToTokens;
use quote::quote;
use std::collections::BTreeSet;
use syn::GenericParam;
use syn::Generics;
use syn::TypeParamBound;
use syn::WherePredicate;
use syn::punctuated::Punctuated;

/// Selects the parameters that messages mention, with the bounds that mention no others.
pub(crate) fn of_messages(service: &Service, generics: &Generics) -> Generics {
    let mut mentioned = BTreeSet::new();
    for endpoint in &service.endpoints {
        if let Some(request) = &endpoint.request {
            words(request.ty.to_token_stream(), &mut mentioned);
        }
        match &endpoint.reply.ty {
            Some(ty) => words(ty.to_token_stream(), &mut mentioned),
            None => words(endpoint.reply.output.to_token_stream(), &mut mentioned),
        }
    }
    for subscription in &service.subscriptions {
        words(subscription.event.ty.to_token_stream(), &mut mentioned);
    }
    let (kept, dropped): (Vec<&GenericParam>, Vec<&GenericParam>) =
        generics.params.iter().partition(|param| mentioned.contains(&name(param)));
    let dropped: BTreeSet<String> = dropped.into_iter().map(name).collect();
    let free = |tokens: TokenStream| {
        let mut found = BTreeSet::new();
        words(tokens, &mut found);
        found.is_disjoint(&dropped)
    };
    let mut selected = Generics::default();
    for param in kept {
        let mut param = param.clone();
        if let GenericParam::Type(param) = &mut param {
            let bounds = std::mem::take(&mut param.bounds).into_iter();
            let bounds = bounds.filter(|bound: &TypeParamBound| free(bound.to_token_stream()));
            param.bounds = bounds.collect::<Punctuated<_, _>>();
        }
        selected.params.push(param);
    }
    let predicates = generics.where_clause.iter().flat_map(|clause| &clause.predicates);
    let predicates: Vec<WherePredicate> =
        predicates.filter(|predicate| free(predicate.to_token_stream())).cloned().collect();
    if !predicates.is_empty() && !selected.params.is_empty() {
        selected.make_where_clause().predicates.extend(predicates);
    }
    selected
}

/// The parameters without their defaults, for a type definition.
pub(crate) fn declared(generics: &Generics) -> Generics {
    let mut declared = generics.clone();
    declared.where_clause = None;
    for param in &mut declared.params {
        match param {
            GenericParam::Type(param) => {
                param.bounds = Punctuated::new();
                param.colon_token = None;
            }
            GenericParam::Lifetime(param) => param.bounds = Punctuated::new(),
            GenericParam::Const(_) => {}
        }
    }
    declared
}

/// A type that uses every type and lifetime parameter and is `Send + Sync` for all of them.
pub(crate) fn marker(generics: &Generics) -> TokenStream {
    let used = generics.params.iter().filter_map(|param| match param {
        GenericParam::Type(param) => Some(param.ident.to_token_stream()),
        GenericParam::Lifetime(param) => {
            let lifetime = &param.lifetime;
            Some(quote!(&#lifetime ()))
        }
        GenericParam::Const(_) => None,
    });
    quote!(::core::marker::PhantomData<fn() -> (#(#used,)*)>)
}

fn name(param: &GenericParam) -> String {
    match param {
        GenericParam::Type(param) => param.ident.to_string(),
        GenericParam::Const(param) => param.ident.to_string(),
        GenericParam::Lifetime(param) => param.lifetime.ident.to_string(),
    }
}

fn words(tokens: TokenStream, out: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                out.insert(ident.to_string());
            }
            TokenTree::Group(group) => words(group.stream(), out),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check;
    use crate::model::Form;
    use crate::model::Model;
    use quote::quote;

    #[test]
    fn only_parameters_of_messages_remain() {
        let item = quote! {
            impl<D: Db, T: Clone + Into<D>, const N: usize> Cache<D, T, N>
            where T: Debug, D: Other<T>
            {
                #[handler] async fn get(&self) -> Result<Vec<T>> { todo() }
            }
        };
        let (model, _errors) = check::service(quote!(), item);
        let Model::Service(service) = model else { panic!("a service") };
        let Form::Inherent(block) = &service.form else { panic!("an impl") };
        let selected = super::of_messages(&service, &block.generics);
        let clause = &selected.where_clause;
        assert_eq!(quote!(#selected #clause).to_string(), "< T : Clone > where T : Debug");
    }
}
