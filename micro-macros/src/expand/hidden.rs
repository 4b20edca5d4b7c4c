//! The module that holds the generated client.
//!
//! Everything generated names the client by its path through this module, so that a type of the
//! user's with the client's name is one error, at the service, and not one per use.

use crate::expand::generics;
use crate::expand::local;
use crate::model::Service;
use crate::names;
use proc_macro2::Ident;
use proc_macro2::Span;
use proc_macro2::TokenStream;
use quote::ToTokens;
use quote::quote;
use quote::quote_spanned;
use syn::GenericParam;
use syn::Generics;
use syn::Path;
use syn::Visibility;

/// Prints the path of the client that no item of the user's can take.
pub(crate) fn path(service: &Service, client: &Ident) -> TokenStream {
    let module = module(service, client);
    quote!(#module::#client)
}

/// Prints the client type, which is visible where the service is.
pub(crate) fn definition(service: &Service, client: &Ident, generics: &Generics) -> TokenStream {
    let vis = &service.vis;
    let declared = generics::declared(generics);
    let marker = generics::marker(generics);
    let (stub, mark) = (local("stub"), local("marker"));
    let doc = format!("Calls the service `{}` by its typed endpoints.", service.name);
    let krate = seen_from_within(&service.krate);
    let outside = outside(service, generics);
    let (module, inner) = (module(service, client), inner(vis));
    // A type of that name beside the service is shown at the service.
    let span = names::located(client.span());
    let vis = respanned(vis.to_token_stream(), span);
    // A name from elsewhere keeps the compiler from proposing `as` in the middle of the item.
    let imported = Ident::new(&client.to_string(), Span::call_site());
    let import = quote_spanned!(span=> #vis use #module::#imported;);
    quote! {
        #[allow(
            dead_code, non_snake_case, unreachable_pub, unused_imports,
            reason = "generated from the annotated item"
        )]
        #[doc(hidden)]
        mod #module {
            #outside
            #[doc = #doc]
            #inner struct #client #declared {
                pub(super) #stub: #krate::__private::Stub,
                pub(super) #mark: #marker,
            }
        }
        #[allow(unreachable_pub, unused_imports, reason = "generated from the annotated item")]
        #import
    }
}

/// Two services of one scope differ in their type or in their methods.
fn module(service: &Service, client: &Ident) -> Ident {
    let first = service.endpoints.first().map(|endpoint| names::plain(&endpoint.ident));
    let first = first.map(|first| format!("_{first}")).unwrap_or_default();
    let name = format!("__micro_{}{first}", names::plain(client));
    Ident::new(&name, names::located(client.span()))
}

/// Names around the module that its struct may need: a crate under a name of the user's, and the
/// types of constants.
fn outside(service: &Service, generics: &Generics) -> Option<TokenStream> {
    let first = service.krate.segments.first().map(|first| first.ident.to_string());
    let absolute = service.krate.leading_colon.is_some()
        || first.is_some_and(|first| {
            ["crate", "$crate", "self", "super"].iter().any(|known| first == *known)
        });
    let constant = generics.params.iter().any(|param| matches!(param, GenericParam::Const(_)));
    (!absolute || constant).then(|| {
        quote!(
            use super::*;
        )
    })
}

/// A path as it reads one module further in.
fn seen_from_within(path: &Path) -> TokenStream {
    let mut segments = path.segments.iter();
    let first = segments.next().map(|first| first.ident.to_string());
    match first.as_deref() {
        Some("self") if path.leading_colon.is_none() => quote!(super #(::#segments)*),
        Some("super") if path.leading_colon.is_none() => quote!(super::#path),
        _ => path.to_token_stream(),
    }
}

/// The same visibility, written one module further in.
fn inner(vis: &Visibility) -> TokenStream {
    match vis {
        Visibility::Public(_) => vis.to_token_stream(),
        Visibility::Inherited => quote!(pub(super)),
        Visibility::Restricted(inside) => {
            let path = seen_from_within(&inside.path);
            if inside.path.is_ident("crate") || inside.path.is_ident("self") {
                quote!(pub(#path))
            } else {
                quote!(pub(in #path))
            }
        }
    }
}

/// The visibility comes from a handler, which is no place to show the client at.
fn respanned(tokens: TokenStream, span: Span) -> TokenStream {
    let moved = tokens.into_iter().map(|mut token| {
        token.set_span(span.resolved_at(token.span()));
        token
    });
    moved.collect()
}

#[cfg(test)]
mod tests {
    use super::inner;
    use super::seen_from_within;

    #[test]
    fn paths_are_read_from_within_the_module() {
        for (outside, within) in [
            ("::micro", ":: micro"),
            ("crate::facade", "crate :: facade"),
            ("self::facade", "super :: facade"),
            ("super::facade", "super :: super :: facade"),
            ("facade::micro", "facade :: micro"),
        ] {
            let path = syn::parse_str(outside).unwrap();
            assert_eq!(seen_from_within(&path).to_string(), within);
        }
    }

    #[test]
    fn visibilities_are_the_same_within_the_module() {
        for (outside, within) in [
            ("pub", "pub"),
            ("", "pub (super)"),
            ("pub(self)", "pub (super)"),
            ("pub(crate)", "pub (crate)"),
            ("pub(super)", "pub (in super :: super)"),
            ("pub(in crate::a)", "pub (in crate :: a)"),
        ] {
            let vis = syn::parse_str(outside).unwrap();
            assert_eq!(inner(&vis).to_string(), within);
        }
    }
}
