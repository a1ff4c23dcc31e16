//! Sequences in A32.
//!
//! # Manuals
//!
//! ARM DDI 0406C: A5 (encodings), B9 (system instructions).

use crate::code::Code;

const ALWAYS: u32 = 0xe000_0000;
/// `stm r7, {sp, lr}^`, without its condition.
pub(crate) const STORE_USER: u32 = 0x08c7_6000;
/// Ends a sequence: a permanently undefined instruction.
pub(crate) const END: u32 = 0xe7f5_def5;

/// Writes a sequence of so many steps. `common` leaves to it what kernels do most, which a
/// hypervisor may have rewritten.
pub(crate) fn write(code: &mut Code, steps: u32, common: bool) {
    for _ in 0..steps {
        if common { common_step(code) } else { step(code) }
    }
    code.word(END);
    code.finish();
}

fn step(code: &mut Code) {
    let condition = condition(code);
    match code.random.below(32) {
        0..=6 => {
            let word = data_processing(code);
            code.word(condition | word);
        }
        7..=9 => access(code, condition),
        10..=13 => {
            let rd = any(code);
            code.word(condition | 0x010f_0000 | rd << 12); // mrs rd, cpsr
        }
        14 => {
            let word = 0x010f_0000 | if code.has_spsr { 1 << 22 } else { 0 };
            let rd = any(code);
            code.word(condition | word | rd << 12); // mrs rd, spsr
        }
        15 => {
            let rm = any(code);
            code.word(condition | 0x012c_f000 | rm); // msr cpsr_fs, rm
        }
        16 | 17 => {
            let r = code.low();
            let status = code.status(condition == ALWAYS);
            code.word(ALWAYS | 0x03a0_0000 | r << 12 | status); // mov r, #status
            code.word(condition | 0x0121_f000 | r); // msr cpsr_c, r
        }
        18 if code.has_spsr => {
            let r = code.low();
            let status = code.status(false);
            code.word(ALWAYS | 0x03a0_0000 | r << 12 | status);
            code.word(condition | 0x0169_f000 | r); // msr spsr_fc, r
        }
        19..=21 => {
            let masks = code.random.below(3) + 1;
            let disable = code.random.word() & 1 << 18;
            code.word(0xf108_0000 | disable | masks << 6); // cpsie, cpsid
        }
        22 => {
            let masks = code.random.below(3) + 1;
            let disable = code.random.word() & 1 << 18;
            let mode = code.mode(true);
            code.word(0xf10a_0000 | disable | masks << 6 | mode);
        }
        23 => {
            let mode = code.mode(true);
            code.word(0xf102_0000 | mode); // cps #mode
        }
        24 | 25 => {
            let word = code.system_register();
            code.word(condition | word);
        }
        26 => code.word(condition | 0x0f00_0000 | 0x42), // svc
        27 if code.has_spsr => user_registers(code, condition),
        28 if code.has_spsr => {
            let mode = crate::code::MODES[code.random.below(5) as usize];
            let back = code.random.word() & 1 << 21;
            code.word(0xf8cd_0500 | back | mode); // srsia sp{!}, #mode
        }
        29 if code.has_spsr => return_by_spsr(code),
        30 => return_by_memory(code),
        31 => abort(code, condition),
        _ => code.word(condition | 0x0320_f000), // nop
    }
}

fn common_step(code: &mut Code) {
    let condition = condition(code);
    match code.random.below(20) {
        0..=3 => {
            let word = data_processing(code);
            code.word(condition | word);
        }
        4 | 5 => access(code, condition),
        6..=8 => {
            let rd = any(code);
            code.word(condition | 0x010f_0000 | rd << 12); // mrs rd, cpsr
        }
        9 | 10 => {
            let r = code.low();
            // In the same mode more often than not.
            let status = if code.random.once_in(3) {
                code.status(condition == ALWAYS)
            } else {
                code.same_mode()
            };
            code.word(ALWAYS | 0x03a0_0000 | r << 12 | status);
            code.word(condition | 0x0121_f000 | r); // msr cpsr_c, r
        }
        11..=13 => {
            let disable = code.random.word() & 1 << 18;
            code.word(0xf108_0080 | disable); // cpsie i, cpsid i
        }
        14 => {
            let rd = any(code);
            let read = if code.random.once_in(2) { 0x0e1d_0f90 } else { 0x0e13_0f10 };
            code.word(condition | read | rd << 12); // mrc TPIDRPRW, DACR
        }
        15 if code.has_spsr => {
            let r = code.low();
            let status = code.status(false);
            code.word(ALWAYS | 0x03a0_0000 | r << 12 | status);
            code.word(condition | 0x016f_f000 | r); // msr spsr_fsxc, r
        }
        16 if code.has_spsr => {
            let rd = any(code);
            code.word(condition | 0x014f_0000 | rd << 12); // mrs rd, spsr
        }
        17 if code.has_spsr => code.word(condition | STORE_USER),
        18 if code.has_spsr => {
            code.word(0xe287_6d0b); // add r6, r7, #0x2c0
            code.word(condition | 0x0956_7fff); // ldmdb r6, {r0-r12, sp, lr}^
            code.word(ALWAYS | 0x0320_f000);
        }
        _ => abort(code, condition),
    }
}

fn condition(code: &mut Code) -> u32 {
    if code.random.once_in(3) { code.random.below(14) << 28 } else { ALWAYS }
}

/// r0 to r12 and r14, but not r7.
fn any(code: &mut Code) -> u32 {
    match code.random.below(13) {
        7 => 14,
        register => register,
    }
}

/// Data processing with an immediate or a shifted register; r13 and r15 left out.
fn data_processing(code: &mut Code) -> u32 {
    let operation = code.random.below(16);
    // TST, TEQ, CMP and CMN have no destination and always set flags.
    let compares = operation >> 2 == 2;
    let set = if compares || code.random.once_in(2) { 1 << 20 } else { 0 };
    let (rd, rn, rm) = (any(code), code.random.below(13), code.random.below(13));
    let rd = if compares { 0 } else { rd };
    // MOV and MVN have no first operand.
    let rn = if operation & 0b1101 == 0b1101 { 0 } else { rn };
    let common = operation << 21 | set | rn << 16 | rd << 12;
    if code.random.once_in(2) {
        common | 1 << 25 | code.random.below(0x1000)
    } else {
        common | code.random.below(0x80) << 5 & !0x10 | rm
    }
}

/// Loads and stores in the scratch page.
fn access(code: &mut Code, condition: u32) {
    let (rd, offset) = (any(code), code.random.below(0x1fc));
    let word = match code.random.below(6) {
        0 => 0x0597_0000 | rd << 12 | offset & !3,
        1 => 0x0587_0000 | rd << 12 | offset & !3,
        2 => 0x05d7_0000 | rd << 12 | offset,
        3 => 0x05c7_0000 | rd << 12 | offset,
        4 => 0x0897_0000 | (code.random.below(0x7e) + 1), // ldm r7
        _ => 0x0887_0000 | (code.random.below(0x7e) + 1),
    };
    code.word(condition | word);
}

/// LDM and STM with ^, of User mode's registers but its stack pointer and r7.
fn user_registers(code: &mut Code, condition: u32) {
    let list = code.random.word() & 0x5f7f | 1;
    let load = code.random.word() & 1 << 20;
    code.word(condition | 0x08c7_0000 | load | list);
    // No banked register is used right behind (B9.3.6).
    code.word(ALWAYS | 0x0320_f000);
}

/// A branch over so many words that is never taken: a kernel's code behind a return from an
/// exception is reached by a branch, which tells that it is code.
fn never_over(code: &mut Code, words: u32) {
    code.word(0xe150_0000); // cmp r0, r0
    code.word(0x1a00_0000 | (words - 1)); // bne
}

/// `movs pc, lr` and the like to the next instruction.
fn return_by_spsr(code: &mut Code) {
    let r = code.low();
    let status = code.status(true);
    never_over(code, 4);
    code.word(ALWAYS | 0x03a0_0000 | r << 12 | status);
    code.word(ALWAYS | 0x0169_f000 | r);
    if code.random.once_in(2) {
        code.word(0xe28f_e000); // add lr, pc, #0
        code.word(0xe1b0_f00e); // movs pc, lr
    } else {
        code.word(0xe28f_e004);
        code.word(0xe25e_f004); // subs pc, lr, #4
    }
}

/// `rfe` or an `ldm` with pc and ^ to the next instruction.
fn return_by_memory(code: &mut Code) {
    let by_spsr = code.has_spsr && code.random.once_in(2);
    let status = code.status(true);
    never_over(code, 6);
    code.word(0xe28f_0010); // add r0, pc, #16
    code.word(0xe587_0180); // str r0, [r7, #0x180]
    code.word(0xe3a0_1000 | status); // mov r1, #status
    if by_spsr {
        code.word(0xe169_f001); // msr spsr_fc, r1
        code.word(0xe287_2f60); // add r2, r7, #0x180
        code.word(0xe8d2_8000); // ldm r2, {pc}^
    } else {
        code.word(0xe587_1184); // str r1, [r7, #0x184]
        code.word(0xe287_2f60);
        code.word(0xf892_0a00); // rfeia r2
    }
}

/// An access to where nothing is mapped, and one as User mode has it.
fn abort(code: &mut Code, condition: u32) {
    let (r, rd) = (code.low(), code.low());
    if code.random.once_in(2) {
        code.word(ALWAYS | 0x03a0_0202 | r << 12); // mov r, #0x20000000
        let store = code.random.word() & 1 << 20;
        let rd = if rd == r { 8 } else { rd };
        code.word(condition | 0x0580_0000 | store | r << 16 | rd << 12);
    } else {
        let store = code.random.word() & 1 << 20;
        code.word(condition | 0x04a7_0000 | store | rd << 12); // ldrt or strt rd, [r7], #0
    }
}
