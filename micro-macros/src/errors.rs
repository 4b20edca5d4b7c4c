//! The sink that collects every diagnostic of one expansion.

use proc_macro2::Ident;
use proc_macro2::Span;
use proc_macro2::TokenStream;
use quote::ToTokens;
use quote::quote;

/// Names each kind of mistake; the compile-fail cases are filed under these ids.
macro_rules! ids {
    ($($id:ident)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Id { $($id),* }

        impl Id {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$id),*];
        }
    };
}

// D19, D38 and D43 to D52 are the compiler's, in the words of the runtime's traits. From D53 on:
// topic patterns, topic names, reserved metadata, an exclusive context, an unreadable signature,
// further demands of a contract.
ids! {
    D01 D02 D03 D04 D05 D06 D07 D08 D09 D10 D11 D12 D13 D14 D15 D16 D17 D18 D20 D21
    D22 D23 D24 D25 D26 D27 D28 D29 D30 D31 D32 D33 D34 D35 D36 D37 D39 D40 D41 D42
    D53 D54 D55 D56 D57 D58
}

/// One mistake: what is wrong, where it starts and where it ends.
#[derive(Debug)]
pub(crate) struct Diagnostic {
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests compare ids"))]
    pub(crate) id: Id,
    pub(crate) text: String,
    pub(crate) start: Span,
    pub(crate) end: Span,
}

/// Collects diagnostics; consumed by `expand`, which prints them after the user's item.
#[derive(Debug, Default)]
#[must_use = "collected mistakes must be printed"]
pub(crate) struct Errors {
    list: Vec<Diagnostic>,
}

impl Errors {
    /// Records a mistake on the source text that `at` covers.
    pub(crate) fn push(&mut self, id: Id, at: impl ToTokens, text: impl Into<String>) {
        let mut tokens = at.into_token_stream().into_iter();
        let start = tokens.next().map_or_else(Span::call_site, |first| first.span());
        let end = tokens.last().map_or(start, |last| last.span());
        self.list.push(Diagnostic { id, text: text.into(), start, end });
    }

    /// Records a mistake on one span.
    pub(crate) fn push_at(&mut self, id: Id, span: Span, text: impl Into<String>) {
        self.list.push(Diagnostic { id, text: text.into(), start: span, end: span });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many mistakes are recorded so far; growth tells whether one part was sound.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    #[cfg(test)]
    pub(crate) fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }

    /// Prints one `compile_error!` per mistake.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.list.into_iter().map(Diagnostic::into_tokens).collect()
    }
}

impl Diagnostic {
    fn into_tokens(self) -> TokenStream {
        // The error covers the text from the first to the last token it is given.
        let (first, last) = (Ident::new("from", self.start), Ident::new("to", self.end));
        syn::Error::new_spanned(quote!(#first #last), self.text).into_compile_error()
    }
}
