//! What doc comments say: the whole text, its first paragraph, its `@example`.

use syn::Attribute;
use syn::Expr;
use syn::ExprLit;
use syn::Lit;
use syn::Meta;

/// The documentation of one item.
#[derive(Debug, Default)]
pub(crate) struct Docs {
    /// The `#[doc]` attributes as written.
    pub(crate) attributes: Vec<Attribute>,
    /// Every line, without its leading space.
    pub(crate) text: String,
    /// The first paragraph on one line, without `@example` lines.
    pub(crate) description: String,
    /// What follows `@example`.
    pub(crate) example: Option<String>,
}

impl Docs {
    /// Reads the `#[doc]` attributes among `attributes`.
    ///
    /// `#[doc = include_str!(..)]` is kept for the client, but its text is unknown here.
    pub(crate) fn read(attributes: &[Attribute]) -> Self {
        let attributes: Vec<Attribute> =
            attributes.iter().filter(|one| one.path().is_ident("doc")).cloned().collect();
        let lines: Vec<String> =
            attributes.iter().filter_map(line).flat_map(|text| split(&text)).collect();
        let example = lines.iter().find_map(|line| example(line)).map(str::to_owned);
        let description = lines
            .iter()
            .map(|line| line.trim())
            .skip_while(|line| line.is_empty())
            .take_while(|line| !line.is_empty())
            .filter(|line| example_of(line).is_none())
            .collect::<Vec<_>>()
            .join(" ");
        let text = lines.join("\n").trim().to_owned();
        Self { attributes, text, description, example }
    }
}

fn line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// Splits a block comment into lines and drops the margin that both comment forms leave.
fn split(text: &str) -> Vec<String> {
    let block = text.contains('\n');
    text.split('\n')
        .map(|line| {
            let bare = if block { line.trim_start().trim_start_matches('*') } else { line };
            bare.strip_prefix(' ').unwrap_or(bare).trim_end().to_owned()
        })
        .collect()
}

fn example(line: &str) -> Option<&str> {
    example_of(line.trim())
}

fn example_of(line: &str) -> Option<&str> {
    line.strip_prefix("@example").map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::Docs;
    use syn::Attribute;
    use syn::parse_quote;

    #[test]
    fn first_paragraph_describes_and_the_example_is_found() {
        let attributes: Vec<Attribute> = parse_quote! {
            /// Creates an order,
            /// at once.
            ///
            /// More of it.
            /// @example {"sku":"a-1"}
            #[inline]
        };
        let docs = Docs::read(&attributes);
        assert_eq!(docs.description, "Creates an order, at once.");
        assert_eq!(docs.example.as_deref(), Some("{\"sku\":\"a-1\"}"));
        assert_eq!(docs.attributes.len(), 5);
        assert!(docs.text.starts_with("Creates an order,\nat once.\n\nMore"));
    }

    #[test]
    fn block_comments_lose_their_margin() {
        let attributes: Vec<Attribute> = parse_quote! {
            #[doc = "\n     * Says hello.\n     *\n     * Twice.\n     "]
        };
        let docs = Docs::read(&attributes);
        assert_eq!(docs.description, "Says hello.");
        assert_eq!(docs.text, "Says hello.\n\nTwice.");
    }
}
