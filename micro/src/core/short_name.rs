//! Names of types as people write them.

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
    fn paths_are_left_out_of_parameters_too() {
        assert_eq!(short_name("shop::api::Order"), "Order");
        assert_eq!(short_name("alloc::vec::Vec<shop::Order>"), "Vec<Order>");
        assert_eq!(short_name("(u8, core::option::Option<a::B>)"), "(u8, Option<B>)");
    }
}
