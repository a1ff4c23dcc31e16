//! Reads what the real processor says it is, for guests to see most of.
//!
//! What guests are not told is `Identity::from_machine`'s business.

use crate::{cp15, float};
use entresol_vcpu::{Identity, Raw};

/// The identification registers of this processor.
pub(crate) fn read() -> Raw {
    float::set_enabled(true);
    let [fpsid, mvfr0, mvfr1] = float::identity();
    float::set_enabled(false);
    let clidr = cp15::cache_level_id();
    let mut ccsidr = [0; 16];
    for (selection, size) in (0u32..).zip(ccsidr.iter_mut()) {
        // B4.1.20: a level's type is 3 bits; 1 is instructions only, 2 data only, 3 both
        // apart, 4 unified. CCSIDR of a cache that is not there is UNKNOWN.
        let kind = clidr >> (selection / 2 * 3) & 7;
        let there = if selection % 2 == 0 { kind >= 2 } else { kind == 1 || kind == 3 };
        if selection < 14 && there {
            // SAFETY: selects what the next read shows, nothing else.
            unsafe { cp15::set_cache_selection(selection) };
            cp15::isb();
            *size = cp15::cache_size_id();
        }
    }
    Raw(Identity {
        midr: cp15::main_id(),
        ctr: cp15::cache_type(),
        tcmtr: 0,
        tlbtr: 0,
        mpidr: 0,
        revidr: 0,
        pfr0: cp15::processor_feature_0(),
        pfr1: cp15::processor_feature_1(),
        dfr0: cp15::debug_feature_0(),
        afr0: cp15::auxiliary_feature_0(),
        mmfr: [
            cp15::memory_model_feature_0(),
            cp15::memory_model_feature_1(),
            cp15::memory_model_feature_2(),
            cp15::memory_model_feature_3(),
        ],
        isar: [
            cp15::instruction_set_0(),
            cp15::instruction_set_1(),
            cp15::instruction_set_2(),
            cp15::instruction_set_3(),
            cp15::instruction_set_4(),
            cp15::instruction_set_5(),
        ],
        clidr,
        aidr: 0,
        ccsidr,
        fpsid,
        mvfr0,
        mvfr1,
    })
}
