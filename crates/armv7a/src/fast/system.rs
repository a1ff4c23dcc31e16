//! A guest kernel's accesses to p15, and to FPEXC.
//!
//! The registers and operations that kernels use all the time; a condition costs a detour.
//! What an access leads to beyond words of the guest is done in assembly if it is little, else
//! by a function in Rust that knows what it is for ([`handled!`]).
//!
//! # Invariants
//!
//! - Each path does what the handler would ([`effect`](crate::effect)), or nothing.

use super::domains::domains;
use super::instruction::{kernels, sampled};
use super::invalidate::drop_nothing;
use super::timer::timer;
use super::{
    APPLICATION, COUNTDOWN, COUNTERS, CP15, FAST, Fast, KERNEL, SHARED, TTBR0, count, cp15_at,
    resume,
};
use crate::entry;
use crate::fast::device::Devices;
use crate::guarded;
use crate::guest::Guest;
use crate::hypervisor::{CORE, Hypervisor, core};
use crate::linear::Linear;
use crate::maintenance::{forget_instructions_text, switch, switch_text};
use crate::shadow::{self, Shadow, Side};
use crate::trap;
use crate::work::Work;
use core::arch::naked_asm;
use core::mem::offset_of;
use entresol_abi::image::MAX_VMS;
use entresol_rewrite::stub::shared;
use entresol_vcpu::cp15::Identity;
use entresol_vcpu::state::{Vcpu, Vfp};
use entresol_vcpu::{Cp15, TlbOp};

/// MRC and MCR of p15 with AL, opc1 0 and CRm 0; Rt, CRn and opc2 left out.
const MASK: u32 = 0xfff0_0f1f;
const READ: u32 = 0xee10_0f10;

/// MCR with AL and opc1 0, Rt left out.
const fn write(crn: u32, crm: u32, opc2: u32) -> u32 {
    0xee00_0f10 | crn << 16 | opc2 << 5 | crm
}

/// By CRn and opc2: the word of the guest that a read with opc1 0 and CRm 0 gives; 0 for what
/// is not simply a word.
static READS: [u8; 128] = {
    const fn word(field: usize) -> u8 {
        (cp15_at(field) / 4) as u8
    }
    const fn identity(field: usize) -> u8 {
        word(offset_of!(Cp15, identity) + field)
    }
    const fn at(crn: usize, opc2: usize) -> usize {
        crn * 8 + opc2
    }
    let mut table = [0; 128];
    table[at(0, 0)] = identity(offset_of!(Identity, midr));
    table[at(0, 1)] = identity(offset_of!(Identity, ctr));
    table[at(0, 5)] = identity(offset_of!(Identity, mpidr));
    table[at(1, 0)] = word(offset_of!(Cp15, sctlr));
    table[at(1, 1)] = word(offset_of!(Cp15, actlr));
    table[at(1, 2)] = word(offset_of!(Cp15, cpacr));
    table[at(2, 0)] = word(offset_of!(Cp15, ttbr0));
    table[at(2, 1)] = word(offset_of!(Cp15, ttbr1));
    table[at(2, 2)] = word(offset_of!(Cp15, ttbcr));
    table[at(5, 0)] = word(offset_of!(Cp15, dfsr));
    table[at(5, 1)] = word(offset_of!(Cp15, ifsr));
    table[at(6, 0)] = word(offset_of!(Cp15, dfar));
    table[at(6, 2)] = word(offset_of!(Cp15, ifar));
    table[at(12, 0)] = word(offset_of!(Cp15, vbar));
    table[at(13, 1)] = word(offset_of!(Cp15, contextidr));
    table[at(13, 4)] = word(offset_of!(Cp15, tpidrprw));
    table
};

const _: () = assert!(cp15_at(size_of::<Cp15>()) < 1024, "a word of it has 8 bits");

/// MRC of p15. 32 instructions.
///
/// (0.) What kernels do most, around each access to user memory, is a write of DACR, and 4. when they
/// are entered, of TPIDRURO; (1.) is it a read that the table knows, by a kernel, to a register that is not pc; 2. do it; 3.
/// DACR is what stubs say.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(super) unsafe extern "C" fn system() {
    naked_asm!(
        // 0.
        kernels!(),
        "ldr r3, ={DOMAINS}",
        "eor r5, r2, r3",
        "bics r3, r5, #0xf000",
        "beq {domains}",
        "ldr r7, ={THREAD_FROM_DOMAINS}",
        "cmp r3, r7",
        "beq 4f",
        // 1.
        "tst r2, #0x100000",            // L
        "beq {write}",
        "ldr r3, ={MASK}",
        "and r3, r3, r2",
        "ldr r5, ={READ}",
        "cmp r3, r5",
        "bne {unusual}",
        sampled!(),
        "ubfx r5, r2, #16, #4",
        "ubfx r6, r2, #5, #3",
        "add r5, r6, r5, lsl #3",
        "ldr r6, ={reads}",
        "ldrb r5, [r6, r5]",
        "ubfx r6, r2, #12, #4",
        "cmp r5, #0",
        "cmpne r6, #15",
        "beq 3f",
        // 2.
        "ldr r5, [sp, r5, lsl #2]",
        "2: str r5, [sp, r6, lsl #2]",
        count!("CP15"),
        resume!(),
        // 3.
        "3: ubfx r3, r2, #16, #4",
        "tst r2, #0xe0",
        "cmpeq r3, #3",
        "bne {slow}",
        "cmp r6, #15",
        "beq {slow}",
        "ldr r3, [sp, #{SHARED}]",
        "ldr r5, [r3, #{SHARED_DOMAINS}]",
        "b 2b",
        // 4.
        "4: ubfx r0, r2, #12, #4",
        "ldr r0, [sp, r0, lsl #2]",
        "ldr r3, [sp, #{SHARED}]",
        "str r0, [sp, #{THREAD}]",
        "str r0, [r3, #{SHARED_THREAD_READ_ONLY}]",
        "mcr p15, 0, r0, c13, c0, 3",   // TPIDRURO
        count!("CP15"),
        resume!(),
        THREAD_FROM_DOMAINS = const write(13, 0, 3) ^ write(3, 0, 0),
        THREAD = const cp15_at(offset_of!(Cp15, tpidruro)),
        SHARED_THREAD_READ_ONLY = const shared::THREAD_READ_ONLY,
        DOMAINS = const write(3, 0, 0),
        domains = sym domains,
        MASK = const MASK,
        READ = const READ,
        COUNTDOWN = const COUNTDOWN,
        SHARED = const SHARED,
        SHARED_DOMAINS = const shared::DOMAINS,
        COUNTERS = const COUNTERS,
        CP15 = const CP15,
        reads = sym READS,
        write = sym system_write,
        unusual = sym unusual,
        slow = sym entry::undefined_saved,
    )
}

/// MCR of p15 by a kernel, by CRn; the value in `r0`, the word without Rt in `r2`.
///
/// (1.) Which; 2. a line of a cache, if it is mapped; all instructions, unless a page is open: what
/// was written there is to be scanned; 3. thread registers; 4. TTBR0: the shadow is tagged by ASID
/// alone; 5. entries of one address, or of one address space.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn system_write() {
    naked_asm!(
        // 1.
        "ubfx r0, r2, #12, #4",         // pc is UNPREDICTABLE
        "ldr r0, [sp, r0, lsl #2]",
        "bic r6, r2, #0xf000",
        "ubfx r3, r2, #16, #4",
        "add pc, pc, r3, lsl #2",
        "nop",
        "b {unusual}",
        "b {unusual}",
        "b 5f",
        "b {unusual}",
        "b {unusual}",
        "b {unusual}",
        "b {unusual}",
        "b 2f",
        "b 6f",
        "b {unusual}",
        "b {unusual}",
        "b {unusual}",
        "b {unusual}",
        "b 3f",
        "b {timer}",
        "b {unusual}",
        // 2.
        "2: ldr r3, ={INSTRUCTIONS}",
        "cmp r6, r3",
        "beq 22f",
        "ldr r3, ={CLEAN}",
        "cmp r6, r3",
        "ldrne r3, ={FLUSH}",
        "cmpne r6, r3",
        "ldrne r3, ={CLEAN_UNIFICATION}",
        "cmpne r6, r3",
        "beq 21f",
        "movw r5, #{OPENED}",
        "ldr r5, [sp, r5]",
        "cmp r5, #0",
        "bne 23f",
        "ldr r3, ={INSTRUCTION}",
        "cmp r6, r3",
        "bne 23f",
        "mov r8, lr",
        "bl {invalidate}",
        "b 20f",
        "21: mov r8, lr",
        "bl {flush}",
        "20: mov lr, r8",
        "cmp r1, #0",
        "bne 9f",
        "b {slow}",
        "23: ldr r3, ={BRANCHES}",
        "cmp r6, r3",
        "mcreq p15, 0, r0, c7, c5, 6",  // BPIALL
        "beq 9f",
        "ldr r3, ={FLUSH_SET_WAY}",
        "cmp r6, r3",
        "bne {unusual}",
        "mcr p15, 0, r0, c7, c14, 2",   // DCCISW
        "b 9f",
        "22: movw r5, #{OPENED}",
        "ldr r5, [sp, r5]",
        "cmp r5, #0",
        "bne {slow}",
        forget_instructions_text!("r0"),
        "b 9f",
        // 3.
        "3: ldr r3, ={TPIDRPRW}",
        "cmp r6, r3",
        "bne {context}",
        "str r0, [sp, #{KERNEL_THREAD}]",
        "ldr r3, [sp, #{SHARED}]",
        "str r0, [r3, #{SHARED_THREAD}]",
        "b 9f",
        "9:",
        count!("CP15"),
        resume!(),
        // 4.
        "5: ldr r3, ={TABLE}",
        "cmp r6, r3",
        "bne {unusual}",
        "str r0, [sp, #{TTBR0}]",
        ".globl entresol_fast_forget",
        "entresol_fast_forget:",
        // `Devices::forget`: no page of a device is known any more.
        "mov r5, #0",
        "movw r3, #{DEVICES}",
        "add r3, r3, sp",
        "str r5, [r3]",
        "str r5, [r3, #{DEVICE}]",
        "str r5, [r3, #{DEVICE} * 2]",
        "str r5, [r3, #{DEVICE} * 3]",
        "b 9b",
        // 5. MVA or MVAA, or ASID, inner shareable or not, of the unified TLB.
        "6: bic r3, r6, #0x44",         // CRm 3 or 7, opc2 1 or 3
        "ldr r5, ={ADDRESS}",
        "cmp r3, r5",
        "beq {drop_nothing}",
        "add r5, r5, #0x20",            // opc2 2
        "bic r3, r6, #0x4",
        "cmp r3, r5",
        "bne {unusual}",
        "ldr r5, [sp, #{FAST} + {SPACE}]",
        "cmp r5, #0",
        "bne {slow}",
        "b {space}",
        OPENED = const offset_of!(Guest, shadow) + offset_of!(Shadow, opened),
        FLUSH = const write(7, 14, 1),
        FLUSH_SET_WAY = const write(7, 14, 2),
        CLEAN = const write(7, 10, 1),
        CLEAN_UNIFICATION = const write(7, 11, 1),
        INSTRUCTION = const write(7, 5, 1),
        INSTRUCTIONS = const write(7, 5, 0),
        BRANCHES = const write(7, 5, 6),
        TPIDRPRW = const write(13, 0, 4),
        TABLE = const write(2, 0, 0),
        ADDRESS = const write(8, 3, 1),
        KERNEL_THREAD = const cp15_at(offset_of!(Cp15, tpidrprw)),
        TTBR0 = const TTBR0,
        DEVICES = const DEVICES,
        DEVICE = const Devices::STRIDE,
        SHARED = const SHARED,
        SHARED_THREAD = const shared::THREAD,
        COUNTERS = const COUNTERS,
        CP15 = const CP15,
        flush = sym guarded::flush_data_line,
        invalidate = sym guarded::invalidate_instruction_line,
        context = sym context,
        FAST = const FAST,
        SPACE = const offset_of!(Fast, fixed_space),
        space = sym entry::space_saved,
        drop_nothing = sym drop_nothing,
        timer = sym timer,
        unusual = sym unusual,
        slow = sym entry::undefined_saved,
    )
}

/// CONTEXTIDR of a kernel with the MMU on: another address space, if it has views already.
///
/// (1.) Which pair: `r7`, its record in `r8`; 2. nothing is mapped where the stubs are: `r9`; 3. the
/// pair is current; 4. its views, for the fast paths and at once; 5. no page of a device.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn context() {
    naked_asm!(
        // 1.
        "ldr r3, ={CONTEXT}",
        "cmp r6, r3",
        "bne {unusual}",
        "add r12, sp, #{FAST}",
        "ldr r3, [r12, #{SPACE}]",      // the MMU may be off
        "cmp r3, #0",
        "bne {slow}",
        "uxtb r5, r0",
        "add r5, r5, sp",
        "ldrb r7, [r5, #{PAIR_OF}]",
        "subs r7, r7, #1",
        "blo {space}",
        "movw r8, #{PAIRS}",
        "add r8, r8, sp",
        "mov r5, #{PAIR}",
        "mla r8, r7, r5, r8",
        "ldrb r5, [r8, #{STALE}]",
        "cmp r5, #0",
        "bne {space}",
        // 2.
        "ldr r9, [sp, #{HOLE}]",
        "cmp r9, #0",
        "bne 2f",
        // 3.
        "1: str r0, [sp, #{CONTEXTIDR}]",
        "movw r3, #{CURRENT}",
        "strb r7, [sp, r3]",
        "ldr r5, [sp, #{CLOCK}]",
        "add r5, r5, #1",
        "str r5, [sp, #{CLOCK}]",
        "str r5, [r8, #{USED}]",
        // 4.
        "ldr r5, [sp, #{ROOTS}]",
        "ldr r6, [sp, #{FIRST_ASID}]",
        "orr r5, r5, #{ATTRIBUTES}",
        "add r5, r5, r7, lsl #15",
        "add r6, r6, r7, lsl #1",
        "ldr r3, [r12, #{APART}]",
        "add r8, r5, r3, lsl #14",
        "add r9, r6, r3",
        "str r5, [r12, #{KERNEL}]",
        "str r6, [r12, #{KERNEL} + 4]",
        "strd r8, r9, [r12, #{APPLICATION}]",
        switch_text!("r5", "r6", "r7"),
        // 5.
        "b entresol_fast_forget",
        // In the linear view: the first-level entry of the hole.
        "2: ldrd r10, r11, [r12, #{LINEAR}]",
        switch_text!("r10", "r11", "r5"),
        "add r10, r12, #{MEMORY}",
        "ldmia r10, {{r3, r5, r6}}",
        "ldr r10, [sp, #{TTBR0}]",
        "bfc r10, #0, #14",
        "sub r10, r10, r3",
        "cmp r10, r6",
        "addlo r10, r10, r5",
        "ldrlo r10, [r10, r9, lsl #2]",
        "movhs r10, #3",
        "tst r10, #3",
        "beq 1b",
        "ldrd r4, r5, [r12, #{KERNEL}]",
        switch_text!("r4", "r5", "r7"),
        "b {slow}",
        CONTEXT = const write(13, 0, 1),
        CONTEXTIDR = const cp15_at(offset_of!(Cp15, contextidr)),
        FAST = const FAST,
        SPACE = const offset_of!(Fast, fixed_space),
        PAIR_OF = const SHADOW + shadow::PAIR_OF,
        PAIRS = const SHADOW + shadow::PAIRS,
        PAIR = const shadow::PAIR,
        STALE = const shadow::PAIR_STALE,
        USED = const shadow::PAIR_USED,
        HOLE = const SHADOW + shadow::HOLE,
        CURRENT = const SHADOW + shadow::CURRENT,
        CLOCK = const SHADOW + shadow::CLOCK,
        ROOTS = const SHADOW + shadow::ROOTS,
        FIRST_ASID = const SHADOW + shadow::FIRST_ASID,
        ATTRIBUTES = const crate::translation::WALK_ATTRIBUTES,
        KERNEL = const KERNEL,
        APART = const offset_of!(Fast, apart),
        APPLICATION = const APPLICATION,
        LINEAR = const offset_of!(Fast, linear),
        MEMORY = const offset_of!(Fast, memory),
        TTBR0 = const TTBR0,
        unusual = sym unusual,
        space = sym entry::space_saved,
        slow = sym entry::undefined_saved,
    )
}

pub(super) const SHADOW: usize = offset_of!(Guest, shadow);
pub(super) const DEVICES: usize = offset_of!(Guest, devices) + Devices::FIRST;

/// What is neither of these: a register of the generic timer, or an instruction with a condition.
///
/// (1.) CRn of MRC and MCR, CRm of MRRC and MCRR; 2. a condition that holds does not matter, and one
/// that does not is the handler's.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn unusual() {
    naked_asm!(
        // 1.
        "tst r2, #0x02000000",
        "andeq r3, r2, #0xf",
        "ubfxne r3, r2, #16, #4",
        "cmp r3, #14",
        "beq {timer}",
        // 2.
        "lsr r3, r2, #28",
        "cmp r3, #14",
        "beq {slow}",
        "ldr r5, ={conditions}",
        "add r5, r5, r3, lsl #1",
        "ldrh r5, [r5]",
        "lsr r6, r1, #28",
        "lsr r5, r5, r6",
        "tst r5, #1",
        "beq {slow}",
        "bic r2, r2, #0xf0000000",
        "orr r2, r2, #0xe0000000",
        "b {system}",
        conditions = sym CONDITIONS,
        system = sym system,
        timer = sym timer,
        slow = sym entry::undefined_saved,
    )
}

/// By condition, a bit for each of N, Z, C, V together: whether it holds (A8.3). None for
/// 0b1111, which is no condition.
static CONDITIONS: [u16; 16] = {
    let mut table = [0; 16];
    let mut flags = 0;
    while flags < 16 {
        let (n, z, c, v) =
            (flags >> 3 & 1 == 1, flags >> 2 & 1 == 1, flags >> 1 & 1 == 1, flags & 1 == 1);
        let holds = [z, c, n, v, c && !z, n == v, n == v && !z, true];
        let mut which = 0;
        while which < 8 {
            table[which * 2] |= (holds[which] as u16) << flags;
            table[which * 2 + 1] |= (!holds[which] as u16) << flags;
            which += 1;
        }
        flags += 1;
    }
    table[14] = 0xffff;
    table[15] = 0;
    table
};

/// VMRS of FPEXC and MVFR0, and VMSR that turns the unit off, or on if it holds the guest's registers.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(super) unsafe extern "C" fn float() {
    naked_asm!(
        kernels!(),
        "ldr r3, [sp, #{CPACR}]",
        "ubfx r3, r3, #20, #4",
        "cmp r3, #15",
        "bne {slow}",
        "ubfx r0, r2, #12, #4",
        "cmp r0, #15",
        "beq {slow}",
        "bic r3, r2, #0xf000",
        "ldr r5, ={WRITE}",
        "cmp r3, r5",
        "beq 2f",
        "ldr r5, ={READ}",
        "cmp r3, r5",
        "ldreq r3, [sp, #{FPEXC}]",
        "beq 1f",
        "eor r3, r3, #0xf0000",         // FPEXC is 8
        "cmp r3, r5",
        "bne {slow}",
        "ldr r3, [sp, #{MVFR0}]",
        "1: str r3, [sp, r0, lsl #2]",
        "b 9f",
        "2: ldr r3, [sp, r0, lsl #2]",
        "ldr r5, ={core} + {HOLDER}",
        "ldr r6, [r5]",
        "ands r3, r3, #0x40000000",     // EN
        "mov r7, #0",
        "beq 3f",
        "cmp r6, sp",
        "bne {slow}",
        "add r6, sp, #{FAST}",
        "str r7, [r6, #{NEXT}]",        // its turn is not simply passed
        "mov r7, #1",
        "3: str r3, [sp, #{FPEXC}]",
        "strb r7, [r5, #{OPEN} - {HOLDER}]",
        ".fpu neon",
        "vmsr fpexc, r3",
        "isb",
        "9:",
        count!("SENSITIVE"),
        resume!(),
        CPACR = const cp15_at(offset_of!(Cp15, cpacr)),
        FPEXC = const offset_of!(Vcpu, vfp) + offset_of!(Vfp, fpexc),
        WRITE = const 0xeee8_0a10_u32,
        READ = const 0xeef8_0a10_u32,
        MVFR0 = const cp15_at(offset_of!(Cp15, identity) + offset_of!(Identity, mvfr0)),
        FAST = const FAST,
        NEXT = const offset_of!(Fast, next),
        HOLDER = const offset_of!(Hypervisor, float_holder),
        OPEN = const offset_of!(Hypervisor, float_open),
        COUNTERS = const COUNTERS,
        SENSITIVE = const super::SENSITIVE,
        core = sym CORE,
        slow = sym entry::undefined_saved,
    )
}

impl Hypervisor {
    /// A guest's kernel executed `word`, which invalidates the entries of an address; opc2 is 1 for one
    /// ASID. Returns the guest to resume.
    pub(crate) extern "C" fn invalidated(loaded: *mut Guest, _: u32, word: u32) -> *mut Guest {
        // SAFETY: the one handler that runs.
        let hypervisor = unsafe { core() };
        let guest = &mut hypervisor.guests[hypervisor.loaded % MAX_VMS];
        let Some(&value) = guest.vcpu.regs.get((word >> 12 & 0xf) as usize) else { return loaded };
        // Stubs that are given up take long.
        if value >> 20 == guest.shadow.stubs.hole() || !guest.try_lock() {
            return trap::undefined(loaded);
        }
        guest.devices.forget_page(value);
        let asid = (word & 0x40 == 0).then_some(value as u8);
        let mut linear = Linear::enter(&mut hypervisor.view);
        let mut done = guest.shadow.drop_address(&mut linear, value, asid, true);
        if let Some(peer) = guest.shadow.peer() {
            done &= peer.drop_address(&mut linear, value, asid, true);
        }
        linear.leave();
        guest.unlock();
        if !done {
            // Taken before it is executed again.
            guest.vcpu.pc = guest.vcpu.pc.wrapping_sub(4);
            hypervisor.try_express();
            return loaded;
        }
        hypervisor.counters().cp15 += 1;
        loaded
    }

    /// A guest's kernel executed `word`, which makes another address space current that has no views
    /// yet, or invalidates the entries of one. Returns the guest to resume.
    pub(crate) extern "C" fn changed_space(loaded: *mut Guest, _: u32, word: u32) -> *mut Guest {
        // SAFETY: the one handler that runs.
        let hypervisor = unsafe { core() };
        if hypervisor.took_express() {
            return trap::undefined(loaded);
        }
        let guest = hypervisor.guest_called();
        let Some(&value) = guest.vcpu.regs.get((word >> 12 & 0xf) as usize) else { return loaded };
        guest.devices.forget();
        let op = if word >> 16 & 0xf == 8 {
            Some(TlbOp::Asid(value as u8))
        } else {
            guest.vcpu.cp15.contextidr = value;
            None
        };
        let hole = guest.shadow.stubs.hole();
        hypervisor.counters().cp15 += 1;
        let done = hypervisor.work(Work::Drop(op));
        let guest = hypervisor.guest_called();
        if !done || hole != guest.shadow.stubs.hole() {
            return hypervisor.leave();
        }
        // Nothing else of what fast paths know has changed.
        let view = guest.shadow.view(Side::Kernel);
        guest.fast.kernel = view;
        guest.fast.application = guest.shadow.view(Side::Application);
        // SAFETY: the view of the guest's kernel.
        unsafe { switch(view) };
        loaded
    }
}
