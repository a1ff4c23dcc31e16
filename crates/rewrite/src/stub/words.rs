//! The words of stubs: templates, and how they are filled in.
//!
//! Why they are as they are: [`stub`](super).

use super::{AHEAD, ALWAYS, I, Kind, T32, TO_A32, TRAP, TRAP_T32, USER_LEN, WORDS, branch, shared};

/// The stub at `at` for a site at `site`, with the shared page at `page`; `None` if one
/// cannot reach the other.
#[must_use]
pub fn encode(kind: Kind, site: u32, at: u32, page: u32) -> Option<[u32; WORDS]> {
    let mut words = [TRAP; WORDS];
    let mut slots = words.iter_mut();
    let mut here = at;
    if site & T32 != 0 {
        *slots.next()? = TO_A32;
        here += 4;
    }
    let (template, operand) = kind.template();
    let mut back = None;
    for (slot, word) in slots.zip(template) {
        *slot = match *word {
            TRAP_T32 => TRAP_T32,
            // To T32 by a word that has the address.
            LEAVE if site & T32 != 0 => {
                LDR_PC_BACK | (here + AHEAD).wrapping_sub(back.unwrap_or(here + 4))
            }
            LEAVE => branch(here, site + 4, ALWAYS)?,
            BACK => {
                back = Some(here);
                site.wrapping_add(4)
            }
            word => kind.fill(word, operand, page.wrapping_sub(here + AHEAD))?,
        };
        here += 4;
    }
    if site & T32 != 0 && back.is_none() {
        *words.get_mut(usize::try_from((here - at) / 4).ok()?)? = site + 4;
    }
    Some(words)
}

/// In place of a register in a template: the one that the stub saves, and its operand.
const SCRATCH: u32 = 14;
const OPERAND: u32 = 13;
/// The same where they stand in an instruction.
const S12: u32 = SCRATCH << 12;
const S16: u32 = SCRATCH << 16 | S12;
const R12: u32 = OPERAND << 12;
const R16: u32 = OPERAND << 16;
/// In place of a word: the way back, and the address that it leads to.
const LEAVE: u32 = 0xf000_0000;
const BACK: u32 = LEAVE + 1;

const MASK_STUB: [u32; 6] = [
    STR | S12 | shared::SLOT,
    LDR | S12 | shared::STATUS,
    ORR_IMMEDIATE | S16 | I,
    STR | S12 | shared::STATUS,
    LDR | S12 | shared::SLOT,
    LEAVE,
];
const UNMASK: [u32; 9] = [
    STR | S12 | shared::SLOT,
    LDR | S12 | shared::STATUS,
    BIC_IMMEDIATE | S16 | I,
    STR | S12 | shared::STATUS,
    LDR | S12 | shared::PENDING,
    // Pending: to word 6, which traps. Else to word 7.
    SUB_PC_PC | SCRATCH | LSR | 5 << 7,
    TRAP,
    LDR | S12 | shared::SLOT,
    LEAVE,
];
const READ_STATUS: [u32; 6] = [
    STR | S12 | shared::SLOT,
    LDR | S12 | shared::STATUS,
    MRS | R12, // its mode is User, masks are 0
    ORR_REGISTER | R16 | R12 | SCRATCH,
    LDR | S12 | shared::SLOT,
    LEAVE,
];
const WRITE_STATUS: [u32; 15] = [
    STR | S12 | shared::SLOT,
    LDR | S12 | shared::STATUS,
    EOR_REGISTER | S16 | OPERAND,
    AND_IMMEDIATE | S16 | 0x7f,
    CLZ | S12 | SCRATCH,
    // Mode, T or F differ: three bytes less, to T32 in word 7, which traps. Else to word 8.
    ADD_PC_PC | SCRATCH | LSR | 3 << 7,
    BACK,
    TRAP_T32,
    STRB | R12 | shared::STATUS,
    LDR | S12 | shared::PENDING,
    BIC_REGISTER | S16 | OPERAND,
    // Pending and unmasked: to word 12, which traps. Else to word 13.
    SUB_PC_PC | SCRATCH | LSR | 5 << 7,
    TRAP,
    LDR | S12 | shared::SLOT,
    LEAVE,
];
const LOAD_FIELD: [u32; 2] = [LDR | R12, LEAVE];
const STORE_FIELD: [u32; 2] = [STR | R12, LEAVE];
const CLOSE: [u32; 11] = [
    STR | S12 | shared::SLOT,
    LDR | S12 | shared::ENFORCED,
    EOR_REGISTER | S16 | OPERAND,
    CLZ | S12 | SCRATCH,
    AND_IMMEDIATE | S16 | 32,
    // Another: to word 7, which traps. The same: to word 8.
    ADD_PC_PC | SCRATCH | LSR | 3 << 7,
    BACK,
    TRAP,
    STR | R12 | shared::DOMAINS,
    LDR | S12 | shared::SLOT,
    LEAVE,
];
const STORE_USER: [u32; 7] = [
    STR | S12 | shared::SLOT,
    LDR | S12 | shared::USER,
    STORE | R16 | S12,
    LDR | S12 | (shared::USER + 4),
    STORE | R16 | S12 | 4,
    LDR | S12 | shared::SLOT,
    LEAVE,
];
const LOAD_USER: [u32; 8] = [
    STR | S12 | shared::SLOT,
    LOAD | R16 | S12 | 8,
    STR | S12 | shared::USER,
    LOAD | R16 | S12 | 4,
    STR | S12 | (shared::USER + 4),
    SUB_IMMEDIATE | R16 | R12 | USER_LEN,
    LDMDB | R16,
    LEAVE,
];

impl Kind {
    /// The words of a stub, and its operand.
    const fn template(self) -> (&'static [u32], u32) {
        match self {
            Self::Mask => (&MASK_STUB, 0),
            Self::Unmask => (&UNMASK, 0),
            Self::ReadStatus { rd } => (&READ_STATUS, rd),
            Self::WriteStatus { rm } => (&WRITE_STATUS, rm),
            Self::Load { rd, .. } => (&LOAD_FIELD, rd),
            Self::Store { rt, .. } => (&STORE_FIELD, rt),
            Self::Close { rm } => (&CLOSE, rm),
            Self::StoreUser { rn, .. } => (&STORE_USER, rn),
            Self::LoadUser { rn, .. } => (&LOAD_USER, rn),
            Self::Nothing => (&[], 0),
        }
    }

    /// A word of a template with its registers, and what else belongs to it: the shared page is
    /// `page` from where it reads pc; `None` if that is out of reach.
    fn fill(self, word: u32, operand: u32, page: u32) -> Option<u32> {
        let scratch = self.scratch().unwrap_or(0);
        let filled = [16, 12, 0].into_iter().fold(word, |word, shift| match word >> shift & 15 {
            SCRATCH => word ^ (SCRATCH ^ scratch) << shift,
            OPERAND => word ^ (OPERAND ^ operand) << shift,
            _ => word,
        });
        let rest = filled & 0xfff;
        Some(match (self, word & 0x0e0f_0000) {
            (_, BY_PC) => {
                let field = match self {
                    Self::Load { field, .. } | Self::Store { field, .. } => field,
                    _ => rest,
                };
                let offset = page.wrapping_add(field);
                if offset >= 0x1000 {
                    return None;
                }
                (filled - rest) | offset
            }
            (Self::StoreUser { offset, .. }, BY_OPERAND) => {
                let offset = rest.wrapping_add_signed(offset).cast_signed();
                let up = if offset < 0 { 0 } else { 1 << 23 };
                (filled - rest) | up | offset.unsigned_abs()
            }
            (Self::LoadUser { list, .. }, LIST) => filled | list,
            _ => filled,
        })
    }
}

/// Of a template's word: LDR or STR of a field, of what the operand points to, and LDM.
const BY_PC: u32 = 0x040f_0000;
const BY_OPERAND: u32 = 0x0400_0000 | R16;
const LIST: u32 = 0x0800_0000 | R16;

const STORE: u32 = 0xe500_0000;
const LOAD: u32 = 0xe510_0000;
const LDMDB: u32 = 0xe910_0000;
const SUB_IMMEDIATE: u32 = 0xe240_0000;
/// `ldr pc, [pc, #-n]`.
const LDR_PC_BACK: u32 = 0xe51f_f000;
/// Positive offset from pc.
const STR: u32 = 0xe58f_0000;
const LDR: u32 = 0xe59f_0000;
const STRB: u32 = 0xe5cf_0000;
const ORR_IMMEDIATE: u32 = 0xe380_0000;
const BIC_IMMEDIATE: u32 = 0xe3c0_0000;
const AND_IMMEDIATE: u32 = 0xe200_0000;
const ORR_REGISTER: u32 = 0xe180_0000;
const EOR_REGISTER: u32 = 0xe020_0000;
const BIC_REGISTER: u32 = 0xe1c0_0000;
const MRS: u32 = 0xe10f_0000;
const CLZ: u32 = 0xe16f_0f10;
const ADD_PC_PC: u32 = 0xe08f_f000;
const SUB_PC_PC: u32 = 0xe04f_f000;
const LSR: u32 = 0b01 << 5;
