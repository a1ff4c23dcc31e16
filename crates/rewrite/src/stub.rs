//! Stubs: what a promoted instruction is replaced by, so that it does not trap.
//!
//! A site that traps often becomes a branch to a stub, which does the same on a page
//! shared by guest and hypervisor and branches back. Pure: makes words, and says what
//! to do with a guest that stopped inside of them. Where stubs lie, when to make one and
//! how the shared page is kept is the hypervisor's business.
//!
//! # Why this shape
//!
//! A stub may not use the stack (there may be none), nor change flags or registers. So it
//! saves one register in the shared page, reached relative to pc, and decides by adding
//! to pc. The guest may store anything in the shared page at any time: a stub then does
//! something wrong to the guest, which the guest could do by itself.
//!
//! A stub for a T32 instruction (of 32 bits, outside of an IT block) is the same in A32, entered
//! through `bx pc` and left by a load of pc: T32 has no store relative to pc.
//!
//! # Invariants
//!
//! - A stub has one *commit*: what the guest's other code can see changes there and nowhere
//!   else. [`settle`] turns a stop at any word of it into one at the site or behind it.
//! - Every field of the shared page is within reach of every stub that lies at
//!   least [`LEN`] bytes into the page in front of it.

mod words;

pub use words::encode;

/// Words of a stub.
pub const WORDS: usize = 16;
/// Bytes of a stub.
pub const LEN: u32 = 64;

/// Fields of the shared page: byte offsets of words.
pub mod shared {
    /// Bits A, I, F and the mode the guest believes in, as in CPSR.
    pub const STATUS: u32 = 0;
    /// A register that a stub uses.
    pub const SLOT: u32 = 4;
    /// 0x80 if an interrupt is pending, else 0.
    pub const PENDING: u32 = 8;
    /// TPIDRPRW.
    pub const THREAD: u32 = 12;
    /// DACR.
    pub const DOMAINS: u32 = 16;
    /// DACR that the machine enforces: of what the guest may do now, no more than that.
    pub const ENFORCED: u32 = 20;
    /// SCTLR.
    pub const CONTROL: u32 = 56;
    /// SPSR of the current mode.
    pub const SAVED: u32 = 24;
    /// TPIDRURO.
    pub const THREAD_READ_ONLY: u32 = 28;
    /// `sp` and `lr` of User mode.
    pub const USER: u32 = 32;
    /// DFSR.
    pub const DATA_STATUS: u32 = 40;
    /// DFAR.
    pub const DATA_ADDRESS: u32 = 44;
    /// IFSR.
    pub const FETCH_STATUS: u32 = 48;
    /// IFAR.
    pub const FETCH_ADDRESS: u32 = 52;
}

/// The interrupt mask of a status register.
const I: u32 = 0x80;
/// A word that traps: the permanently undefined `udf #0`.
pub const TRAP: u32 = 0xe7f0_00f0;
/// Twice the same in T32.
const TRAP_T32: u32 = 0xde00_de00;
/// `bx pc` and `nop`: the next word is A32. The first word of a stub for T32.
const TO_A32: u32 = 0xbf00_4778;
/// Bit 0 of a site: it is T32.
pub const T32: u32 = 1;
/// `add pc, pc, #n` and the like read pc as this far ahead.
const AHEAD: u32 = 8;
/// `mcr p15, 0, r0, c3, c0, 0` and `mcr p15, 0, r0, c13, c0, 3`, without a condition.
const WRITE_DOMAINS: u32 = 0x0e03_0f10;
const WRITE_THREAD: u32 = 0x0e0d_0f70;
/// Condition "always".
const ALWAYS: u32 = 0xe000_0000;
/// pc.
const PC: u32 = 15;

/// What a stub does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `cpsid i`
    Mask,
    /// `cpsie i`
    Unmask,
    /// `mrs rd, cpsr`
    ReadStatus {
        /// Destination.
        rd: u32,
    },
    /// `msr cpsr_c, rm`
    WriteStatus {
        /// Source.
        rm: u32,
    },
    /// Reads a word that the hypervisor keeps in the shared page.
    Load {
        /// Destination.
        rd: u32,
        /// Which of [`shared`].
        field: u32,
    },
    /// Writes a word that the hypervisor takes from the shared page when it is due:
    /// `msr spsr_fsxc, rt`, or what [`deferred`] is for.
    Store {
        /// Source.
        rt: u32,
        /// Which of [`shared`].
        field: u32,
    },
    /// `mcr p15, 0, rm, c3, c0, 0` of what is enforced already.
    Close {
        /// Source.
        rm: u32,
    },
    /// `stm rn, {sp, lr}^`
    StoreUser {
        /// Base.
        rn: u32,
        /// Where `sp` goes, from the base.
        offset: i32,
    },
    /// `ldmdb rn, {.., r12, sp, lr}^` that loads its base.
    LoadUser {
        /// Base.
        rn: u32,
        /// Which of `r0` to `r12`.
        list: u32,
    },
    /// `mcr p15, 0, rt, c7, c10, 1`: nothing but processors looks at the guest's memory, and
    /// they do at their caches. Needs no stub: see [`instead`].
    Nothing,
}

/// What is to be done with a guest that stopped in a stub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The instruction is complete: the guest goes on behind the site. Else it goes on
    /// at the site, as if it had not begun.
    pub done: bool,
    /// The register to be loaded from [`shared::SLOT`] first.
    pub restore: Option<u32>,
    /// The register that gets CPSR, because the stub had spoiled it already.
    pub status_to: Option<u32>,
    /// The register that is [`USER_LEN`] too low.
    pub raise: Option<u32>,
}

/// Bytes of `sp` and `lr` in memory.
pub const USER_LEN: u32 = 8;

/// What a stub can do instead of an A32 instruction (the original, not its trap word).
#[must_use]
pub fn kind(original: u32) -> Option<Kind> {
    match original {
        0xf10c_0080 => return Some(Kind::Mask),
        0xf108_0080 => return Some(Kind::Unmask),
        _ if original >> 28 == 15 => return None,
        _ => {}
    }
    let body = original & 0x0fff_ffff;
    let (rd, rm) = (body >> 12 & 15, body & 15);
    // r13 and r15 are UNPREDICTABLE.
    let usable = |register: u32| register != 13 && register != PC;
    match body {
        _ if body & 0x0fff_0fff == 0x010f_0000 => usable(rd).then_some(Kind::ReadStatus { rd }),
        _ if body & 0x0fff_fff0 == 0x0121_f000 => usable(rm).then_some(Kind::WriteStatus { rm }),
        _ if body & 0x0fff_fff0 == 0x016f_f000 => {
            usable(rm).then_some(Kind::Store { rt: rm, field: shared::SAVED })
        }
        _ if body & 0x0fff_0fff == WRITE_DOMAINS => usable(rd).then_some(Kind::Close { rm: rd }),
        _ if body & 0x0fff_0fff == 0x0e07_0f3a => usable(rd).then_some(Kind::Nothing),
        _ if body & 0x0e60_0000 == 0x0840_0000 => multiple(body),
        _ => {
            let field = match (body & 0x0ff0_0f1f, body >> 13 & 0x78 | body >> 5 & 7) {
                // MRC by CRn and opc2
                (0x0e10_0f10, 0o154) => shared::THREAD,
                (0x0e10_0f10, 0o030) => shared::DOMAINS,
                (0x0e10_0f10, 0o010) => shared::CONTROL,
                (0x0e10_0f10, 0o050) => shared::DATA_STATUS,
                (0x0e10_0f10, 0o060) => shared::DATA_ADDRESS,
                (0x0e10_0f10, 0o051) => shared::FETCH_STATUS,
                (0x0e10_0f10, 0o062) => shared::FETCH_ADDRESS,
                _ if body & 0x0fff_0fff == 0x014f_0000 => shared::SAVED,
                _ => return None,
            };
            usable(rd).then_some(Kind::Load { rd, field })
        }
    }
}

/// What a stub can do instead of an A32 instruction that [leads to a return](leads_to_return).
#[must_use]
pub const fn deferred(original: u32) -> Option<Kind> {
    let field = match original & 0x0fff_0fff {
        WRITE_DOMAINS => shared::DOMAINS,
        WRITE_THREAD => shared::THREAD_READ_ONLY,
        _ => return None,
    };
    let rt = original >> 12 & 15;
    if original >> 28 == 15 || rt == 13 || rt == PC {
        None
    } else {
        Some(Kind::Store { rt, field })
    }
}

/// Most instructions from a write that is deferred to the return that makes up for it.
const WAY: u32 = 24;

/// Whether all ways from `at` lead to a return from an exception, or to an instruction that
/// traps, and nothing on them asks for what a [deferred] write changes: TPIDRURO, which User
/// mode can read, is not read; loads and stores are restarted if they fault. `word` is the guest's
/// own instruction at an address.
#[must_use]
pub fn leads_to_return(at: u32, word: impl Fn(u32) -> Option<u32>) -> bool {
    let (mut at, mut left) = (at, WAY);
    while left > 0 {
        let Some(instruction) = word(at) else { return false };
        let target = at
            .wrapping_add(AHEAD)
            .wrapping_add(((instruction << 8).cast_signed() >> 6).cast_unsigned());
        match step(instruction) {
            Step::Return => return true,
            Step::On => {}
            Step::Branch if instruction >> 28 == ALWAYS >> 28 => {
                at = target;
                left -= 1;
                continue;
            }
            // What kernels do if something is wrong.
            Step::Branch if word(target).is_some_and(is_undefined) => {}
            Step::Branch | Step::Other => return false,
        }
        at = at.wrapping_add(4);
        left -= 1;
    }
    false
}

/// What an instruction means for [`leads_to_return`].
enum Step {
    Return,
    On,
    Branch,
    Other,
}

const fn is_undefined(word: u32) -> bool {
    word & 0xfff0_00f0 == 0xe7f0_00f0
}

fn step(word: u32) -> Step {
    let body = word & 0x0fff_ffff;
    let (rd, pc_listed) = (body >> 12 & 15, body & 0x8000 != 0);
    match word {
        // MOVS pc, lr; SUBS pc, lr, #n; LDM {.., pc}^
        0xe1b0_f00e => return Step::Return,
        _ if word & 0xffff_ff00 == 0xe25e_f000 => return Step::Return,
        _ if word & 0xfe50_8000 == 0xe850_8000 || is_undefined(word) => return Step::Return,
        // CPS, CLREX, DSB, DMB, ISB
        _ if word & 0xfff1_fe20 == 0xf100_0000 || word & 0xffff_ff00 == 0xf57f_f000 => {
            return Step::On;
        }
        _ if word >> 28 == 15 => return Step::Other,
        _ => {}
    }
    let on = match body >> 24 {
        0xa => return Step::Branch,
        // MRC and MCR of p15, but reads of TPIDRURO and writes that end in what was deferred
        0xe => {
            let read = 0x0e1d_0f70;
            body & 0xf10 == 0xf10 && body & 0x0fff_0fff != read && rd != PC
        }
        // Data processing, MRS, MSR; not what has bits 7 and 4 set, but STREX; not BX, BLX
        0..=3 if body & 0x0200_0090 == 0x90 => body & 0x0ff0_0ff0 == 0x0180_0f90,
        0 | 1 if body & 0x0190_0000 == 0x0100_0000 => body & 0xf0 == 0,
        0..=3 => rd != PC || body & 0x0180_0000 == 0x0100_0000,
        // LDR, STR
        4..=7 => body & 0x0200_0010 != 0x0200_0010 && rd != PC,
        // LDM, STM
        8 | 9 => !pc_listed,
        _ => false,
    };
    if on { Step::On } else { Step::Other }
}

/// What a stub can do instead of a T32 instruction of 32 bits.
#[must_use]
pub fn kind_t32(original: u32) -> Option<Kind> {
    let saved = original >> 20 & 1;
    kind(match original & 0xffef_f0ff {
        // MRS, MSR
        0xf3ef_8000 => 0xe10f_0000 | saved << 22 | (original >> 8 & 15) << 12,
        msr if msr & 0xffe0_f0ff == 0xf380_8000 => {
            0xe120_f000 | saved << 22 | (original >> 8 & 15) << 16 | original >> 16 & 15
        }
        _ if original >> 24 == 0xee => original,
        _ => return None,
    })
}

/// LDM and STM with `^`, without write-back.
fn multiple(body: u32) -> Option<Kind> {
    const LOAD: u32 = 1 << 20;
    const UP: u32 = 1 << 23;
    const BEFORE: u32 = 1 << 24;
    let (rn, list) = (body >> 16 & 15, body & 0xffff);
    if body & LOAD == 0 {
        let offset = match body & (BEFORE | UP) {
            0 => -4,
            UP => 0,
            BEFORE => -8,
            _ => 4,
        };
        (list == 0x6000 && rn != PC).then_some(Kind::StoreUser { rn, offset })
    } else {
        // From r0 or r1 on, all, and the base among them; r12 is the stub's.
        let all = list | 1 == 0x7fff && list >> rn & 1 == 1 && rn < 12;
        (body & (BEFORE | UP) == BEFORE && all)
            .then_some(Kind::LoadUser { rn, list: list & 0x1fff })
    }
}

/// The word that needs no stub in the place of an original at `site`: [`Kind::Nothing`].
#[must_use]
pub const fn instead(site: u32, original: u32) -> u32 {
    const NOP: u32 = 0x0320_f000;
    const NOP_T32: u32 = 0xf3af_8000;
    if site & T32 != 0 { NOP_T32 } else { original & 0xf000_0000 | NOP }
}

impl Kind {
    /// The register that a stub saves, not one of its operands.
    const fn scratch(self) -> Option<u32> {
        match self {
            Self::Load { .. } | Self::Store { .. } | Self::Nothing => None,
            Self::LoadUser { .. } => Some(12),
            Self::ReadStatus { rd: 0 }
            | Self::WriteStatus { rm: 0 }
            | Self::Close { rm: 0 }
            | Self::StoreUser { rn: 0, .. } => Some(1),
            _ => Some(0),
        }
    }

    /// The first word, by index, before which the instruction is complete.
    const fn commit(self) -> u32 {
        match self {
            Self::Mask | Self::Unmask => 4,
            Self::ReadStatus { .. } => 3,
            Self::WriteStatus { .. } | Self::Close { .. } => 9,
            Self::Load { .. } | Self::Store { .. } => 1,
            Self::StoreUser { .. } => 5,
            Self::LoadUser { .. } => 7,
            Self::Nothing => 0,
        }
    }
}

/// What to do with a guest that stopped before word `index` of the stub for a site.
#[must_use]
pub fn settle(kind: Kind, site: u32, index: u32) -> Settled {
    let index = index.saturating_sub(site & T32);
    let done = index >= kind.commit();
    let restore = match kind {
        _ if index == 0 => None,
        Kind::LoadUser { .. } if done => None,
        _ => kind.scratch(),
    };
    let status_to = match kind {
        Kind::ReadStatus { rd } if done => Some(rd),
        _ => None,
    };
    let raise = match kind {
        Kind::LoadUser { rn, .. } if index == 6 => Some(rn),
        _ => None,
    };
    Settled { done, restore, status_to, raise }
}

/// The branch to `to` that replaces `original` at a site; `None` if that is out of reach.
#[must_use]
pub fn branch_to(site: u32, to: u32, original: u32) -> Option<u32> {
    // B, T4: 25 bits of distance from 4 bytes ahead.
    const REACH: u32 = 0x0100_0000;
    if site & T32 == 0 {
        return branch(site, to, original);
    }
    let distance = to.wrapping_sub((site & !T32).wrapping_add(4));
    if distance.wrapping_add(REACH) >= 2 * REACH {
        return None;
    }
    let bit = |number: u32| distance >> number & 1;
    let (j1, j2) = (1 ^ bit(23) ^ bit(24), 1 ^ bit(22) ^ bit(24));
    let high = 0xf000 | bit(24) << 10 | distance >> 12 & 0x3ff;
    Some(high << 16 | 0x9000 | j1 << 13 | j2 << 11 | distance >> 1 & 0x7ff)
}

/// `b<cond> to` at `from`; `None` if that is out of reach. `condition` is a condition field
/// in place, or 0b1111 for an instruction that has none.
#[must_use]
pub fn branch(from: u32, to: u32, condition: u32) -> Option<u32> {
    const REACH: u32 = 0x0200_0000;
    let distance = to.wrapping_sub(from.wrapping_add(AHEAD));
    if distance.wrapping_add(REACH) >= 2 * REACH || distance & 3 != 0 {
        return None;
    }
    let condition = condition & 0xf000_0000;
    let condition = if condition == 0xf000_0000 { ALWAYS } else { condition };
    Some(condition | 0x0a00_0000 | distance >> 2 & 0x00ff_ffff)
}
