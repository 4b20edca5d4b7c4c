//! The values of arguments, each read in its own words.

use crate::args::Access;
use crate::args::ClientChoice;
use crate::args::Overflow;
use crate::args::TopicSource;
use crate::args::pieces::Arg;
use crate::args::pieces::Value;
use crate::args::pieces::pieces;
use crate::errors::Errors;
use crate::errors::Id;
use crate::names;
use crate::text::show;
use crate::value;
use proc_macro2::Ident;
use proc_macro2::TokenStream;
use quote::ToTokens;
use std::time::Duration;
use syn::Lit;
use syn::LitInt;
use syn::LitStr;
use syn::Path;
use syn::Token;
use syn::ext::IdentExt;
use syn::parse::Parse;
use syn::parse::ParseStream;
use syn::parse::Parser;
use syn::punctuated::Punctuated;

impl Arg {
    /// Reports a value that is not of the wanted form, on the value or, without one, the key.
    pub(super) fn wrong(&self, wanted: &str, errors: &mut Errors) {
        match &self.value {
            Value::Assigned(value) if !value.is_empty() => errors.push(Id::D29, value, wanted),
            Value::Listed(_) => errors.push(Id::D29, &self.tokens, wanted),
            _ => errors.push(Id::D29, &self.key, wanted),
        }
    }

    pub(super) fn parsed<T>(&self, parser: impl Parser<Output = T>) -> Option<T> {
        match &self.value {
            Value::Assigned(value) => parser.parse2(value.clone()).ok(),
            _ => None,
        }
    }

    pub(super) fn string(&self, wanted: &str, errors: &mut Errors) -> Option<LitStr> {
        let value = self.parsed(<LitStr as Parse>::parse);
        if value.is_none() {
            self.wrong(wanted, errors);
        }
        value
    }

    pub(super) fn flag(&self, errors: &mut Errors) -> bool {
        if !matches!(self.value, Value::Absent) {
            self.wrong(&format!("`{}` takes no value", self.key), errors);
        }
        true
    }

    pub(super) fn name(&self, what: &str, errors: &mut Errors) -> Option<LitStr> {
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

    pub(super) fn version(&self, errors: &mut Errors) -> Option<String> {
        let version = self.string("`version` takes a string such as \"1.4.0\"", errors)?;
        if let Err(reason) = value::semver(&version.value()) {
            errors.push(Id::D33, &version, format!("`version` must be semver: {reason}"));
        }
        Some(version.value())
    }

    pub(super) fn duration(&self, errors: &mut Errors) -> Option<Duration> {
        let wanted = "`timeout` takes a duration string such as \"500ms\", \"2s\", \"1m\"";
        let text = self.string(wanted, errors)?;
        let duration = value::duration(&text.value());
        if duration.is_none() {
            self.wrong(wanted, errors);
        }
        duration
    }

    /// Reads `scope` or `public`, which exclude each other.
    pub(super) fn access(&self, access: &mut Access, errors: &mut Errors) {
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

    pub(super) fn scopes(&self, errors: &mut Errors) -> Vec<String> {
        let one = self.parsed(<LitStr as Parse>::parse);
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

    pub(super) fn metadata(&self, errors: &mut Errors) -> Vec<(String, String)> {
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

    pub(super) fn client(&self, errors: &mut Errors) -> ClientChoice {
        match self.parsed(<Ident as Parse>::parse) {
            Some(none) if none == "none" => ClientChoice::Absent,
            Some(name) => ClientChoice::Named(name),
            None => {
                self.wrong("`client` takes a type name or `none`", errors);
                ClientChoice::Derived
            }
        }
    }

    pub(super) fn krate(&self, errors: &mut Errors) -> Option<Path> {
        let path = self.parsed(Path::parse_mod_style);
        if path.is_none() {
            self.wrong("`crate` takes a path such as `my_facade::micro`", errors);
        }
        path
    }

    pub(super) fn topic(&self, errors: &mut Errors) -> Option<TopicSource> {
        if let Some(path) = self.parsed(<Path as Parse>::parse) {
            return Some(TopicSource::Constant(path));
        }
        let wanted = "`topic` takes a string such as \"orders.created\" or a `Topic<T>` const";
        let name = self.string(wanted, errors)?;
        if !value::is_topic(&name.value()) {
            let text = format!(
                "`{}` is not a valid topic: words of letters, digits, `_`, `-` with dots between",
                name.to_token_stream()
            );
            errors.push(Id::D54, &name, text);
            return None;
        }
        Some(TopicSource::Name(name))
    }

    pub(super) fn concurrency(&self, errors: &mut Errors) -> u32 {
        let number = self.parsed(<LitInt as Parse>::parse);
        let number = number.and_then(|number| number.base10_parse().ok()).unwrap_or_default();
        if number == 0 {
            self.wrong("`concurrency` takes a whole number from 1 up such as 16", errors);
        }
        number
    }

    pub(super) fn overflow(&self, errors: &mut Errors) -> Overflow {
        let word = self.parsed(<Ident as Parse>::parse).map(|word| word.to_string());
        match word.as_deref() {
            Some("block") => Overflow::Block,
            Some("disconnect") => Overflow::Disconnect,
            Some("drop_oldest") => Overflow::DropOldest,
            _ => {
                self.wrong("`overflow` takes `block`, `disconnect` or `drop_oldest`", errors);
                Overflow::default()
            }
        }
    }

    pub(super) fn manual_ack(&self, errors: &mut Errors) -> Option<Ident> {
        let word = self.parsed(<Ident as Parse>::parse);
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

fn bracketed_strings(input: ParseStream<'_>) -> syn::Result<Vec<LitStr>> {
    let content;
    syn::bracketed!(content in input);
    let list = Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?;
    Ok(list.into_iter().collect())
}

/// `key = "value"`, the key being an identifier or a string.
fn pair(input: ParseStream<'_>) -> syn::Result<(TokenStream, LitStr)> {
    let key = if input.peek(LitStr) {
        input.parse::<LitStr>()?.into_token_stream()
    } else {
        input.call(Ident::parse_any)?.into_token_stream()
    };
    input.parse::<Token![=]>()?;
    Ok((key, input.parse()?))
}
