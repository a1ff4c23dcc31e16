//! A guest kernel's accesses to the generic timer: its counter, its two timers.
//!
//! Budget `linux.tick`: Linux makes five for each tick, and reads the counter as often, if that traps
//! ([`may_open`](crate::timer::may_open)). What only reads or keeps a value is done in assembly; the rest needs
//! the board, but little else of what a handler knows: an access changes at most the level of the timer's
//! line and the deadline.
//!
//! # Invariants
//!
//! - Nothing is done here while an express is to be settled: what it does to the timer comes first.

use super::{COUNTERS, CP15, count, resume};
use crate::entry;
use crate::express::{Express, Wires, arm};
use crate::guest::Guest;
use crate::hypervisor::{CORE, Hypervisor, core};
use crate::trap;
use core::arch::naked_asm;
use core::mem::offset_of;
use entresol_abi::image::{MAX_VMS, Vm, flags};
use entresol_abi::timer::{Field, Register};
use entresol_hv::NEVER;
use entresol_hv::board::{Board, PHYSICAL_TIMER_IRQ, VIRTUAL_TIMER_IRQ, quick};
use entresol_hv::timer::Timer;

/// MRRC of CNTPCT or CNTVCT, without Rt2, Rt and which.
const COUNT: u32 = 0xec50_0f0e;
const COUNT_MASK: u32 = 0xfff0_0fef;

/// MRC of CNTP_CTL or CNTV_CTL, without Rt; MCRR of CNTP_CVAL or CNTV_CVAL, under [`COUNT_MASK`].
const CONTROL: u32 = 0xee1e_0f33;
const COMPARE: u32 = 0xec40_0f2e;

/// The generic timer's registers. 24 instructions for the counter, 60 to read a control register, 65 and
/// 105 to write it, 40 for a compare value.
///
/// (1.) The counter, to two registers that are not pc; 2. a control register, to one; 3. real time:
/// the count; 4. of a Cortex-A9; 5. ISTATUS; 6. a compare value, if the timer may not interrupt,
/// so that it is only kept, see [`Timer::PHYSICAL`]; 7. a timer that interrupted is turned off or
/// masked, 8. the only one is turned on, see [`quick`]: the machine's is armed as
/// [`Hypervisor::arm_own`] does. Anything else is [`Hypervisor::timed`].
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(super) unsafe extern "C" fn timer() {
    naked_asm!(
        // 1.
        "ldr r3, ={MASK}",
        "and r3, r3, r2",
        "ldr r5, ={COUNT}",
        "ubfx r6, r2, #12, #4",
        "ubfx r7, r2, #16, #4",
        "cmp r6, #15",
        "beq {timed}",
        "mov r10, #0",
        "cmp r3, r5",
        "bne 2f",
        "cmp r7, #15",
        "cmpne r7, r6",
        "beq {timed}",
        // 3.
        "3: movw r3, #{FLAGS}",
        "ldr r3, [sp, r3]",
        "tst r3, #{VIRTUAL_TIME}",
        "bne {timed}",
        "ldr r3, ={core} + {TIMER}",
        "ldr r3, [r3]",
        "cmp r3, #0",
        "bne 4f",
        "isb",                          // B8.1.2
        "mrrc p15, 0, r8, r9, c14",     // CNTPCT
        "1: cmp r10, #0",
        "bne 5f",
        "str r9, [sp, r7, lsl #2]",
        "7: str r8, [sp, r6, lsl #2]",
        "8:",
        count!("CP15"),
        resume!(),
        // 2.
        "2: ldr r8, ={core} + {DISPLACED}",
        "ldr r8, [r8]",
        "cmn r8, #1",
        "bne {timed}",
        "ldr r5, ={COMPARE}",
        "cmp r3, r5",
        "beq 6f",
        "ldr r5, ={CONTROL}",
        "bic r3, r2, #0xf000",
        "orr r3, r3, #1",
        "eor r3, r3, r5",
        "mov r11, #0",
        "tst r2, #1",
        "movw r10, #{PHYSICAL}",
        "movwne r10, #{VIRTUAL}",
        "add r10, r10, sp",
        "cmp r3, #0",
        "beq 3b",
        "cmp r3, #0x100000",            // MCR
        "beq 9f",
        "b {timed}",
        // 4.
        "4: ldr r9, [r3, #4]",
        "ldr r8, [r3]",
        "ldr r5, [r3, #4]",
        "cmp r5, r9",
        "bne 4b",
        "b 1b",
        // 5.
        "5: cmp r11, #0",
        "bne 11f",
        "ldr r3, [r10, #{AT}]",
        "subs r8, r8, r3",
        "ldr r3, [r10, #{AT} + 4]",
        "ldr r8, [r10, #{HOW}]",
        "sbcs r9, r9, r3",
        "and r3, r8, #1",
        "orrhs r8, r8, r3, lsl #2",
        "b 7b",
        // 6.
        "6: movw r3, #{FLAGS}",
        "ldr r3, [sp, r3]",
        "cmp r7, #15",
        "beq {timed}",
        "tst r3, #{CATCH_UP}",
        "bne {timed}",
        "tst r2, #0x10",
        "movw r10, #{PHYSICAL}",
        "movwne r10, #{VIRTUAL}",
        "add r10, r10, sp",
        "ldr r3, [r10, #{HOW}]",
        "and r3, r3, #3",
        "cmp r3, #1",                   // enabled, not masked
        "beq {timed}",
        "ldr r3, [sp, r6, lsl #2]",
        "ldr r5, [sp, r7, lsl #2]",
        "str r3, [r10, #{AT}]",
        "str r5, [r10, #{AT} + 4]",
        "b 8b",
        // 7.
        "9: ldr r8, [sp, r6, lsl #2]",
        "and r8, r8, #3",
        "ldr r3, [r10, #{HOW}]",
        "movw r7, #{BOARD}",
        "add r7, r7, sp",
        "cmp r3, #1",
        "bne 10f",
        "cmp r8, #1",
        "beq {timed}",
        "tst r2, #1",
        "mov r9, #{PHYSICAL_IRQ}",
        "movne r9, #{VIRTUAL_IRQ}",
        "ldr r3, [r7, #{DRIVEN}]",
        "ldr r5, [r7, #{ACTIVE}]",
        "tst r3, r9",
        "tstne r5, r9",
        "beq {timed}",
        "bic r3, r3, r9",
        "str r3, [r7, #{DRIVEN}]",
        "ldr r5, [r7, #{LINE}]",
        "bic r5, r5, r9",
        "str r5, [r7, #{LINE}]",
        "str r8, [r10, #{HOW}]",
        "b 8b",
        // 8.
        "10: cmp r8, #1",
        "bne {timed}",
        "movw r3, #{FLAGS}",
        "ldr r3, [sp, r3]",
        "tst r3, #{CATCH_UP}",
        "bne {timed}",
        "ldr r3, [r7, #{PHYSICAL_HOW}]",
        "ldr r5, [r7, #{VIRTUAL_HOW}]",
        "cmp r3, #1",
        "cmpne r5, #1",
        "beq {timed}",
        "ldr r4, [r7, #{OTHERS}]",
        "ldr r5, [r7, #{OTHERS} + 4]",
        "ldr r8, [r7, #{DEADLINE}]",
        "ldr r9, [r7, #{DEADLINE} + 4]",
        "and r4, r4, r5",
        "and r8, r8, r9",
        "and r4, r4, r8",
        "cmn r4, #1",
        "bne {timed}",
        "ldr r11, ={core}",
        "ldr r3, [r11, #{REST_OF}]",
        "ldr r5, [r11, #{LOADED}]",
        "cmp r3, r5",
        "bne {timed}",
        "b 3b",
        "11: ldrd r4, r5, [r10, #{AT}]",
        "subs r3, r8, r4",
        "sbcs r3, r9, r5",
        "bhs {timed}",
        "str r4, [r7, #{DEADLINE}]",
        "str r5, [r7, #{DEADLINE} + 4]",
        "tst r2, #1",
        "mov r3, #{ONLY_PHYSICAL}",
        "movne r3, #{ONLY_VIRTUAL}",
        "strb r3, [r7, #{ONLY}]",
        "mov r6, #1",
        "str r6, [r10, #{HOW}]",
        "str sp, [r11, #{OWN}]",
        "ldrd r8, r9, [r11, #{REST}]",
        "subs r3, r8, r4",
        "sbcs r3, r9, r5",
        "movlo r4, r8",
        "movlo r5, r9",
        "ldrd r8, r9, [r11, #{ARMED}]",
        "cmp r8, r4",
        "cmpeq r9, r5",
        "beq 8b",
        "strd r4, r5, [r11, #{ARMED}]",
        "ldr r2, [r11, #{TIMER}]",
        "cmp r2, #0",
        "mcreq p15, 0, r6, c14, c2, 1", // CNTP_CTL
        arm!(),
        "b 8b",
        MASK = const COUNT_MASK,
        COUNT = const COUNT,
        COMPARE = const COMPARE,
        CONTROL = const CONTROL,
        FLAGS = const offset_of!(Guest, vm) + offset_of!(Vm, flags),
        VIRTUAL_TIME = const flags::VIRTUAL_TIME,
        CATCH_UP = const flags::CATCH_UP,
        DISPLACED = const EXPRESS + Express::DISPLACED,
        TIMER = const EXPRESS + offset_of!(Express, wires) + offset_of!(Wires, timer),
        PHYSICAL = const TIMERS + Timer::PHYSICAL,
        VIRTUAL = const TIMERS + Timer::VIRTUAL,
        BOARD = const offset_of!(Guest, board),
        PHYSICAL_IRQ = const 1 << (PHYSICAL_TIMER_IRQ % 32),
        VIRTUAL_IRQ = const 1 << (VIRTUAL_TIMER_IRQ % 32),
        DRIVEN = const quick::DRIVEN,
        ACTIVE = const offset_of!(Board, gic) + entresol_hv::gic::quick::ACTIVE,
        LINE = const offset_of!(Board, gic) + entresol_hv::gic::quick::LINE,
        PHYSICAL_HOW = const offset_of!(Board, timer) + Timer::PHYSICAL + Timer::CONTROL,
        VIRTUAL_HOW = const offset_of!(Board, timer) + Timer::VIRTUAL + Timer::CONTROL,
        OTHERS = const quick::OTHERS,
        DEADLINE = const quick::DEADLINE,
        ONLY = const quick::ONLY,
        ONLY_PHYSICAL = const quick::ONLY_PHYSICAL,
        ONLY_VIRTUAL = const quick::ONLY_VIRTUAL,
        REST_OF = const EXPRESS + offset_of!(Express, rest_of),
        REST = const EXPRESS + offset_of!(Express, rest),
        OWN = const EXPRESS + offset_of!(Express, own),
        LOADED = const offset_of!(Hypervisor, loaded),
        ARMED = const offset_of!(Hypervisor, armed),
        HOW = const Timer::CONTROL,
        AT = const Timer::COMPARE,
        COUNTERS = const COUNTERS,
        CP15 = const CP15,
        core = sym CORE,
        timed = sym entry::timer_saved,
    )
}

const EXPRESS: usize = offset_of!(Hypervisor, express);
const TIMERS: usize = offset_of!(Guest, board) + offset_of!(Board, timer);

/// Which register a word is an access to, and whether it has 64 bits.
const fn register(word: u32) -> Option<(Register, bool)> {
    const MOVE: u32 = 0xee0e_0f12;
    const MOVE_TWO: u32 = 0xec40_0f2e;
    // CRm 2 or 3, opc2 0 or 1.
    let register = match (word & 0xffef_0fde, word & 0x21) {
        (MOVE, 0x00) => Register::Physical(Field::Value),
        (MOVE, 0x01) => Register::Virtual(Field::Value),
        (MOVE, 0x20) => Register::Physical(Field::Control),
        (MOVE, 0x21) => Register::Virtual(Field::Control),
        _ => match word & 0xffe0_0fff {
            MOVE_TWO => return Some((Register::Physical(Field::Compare), true)),
            0xec40_0f3e => return Some((Register::Virtual(Field::Compare), true)),
            _ => return None,
        },
    };
    Some((register, false))
}

impl Hypervisor {
    /// A guest's kernel executed `word`, an access to c14. Returns the guest to resume.
    pub(crate) extern "C" fn timed(loaded: *mut Guest, _: u32, word: u32) -> *mut Guest {
        const READ: u32 = 1 << 20;
        // SAFETY: the one handler that runs.
        let hypervisor = unsafe { core() };
        let counters = hypervisor.counters();
        // `high` is CRn for what has 32 bits: lr, of which nothing is used.
        let (low, high) = ((word >> 12 & 0xf) as usize, (word >> 16 & 0xf) as usize);
        let Some((register, wide)) = register(word) else { return trap::undefined(loaded) };
        if hypervisor.express.is_unsettled() || low == 15 || high == 15 || wide && high == low {
            return trap::undefined(loaded);
        }
        let guest = &mut hypervisor.guests[hypervisor.loaded % MAX_VMS];
        let now = hypervisor.platform.as_ref().map_or(0, |platform| platform.now());
        counters.cp15 += 1;
        let registers = &mut guest.vcpu.regs;
        if word & READ != 0 {
            let value = guest.board.read_timer(register, now);
            registers[low] = value as u32;
            if wide {
                registers[high] = (value >> 32) as u32;
            }
            return guest;
        }
        // Who is more urgent does not wait for the board: the access is made again then.
        let next = guest.vcpu.pc;
        guest.vcpu.pc = next.wrapping_sub(4);
        hypervisor.give_way_called();
        let guest = &mut hypervisor.guests[hypervisor.loaded % MAX_VMS];
        guest.vcpu.pc = next;
        let registers = &guest.vcpu.regs;
        let value = u64::from(registers[high]) << 32 | u64::from(registers[low]);
        // What else the timer is armed for is known, if it was for this guest and its board's deadline
        // is no part of it.
        let before = guest.board.deadline();
        let apart = before == NEVER || guest.board.may_ring_late();
        guest.board.write_timer(register, value, now);
        // Who is let go first arms.
        hypervisor.give_way_called();
        let guest = &mut hypervisor.guests[hypervisor.loaded % MAX_VMS];
        let deadline = guest.board.deadline();
        if deadline != before {
            let late = guest.board.may_ring_late();
            if apart && late && hypervisor.express.rest_of == hypervisor.loaded {
                hypervisor.arm_own(deadline);
            } else {
                hypervisor.arm();
            }
        }
        let guest = hypervisor.guest();
        if guest.undisturbed() {
            return guest;
        }
        guest.heed();
        hypervisor.leave_unchanged()
    }
}
