//! Where the runtime crate is found.

use proc_macro2::Span;
use syn::Attribute;
use syn::Path;
use syn::parse_quote_spanned;

/// The path of the runtime crate when `crate = path` is absent.
pub(crate) fn default_crate() -> Path {
    parse_quote_spanned!(Span::mixed_site()=> ::micro)
}

/// Tells whether an attribute is ours: `handler`, `micro::handler` or `<crate path>::handler`.
///
/// Foreign attributes that merely share the last segment are left alone.
pub(crate) fn is_helper(attribute: &Attribute, name: &str, krate: &Path) -> bool {
    let path = attribute.path();
    let Some(last) = path.segments.last() else { return false };
    if last.ident != name {
        return false;
    }
    let prefix: Vec<String> = spelled(path);
    let prefix = prefix.split_last().map(|(_, rest)| rest).unwrap_or_default();
    prefix.is_empty() || prefix == ["micro"] || prefix == spelled(krate)
}

fn spelled(path: &Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}
