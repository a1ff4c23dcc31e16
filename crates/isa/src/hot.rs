//! The A32 trap words that kernels meet most, as constants for assembly.
//!
//! Nothing is defined here: [`trapword`](crate::trapword) defines them, and the tests say
//! which instruction each stands for.

/// `mrs rd, cpsr`, without rd (bits 15:12).
pub const MRS_CPSR: u32 = 0xee0f_0900;
/// `mrs rd, spsr`, without rd (bits 15:12).
pub const MRS_SPSR: u32 = 0xee2f_0900;
/// `msr cpsr_c, rn`, without rn (bits 3:0).
pub const MSR_CPSR_C: u32 = 0xee11_f900;
/// `msr spsr_fsxc, rn`, without rn (bits 3:0).
pub const MSR_SPSR: u32 = 0xee3f_f900;
/// `msr cpsr_c, #n`, without the immediate (bits 7:0), not rotated.
pub const MSR_CPSR_C_IMMEDIATE: u32 = 0xec1f_0d00;
/// `cps`, without imod and M (bits 23:21), A (12), I and F (7:6) and the mode (4:0).
pub const CPS: u32 = 0xfe00_0900;
/// The bits of [`CPS`] that are fixed.
pub const CPS_FIXED: u32 = 0xff1f_ef20;
/// `movs pc, lr`.
pub const MOVS_PC_LR: u32 = 0xeda0_080e;
/// `subs pc, lr, #n`, without the immediate (bits 7:0), not rotated.
pub const SUBS_PC_LR: u32 = 0xec5e_0800;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trapword::encode_a32;

    #[test]
    fn each_stands_for_the_instruction_it_names() {
        assert_eq!(encode_a32(0xe10f_3000), Some(MRS_CPSR | 3 << 12), "mrs r3, cpsr");
        assert_eq!(encode_a32(0xe14f_3000), Some(MRS_SPSR | 3 << 12), "mrs r3, spsr");
        assert_eq!(encode_a32(0xe121_f005), Some(MSR_CPSR_C | 5), "msr cpsr_c, r5");
        assert_eq!(encode_a32(0xe16f_f005), Some(MSR_SPSR | 5), "msr spsr_fsxc, r5");
        assert_eq!(encode_a32(0xe321_f0d3), Some(MSR_CPSR_C_IMMEDIATE | 0xd3), "msr cpsr_c, #");
        assert_eq!(encode_a32(0xf102_0013), Some(CPS | 0x20_0013), "cps #0x13");
        assert_eq!(encode_a32(0xf10c_0080), Some(CPS | 0xc0_0080), "cpsid i");
        assert_eq!(encode_a32(0xf10a_01df), Some(CPS | 0xa0_10df), "cpsie aif, #0x1f");
        assert_eq!(encode_a32(0xe1b0_f00e), Some(MOVS_PC_LR), "movs pc, lr");
        assert_eq!(encode_a32(0xe25e_f004), Some(SUBS_PC_LR | 4), "subs pc, lr, #4");
    }

    #[test]
    fn setend_is_not_taken_for_a_change_of_state() {
        assert_ne!(encode_a32(0xf101_0200).map(|word| word & CPS_FIXED), Some(CPS));
    }
}
