//! Printing of items as they were read.

use crate::parse::Function;
use crate::parse::ImplBlock;
use crate::parse::Member;
use crate::parse::MemberBody;
use crate::parse::Members;
use proc_macro2::Delimiter;
use proc_macro2::Group;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Token;

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.attributes.iter().map(ToTokens::to_token_stream));
        self.vis.to_tokens(tokens);
        self.defaultness.to_tokens(tokens);
        self.sig.to_tokens(tokens);
        match &self.block {
            Some(block) => block.to_tokens(tokens),
            None => <Token![;]>::default().to_tokens(tokens),
        }
    }
}

impl ToTokens for Member {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.attributes.iter().map(ToTokens::to_token_stream));
        match &self.body {
            MemberBody::Function(function) => function.to_tokens(tokens),
            MemberBody::Raw { tokens: raw, .. } => raw.to_tokens(tokens),
        }
    }
}

impl ToTokens for Members {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let mut content: TokenStream = self.inner.iter().map(ToTokens::to_token_stream).collect();
        content.extend(self.list.iter().map(ToTokens::to_token_stream));
        let mut group = Group::new(Delimiter::Brace, content);
        group.set_span(self.span);
        group.to_tokens(tokens);
    }
}

impl ToTokens for ImplBlock {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.attributes.iter().map(ToTokens::to_token_stream));
        self.unsafety.to_tokens(tokens);
        self.impl_token.to_tokens(tokens);
        self.generics.to_tokens(tokens);
        if let Some((contract, for_token)) = &self.contract {
            contract.to_tokens(tokens);
            for_token.to_tokens(tokens);
        }
        self.self_ty.to_tokens(tokens);
        self.generics.where_clause.to_tokens(tokens);
        self.members.to_tokens(tokens);
    }
}
