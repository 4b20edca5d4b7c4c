//! What is known of a message without a value of it: the name of its type.

use crate::core::descriptor::Schema;

/// Names the type of a message, without the paths of modules.
pub fn schema<T>() -> Schema {
    let name = short_name(std::any::type_name::<T>());
    Schema { name: name.clone(), kind: name, values: Vec::new() }
}

/// Takes the module paths out of a type's name, those of its parameters included.
pub(crate) fn short_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut word = 0;
    for c in name.chars() {
        if c == ':' {
            // The path ends here; what was written of it is not part of the name.
            out.truncate(word);
            continue;
        }
        out.push(c);
        if !c.is_alphanumeric() && c != '_' {
            word = out.len();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_paths_are_left_out() {
        assert_eq!(short_name("shop::api::Order"), "Order");
        assert_eq!(short_name("alloc::vec::Vec<shop::Order>"), "Vec<Order>");
        assert_eq!(short_name("(u8, core::option::Option<a::B>)"), "(u8, Option<B>)");
        assert_eq!(schema::<String>().kind, "String");
        assert_eq!(schema::<()>().kind, "()");
    }
}
