//! The rules of message types: owned, named, `'static`.

use crate::errors::Errors;
use crate::errors::Id;
use crate::text::show;
use crate::types;
use syn::Lifetime;
use syn::Path;
use syn::Type;
use syn::TypeImplTrait;
use syn::TypeReference;
use syn::visit;
use syn::visit::Visit;

/// Checks one type and everything inside it; `label` says whose it is.
pub(crate) fn check(ty: &Type, label: &str, errors: &mut Errors) {
    Rules { label, errors }.visit_type(ty);
}

struct Rules<'e> {
    label: &'e str,
    errors: &'e mut Errors,
}

impl<'ast> Visit<'ast> for Rules<'_> {
    /// D15
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        let text = format!(
            "messages must be owned: `{}` cannot outlive the network buffer\nhelp: use `{}`",
            show(reference),
            owned(&reference.elem)
        );
        self.errors.push(Id::D15, reference, text);
    }

    /// D22
    fn visit_type_impl_trait(&mut self, opaque: &'ast TypeImplTrait) {
        let text = format!(
            "`{}` in {} has no wire format; name the type\nhelp: streams are `Streaming<T>`",
            show(opaque),
            self.label
        );
        self.errors.push(Id::D22, opaque, text);
    }

    /// D23
    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            let text = format!(
                "message types of {} must be `'static`; found lifetime `{lifetime}`",
                self.label
            );
            self.errors.push(Id::D23, lifetime, text);
        }
    }

    /// D24
    fn visit_path(&mut self, path: &'ast Path) {
        if path.segments.first().is_some_and(|first| first.ident == "Self") {
            let text = format!(
                "`{}` in {} means nothing to the generated client; write the type out",
                show(path),
                self.label
            );
            self.errors.push(Id::D24, path, text);
        }
        visit::visit_path(self, path);
    }
}

/// What to write instead of a reference to `ty`.
fn owned(ty: &Type) -> String {
    let last = types::last_segment(ty).map(|segment| segment.ident.to_string());
    match (types::peel(ty), last.as_deref()) {
        (_, Some("str")) => "String".to_owned(),
        (Type::Slice(slice), _) => match show(&slice.elem).as_str() {
            "u8" => "Bytes".to_owned(),
            element => format!("Vec<{element}>"),
        },
        (other, _) => show(other),
    }
}
