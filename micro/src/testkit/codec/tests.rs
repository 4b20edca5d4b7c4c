//! The codecs of the crate conform; those broken on purpose do not.

use std::sync::Arc;

use super::broken::{Broken, Flaw};
use super::*;
use crate::codec::{Bytes as ByteStrings, Json, MsgPack};

#[track_caller]
fn conforms(format: &Format) {
    if let Err(failures) = conformance(format) {
        panic!("{format:?}: {failures}");
    }
}

#[test]
fn messagepack_conforms() {
    conforms(&Format::MsgPack);
}

#[test]
fn messagepack_of_unknown_types_conforms() {
    conforms(&Format::Other(Arc::new(MsgPack)));
}

#[test]
fn json_conforms() {
    conforms(&Format::Json);
}

#[test]
fn json_of_unknown_types_conforms() {
    conforms(&Format::Other(Arc::new(Json)));
}

#[cfg(feature = "cbor")]
#[test]
fn cbor_conforms() {
    conforms(&Format::Other(Arc::new(crate::codec::Cbor)));
}

#[cfg(feature = "bson")]
#[test]
fn bson_conforms_but_for_what_it_has_no_form_for() {
    let format = Format::Other(Arc::new(crate::codec::Bson));
    let lacks = ["integers_above_63_bits_are_kept", "keys_with_the_zero_character_are_kept"];
    if let Err(failures) = conformance_but(&format, &lacks) {
        panic!("{failures}");
    }
}

#[test]
fn an_excuse_is_only_good_for_what_fails() {
    let json = Format::Other(Arc::new(Json));
    let failures = conformance_but(&json, &["lists_are_kept", "lists_are_gone"]).unwrap_err();
    assert_eq!(failures.names().collect::<Vec<_>>(), ["lists_are_kept", "lists_are_gone"]);
}

#[test]
fn a_format_of_one_type_does_not_conform() {
    let failures = conformance(&Format::Other(Arc::new(ByteStrings))).unwrap_err();
    assert!(failures.names().any(|name| name == "lists_are_kept"), "{failures}");
    assert!(failures.to_string().contains("claims fail\n  "), "{failures}");
}

#[test]
fn broken_codecs_fail() {
    conforms(&Format::Other(Arc::new(Broken(Flaw::Nothing))));
    let flaws = [
        (Flaw::ShoutsItsName, "the_content_type_is_bare_and_in_lower_case"),
        (Flaw::SendsFieldsByPosition, "unknown_fields_are_passed_over"),
        (Flaw::SendsFieldsByPosition, "missing_fields_take_their_defaults"),
        (Flaw::LeavesOutNulls, "structs_within_structs_are_kept"),
        (Flaw::PassesOverTrailingBytes, "what_follows_a_message_is_refused"),
        (Flaw::FillsUpWhatIsCut, "a_message_cut_short_is_refused"),
        (Flaw::ClearsTheBuffer, "encoding_appends"),
        (Flaw::PanicsOnNoise, "hostile_bytes_are_a_value_or_a_bad_request"),
        (Flaw::TrustsLengths, "a_declared_length_allocates_nothing"),
        (Flaw::BlamesItself, "values_of_another_type_are_refused"),
        (Flaw::BlamesItself, "missing_fields_without_a_default_are_refused"),
        (Flaw::SwallowsRefusals, "what_the_type_refuses_is_a_bad_request"),
        (Flaw::WritesTheFormless, "a_value_without_a_form_is_an_error"),
        (Flaw::ReadsForPeople, "types_that_ask_for_whom_they_write_are_kept"),
        (Flaw::GivesUpAtSixteenLevels, "nesting_ends_before_the_stack_does"),
        (Flaw::RoundsIntegers, "booleans_and_integers_keep_every_bit"),
        (Flaw::RoundsIntegers, "integers_above_63_bits_are_kept"),
        (Flaw::CutsKeysAtZero, "keys_with_the_zero_character_are_kept"),
        (Flaw::RoundsFloats, "finite_floats_keep_every_bit"),
        (Flaw::ReadsNullAsZero, "other_floats_are_kept_or_refused"),
        (Flaw::DropsControlCharacters, "strings_and_characters_are_kept"),
        (Flaw::LeavesOutNulls, "options_are_kept"),
        (Flaw::LeavesOutNulls, "values_of_unknown_shape_are_kept"),
        (Flaw::WritesUnitsAsLists, "units_tuples_and_newtypes_are_kept"),
        (Flaw::CutsLongLists, "lists_are_kept"),
        (Flaw::CutsLongLists, "byte_strings_are_kept"),
        (Flaw::TrimsKeys, "maps_with_strings_for_keys_are_kept"),
        (Flaw::NamesVariantsInLowerCase, "enums_of_every_kind_are_kept"),
    ];
    for (flaw, claim) in flaws {
        let format = Format::Other(Arc::new(Broken(flaw)));
        let found = CLAIMS.iter().find(|known| known.name == claim);
        let verdict = found.unwrap_or_else(|| panic!("{claim} is no claim")).examine(&format);
        assert!(verdict.is_err(), "{flaw:?} was not caught by {claim}");
    }
    let missed = CLAIMS.iter().filter(|claim| !flaws.iter().any(|flaw| flaw.1 == claim.name));
    let missed: Vec<_> = missed.map(|claim| claim.name).collect();
    assert!(missed.is_empty(), "no codec fails {missed:?}");
}
