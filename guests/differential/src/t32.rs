//! Sequences in T32.
//!
//! # Manuals
//!
//! ARM DDI 0406C: A6 (encodings), B9 (system instructions).

use crate::code::Code;

/// Ends a sequence: a permanently undefined instruction.
pub(crate) const END: u32 = 0xde5d;
/// CPSR.T.
const T32: u32 = 0x20;

/// Writes a sequence of so many steps. `common` leaves to it what kernels do most, which a
/// hypervisor may have rewritten.
pub(crate) fn write(code: &mut Code, steps: u32, common: bool) {
    for _ in 0..steps {
        if common { common_step(code) } else { step(code) }
    }
    code.half(END);
    code.finish();
}

fn step(code: &mut Code) {
    let r = code.low();
    match code.random.below(28) {
        0..=5 => {
            let half = narrow(code);
            code.half(half);
        }
        6..=8 => access(code),
        9..=11 => {
            if_then(code);
            code.wide(0xf3ef_8000 | r << 8); // mrs r, cpsr
        }
        12 => {
            if_then(code);
            let saved = if code.has_spsr { 1 << 20 } else { 0 };
            code.wide(0xf3ef_8000 | saved | r << 8); // mrs r, spsr
        }
        13 => {
            if_then(code);
            code.wide(0xf380_8c00 | r << 16); // msr cpsr_fs, r
        }
        14 | 15 => {
            let status = code.status(true);
            code.half(0x2000 | r << 8 | status); // movs r, #status
            code.wide(0xf380_8100 | r << 16); // msr cpsr_c, r
        }
        16 if code.has_spsr => {
            let status = code.status(false) | T32;
            code.half(0x2000 | r << 8 | status);
            code.wide(0xf390_8900 | r << 16); // msr spsr_fc, r
        }
        17 | 18 => {
            let masks = code.random.below(3) + 1;
            let disable = code.random.word() & 1 << 4;
            code.half(0xb660 | disable | masks); // cpsie, cpsid
        }
        19 => {
            let masks = code.random.below(3) + 1;
            let disable = code.random.word() & 1 << 9;
            let mode = code.mode(true);
            code.wide(0xf3af_8500 | disable | masks << 5 | mode);
        }
        20 => {
            let mode = code.mode(true);
            code.wide(0xf3af_8100 | mode); // cps #mode
        }
        21 | 22 => {
            let word = code.system_register();
            code.wide(0xe000_0000 | word);
        }
        23 => {
            if_then(code);
            code.half(0xdf42); // svc
        }
        24 if code.has_spsr => {
            let mode = crate::code::MODES[code.random.below(5) as usize];
            let back = code.random.word() & 1 << 21;
            code.wide(0xe98d_c000 | back | mode); // srsia sp{!}, #mode
        }
        25 if code.has_spsr => return_by_spsr(code, r),
        26 => {
            code.wide(0xf04f_5000 | r << 8); // mov.w r, #0x20000000
            let store = code.random.word() & 1 << 20;
            let rd = if r == 0 { 1 } else { 0 };
            code.wide(0xf8c0_0000 | store | r << 16 | rd << 12); // ldr.w, str.w
        }
        _ => code.half(0xbf00), // nop
    }
}

fn common_step(code: &mut Code) {
    let r = code.low();
    match code.random.below(18) {
        0..=3 => {
            let half = narrow(code);
            code.half(half);
        }
        4 | 5 => access(code),
        6..=8 => {
            if_then(code);
            code.wide(0xf3ef_8000 | r << 8); // mrs r, cpsr
        }
        9 | 10 => {
            // In the same mode more often than not.
            let same = !code.random.once_in(3);
            let status = if same { code.same_mode() } else { code.status(true) };
            code.half(0x2000 | r << 8 | status); // movs r, #status
            code.wide(0xf380_8100 | r << 16); // msr cpsr_c, r
        }
        11 => {
            let disable = code.random.word() & 1 << 4;
            code.half(0xb662 | disable); // cpsie i, cpsid i
        }
        12..=14 => {
            // Not conditional: QEMU then keeps the state of the IT block for too long.
            let read = if code.random.once_in(2) { 0xee1d_0f90 } else { 0xee13_0f10 };
            code.wide(read | r << 12); // mrc TPIDRPRW, DACR
        }
        15 if code.has_spsr => {
            let status = code.status(false) | T32;
            code.half(0x2000 | r << 8 | status);
            code.wide(0xf390_8f00 | r << 16); // msr spsr_fsxc, r
        }
        16 if code.has_spsr => {
            if_then(code);
            code.wide(0xf3ff_8000 | r << 8); // mrs r, spsr
        }
        _ => {
            if_then(code);
            code.half(0xdf42); // svc
        }
    }
}

/// An IT block of one, sometimes.
fn if_then(code: &mut Code) {
    if code.random.once_in(3) {
        let condition = code.random.below(14);
        code.if_then(condition);
    }
}

/// Shifts, additions, comparisons and logic of r0 to r6.
fn narrow(code: &mut Code) -> u32 {
    let (rd, rn) = (code.low(), code.low());
    match code.random.below(3) {
        0 => (code.random.below(0x2000) & !0x7) | rd, // shift, add, subtract: 000x
        1 => 0x2000 | code.random.below(4) << 11 | rd << 8 | code.random.below(0x100),
        _ => 0x4000 | code.random.below(16) << 6 | rn << 3 | rd,
    }
}

/// Loads and stores in the scratch page.
fn access(code: &mut Code) {
    let (rd, offset) = (code.low(), code.random.below(32));
    match code.random.below(4) {
        0 => code.half(0x6838 | offset << 6 | rd), // ldr rd, [r7, #offset * 4]
        1 => code.half(0x6038 | offset << 6 | rd),
        2 => {
            if_then(code);
            code.wide(0xf897_0000 | rd << 12 | offset); // ldrb.w
        }
        _ => {
            if_then(code);
            code.wide(0xf887_0000 | rd << 12 | offset);
        }
    }
}

/// `subs pc, lr, #n` to the next instruction.
fn return_by_spsr(code: &mut Code, r: u32) {
    let status = code.status(true) | T32;
    // Never taken, but tells that what is behind is code.
    code.half(0x4280); // cmp r0, r0
    code.half(0xd107); // bne over the return
    code.half(0x2000 | r << 8 | status);
    code.wide(0xf390_8900 | r << 16);
    code.half(0x46fe); // mov lr, pc
    if code.random.once_in(2) {
        code.wide(0xf10e_0e06); // add.w lr, lr, #6
        code.wide(0xf3de_8f00); // subs pc, lr, #0
    } else {
        code.wide(0xf10e_0e0a);
        code.wide(0xf3de_8f04);
    }
}
