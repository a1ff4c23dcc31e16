//! The tables, the decoders and the trap words must tell the same story.
//!
//! Every encoding row is filled with random bits, so each class is exercised as
//! densely as any other, however few words it has.

#![expect(clippy::indexing_slicing, reason = "strategies are not test functions to the lint")]

use entresol_isa::op::Access;
use entresol_isa::{Class, Encoding, a32, t32, trapword};
use proptest::prelude::*;

/// A word of a random row; conditional rows get a random condition.
fn a32_word() -> impl Strategy<Value = u32> {
    let rows: Vec<Encoding> = a32::rows().collect();
    (0..rows.len(), any::<u32>()).prop_map(move |(index, free)| {
        let word = fill(rows[index], free);
        if rows[index].mask >> 28 == 0 && word >> 28 == 15 { word & 0xefff_ffff } else { word }
    })
}

fn t32_word() -> impl Strategy<Value = u32> {
    let rows: Vec<Encoding> = t32::wide_rows().collect();
    (0..rows.len(), any::<u32>()).prop_map(move |(index, free)| fill(rows[index], free))
}

fn fill(row: Encoding, free: u32) -> u32 {
    row.value | free & !row.mask
}

fn a32_is_replaced(word: u32) -> bool {
    let eret = word & 0x0ff0_00f0 == 0x0160_0060 && word >> 28 != 15;
    a32::classify(word).is_some_and(Class::is_replaced) && !eret
}

fn check_a32(word: u32) -> Result<(), TestCaseError> {
    prop_assert_eq!(a32::decode(word).is_some(), a32::classify(word).is_some(), "{:08x}", word);
    let trap = trapword::encode_a32(word);
    prop_assert_eq!(trap.is_some(), a32_is_replaced(word), "{:08x} -> {:08x?}", word, trap);
    if let Some(trap) = trap {
        prop_assert_eq!(trapword::decode_a32(trap), Some(word), "{:08x} -> {:08x}", word, trap);
        prop_assert_eq!(a32::classify(trap), None, "a trap word must not be found again");
        prop_assert_eq!(trap >> 28, word >> 28, "the condition stays");
    }
    if let Some(original) = trapword::decode_a32(word) {
        prop_assert_eq!(trapword::encode_a32(original), Some(word), "{:08x}", word);
    }
    Ok(())
}

fn check_t32(word: u32) -> Result<(), TestCaseError> {
    prop_assert_eq!(
        t32::decode_wide(word).is_some(),
        t32::classify_wide(word).is_some(),
        "{:08x}",
        word
    );
    let replaced = t32::classify_wide(word).is_some_and(Class::is_replaced);
    let trap = trapword::encode_wide(word);
    prop_assert_eq!(trap.is_some(), replaced, "{:08x} -> {:08x?}", word, trap);
    if let Some(trap) = trap {
        prop_assert_eq!(trapword::decode_wide(trap), Some(word), "{:08x} -> {:08x}", word, trap);
        prop_assert_eq!(t32::classify_wide(trap), None);
    }
    if let Some(original) = trapword::decode_wide(word) {
        prop_assert_eq!(trapword::encode_wide(original), Some(word), "{:08x}", word);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_a32_row_decodes_and_returns_from_its_trap_word(word in a32_word()) {
        check_a32(word)?;
    }

    #[test]
    fn any_a32_word_is_treated_alike_by_table_decoder_and_trap_word(word in any::<u32>()) {
        check_a32(word)?;
    }

    #[test]
    fn a_coprocessor_word_is_a_trap_word_only_of_what_encodes_to_it(
        free in any::<u32>(),
        cdp in any::<bool>(),
    ) {
        let word = if cdp { free & 0xf0ff_ffff | 0x0e00_0000 } else { free & 0xf1ff_ffff | 0x0c00_0000 };
        check_a32(word)?;
        check_t32(word | 0xe000_0000)?;
    }

    #[test]
    fn every_t32_row_decodes_and_returns_from_its_trap_word(word in t32_word()) {
        check_t32(word)?;
    }

    #[test]
    fn any_wide_t32_word_is_treated_alike(word in 0xe800_0000_u32..) {
        check_t32(word)?;
    }

    #[test]
    fn nothing_is_both_emulated_as_sensitive_and_as_a_plain_access(word in any::<u32>()) {
        if let Some(Access::Multiple { .. }) = a32::access(word) {
            prop_assert_eq!(a32::decode(word), None);
        }
    }
}

#[test]
fn every_narrow_t32_word_is_treated_alike() {
    for half in 0..=u16::MAX {
        if t32::is_wide(half) {
            continue;
        }
        let class = t32::classify_narrow(half);
        assert_eq!(t32::decode_narrow(half).is_some(), class.is_some(), "{half:04x}");
        let trap = trapword::encode_narrow(half);
        assert_eq!(trap.is_some(), class.is_some_and(Class::is_replaced), "{half:04x}");
        if let Some(trap) = trap {
            assert_eq!(trapword::decode_narrow(trap), Some(half), "{half:04x}");
        }
        if let Some(original) = trapword::decode_narrow(half) {
            assert_eq!(trapword::encode_narrow(original), Some(half), "{half:04x}");
        }
    }
}
