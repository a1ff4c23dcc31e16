//! Stubs do what the instructions they stand for do, wherever they are interrupted.
//!
//! Each is run, word by word, by a small interpreter of the few A32 instructions stubs are
//! made of, from random states, and stopped before every word of its way.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![allow(clippy::as_conversions, clippy::cast_possible_truncation, reason = "tests")]

use entresol_rewrite::stub::{self, Kind, LEN, WORDS, shared};

const SITE: u32 = 0xc020_8124;
/// The same instruction in T32.
const SITE_T32: u32 = SITE + 2 + stub::T32;
const STUB: u32 = 0xbfde_0040;
const PAGE: u32 = 0xbfde_1000;
const I: u32 = 0x80;
/// Where the guest's stack is.
const MEMORY: u32 = 0x9000_0000;

/// A guest: its registers, what the machine says CPSR is, and the shared page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    r: [u32; 15],
    pc: u32,
    flags: u32,
    page: [u8; 64],
    memory: [u32; 32],
    thumb: bool,
}

impl State {
    fn word(&self, field: u32) -> u32 {
        let at = field as usize;
        u32::from_le_bytes(self.page[at..at + 4].try_into().unwrap())
    }

    fn set_word(&mut self, field: u32, value: u32) {
        let at = field as usize;
        self.page[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn get(&self, n: u32) -> u32 {
        if n == 15 { self.pc + 8 } else { self.r[n as usize] }
    }

    /// The word of the guest's memory at an address.
    fn at(&mut self, address: u32) -> &mut u32 {
        &mut self.memory[(address.wrapping_sub(MEMORY) / 4) as usize]
    }

    fn cpsr(&self) -> u32 {
        self.flags | self.word(shared::STATUS)
    }
}

/// Executes the word at pc; `false` if it traps.
fn step(state: &mut State, words: &[u32; WORDS]) -> bool {
    let word = words[((state.pc - STUB) / 4) as usize];
    if state.thumb {
        if state.pc & 2 != 0 {
            assert_eq!(word >> 16, 0xde00, "udf");
            return false;
        }
        assert_eq!(word & 0xffff, 0x4778, "bx pc");
        (state.pc, state.thumb) = (state.pc + 4, false);
        return true;
    }
    assert_eq!(word >> 28, 14, "stubs are unconditional inside: {word:#010x}");
    let (rn, rd, rm) = (word >> 16 & 15, word >> 12 & 15, word & 15);
    if word == 0xe7f0_00f0 {
        return false;
    }
    if word >> 24 == 0xea {
        let offset = ((word << 8) as i32 >> 6) as u32;
        state.pc = state.pc.wrapping_add(8).wrapping_add(offset);
        return true;
    }
    if word >> 12 == 0xe51ff {
        let address = words[((state.pc + 8 - (word & 0xfff) - STUB) / 4) as usize];
        (state.pc, state.thumb) = (address & !1, address & 1 == 1);
        return true;
    }
    if word >> 16 & 0xfff0 == 0xe910 {
        let mut at = state.get(rn);
        for r in (0..15).rev().filter(|r| word >> r & 1 == 1) {
            at -= 4;
            state.r[r as usize] = *state.at(at);
        }
    } else if word >> 25 & 7 == 0b010 && rn != 15 {
        let offset = word & 0xfff;
        let base = state.get(rn);
        let at = if word >> 23 & 1 == 1 { base + offset } else { base - offset };
        match word >> 20 & 0xf7 {
            0x51 => state.r[rd as usize] = *state.at(at),
            0x50 => *state.at(at) = state.r[rd as usize],
            _ => panic!("{word:#010x}"),
        }
    } else if word >> 25 & 7 == 0b010 {
        let field = state.get(rn) + (word & 0xfff) - PAGE;
        assert!(rn == 15 && field < 60, "inside the shared page: {word:#010x}");
        match word >> 20 & 0xf {
            0x9 => state.r[rd as usize] = state.word(field),
            0x8 => state.set_word(field, state.r[rd as usize]),
            0xc => state.page[field as usize] = state.r[rd as usize] as u8,
            _ => panic!("{word:#010x}"),
        }
    } else if word & 0x0fff_0fff == 0x010f_0000 {
        state.r[rd as usize] = state.flags | 0x10;
    } else if word & 0x0fff_0ff0 == 0x016f_0f10 {
        state.r[rd as usize] = state.get(rm).leading_zeros();
    } else {
        assert_eq!(word >> 20 & 1, 0, "no flags: {word:#010x}");
        let operand = if word >> 25 & 1 == 1 {
            assert_eq!(word >> 8 & 15, 0, "no rotation");
            word & 0xff
        } else {
            let amount = word >> 7 & 31;
            match word >> 4 & 7 {
                0 => state.get(rm) << amount,
                2 => state.get(rm) >> amount,
                _ => panic!("{word:#010x}"),
            }
        };
        let value = match word >> 21 & 15 {
            0 => state.get(rn) & operand,
            1 => state.get(rn) ^ operand,
            2 => state.get(rn).wrapping_sub(operand),
            4 => state.get(rn).wrapping_add(operand),
            12 => state.get(rn) | operand,
            13 => operand,
            14 => state.get(rn) & !operand,
            _ => panic!("{word:#010x}"),
        };
        if rd == 15 {
            // ALUWritePC in A32: bit 0 says T32.
            (state.pc, state.thumb) = (value & !1, value & 1 == 1);
            return true;
        }
        state.r[rd as usize] = value;
    }
    state.pc += 4;
    true
}

/// What the instruction does, by the architecture; `None` where a stub may refuse.
fn meaning(kind: Kind, site: u32, before: &State) -> Option<State> {
    let mut after = before.clone();
    after.pc = (site & !stub::T32) + 4;
    let status = before.word(shared::STATUS);
    match kind {
        Kind::Mask => after.set_word(shared::STATUS, status | I),
        Kind::Unmask => after.set_word(shared::STATUS, status & !I),
        Kind::ReadStatus { rd } => after.r[rd as usize] = before.cpsr(),
        Kind::WriteStatus { rm } => {
            let value = before.r[rm as usize];
            if (value ^ status) & 0x7f != 0 {
                return None;
            }
            after.set_word(shared::STATUS, status & !0xff | value & 0xff);
        }
        Kind::Load { rd, field } => after.r[rd as usize] = before.word(field),
        Kind::Store { rt, field } => after.set_word(field, before.r[rt as usize]),
        Kind::Close { rm } => {
            let value = before.r[rm as usize];
            if value != before.word(shared::ENFORCED) {
                return None;
            }
            after.set_word(shared::DOMAINS, value);
        }
        Kind::StoreUser { rn, offset } => {
            let at = before.r[rn as usize].wrapping_add_signed(offset);
            *after.at(at) = before.word(shared::USER);
            *after.at(at + 4) = before.word(shared::USER + 4);
        }
        Kind::LoadUser { rn, list } => {
            let mut at = before.r[rn as usize] - 8;
            let (sp, lr) = (*after.at(at), *after.at(at + 4));
            after.set_word(shared::USER, sp);
            after.set_word(shared::USER + 4, lr);
            for r in (0..13).rev().filter(|r| list >> r & 1 == 1) {
                at -= 4;
                after.r[r as usize] = *after.at(at);
            }
        }
        Kind::Nothing => {}
    }
    Some(after)
}

/// The guest as the hypervisor resumes it after a stop in a stub.
fn settled(kind: Kind, site: u32, stopped: &State) -> (State, bool) {
    let mut state = stopped.clone();
    let plan = stub::settle(kind, site, (stopped.pc - STUB) / 4);
    if let Some(register) = plan.restore {
        state.r[register as usize] = state.word(shared::SLOT);
    }
    if let Some(register) = plan.status_to {
        state.r[register as usize] = state.cpsr();
    }
    if let Some(register) = plan.raise {
        state.r[register as usize] += stub::USER_LEN;
    }
    state.pc = (site & !stub::T32) + if plan.done { 4 } else { 0 };
    state.thumb = site & stub::T32 != 0;
    (state, plan.done)
}

/// Without the word that only stubs use.
fn seen(state: &State) -> State {
    let mut state = state.clone();
    state.set_word(shared::SLOT, 0);
    state
}

/// What the guest may see of an instruction that stopped before it was done: of stores and of
/// loads of several registers, any part may have happened (A8.8.57 and others).
fn seen_before(kind: Kind, state: &State) -> State {
    let mut state = seen(state);
    match kind {
        Kind::StoreUser { .. } => state.memory = [0; 32],
        Kind::LoadUser { .. } => {
            state.set_word(shared::USER, 0);
            state.set_word(shared::USER + 4, 0);
        }
        _ => {}
    }
    state
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }
}

fn kinds() -> Vec<Kind> {
    let mut kinds = vec![Kind::Mask, Kind::Unmask];
    for n in (0..15).filter(|n| *n != 13) {
        kinds.push(Kind::ReadStatus { rd: n });
        kinds.push(Kind::WriteStatus { rm: n });
        for field in [shared::THREAD, shared::DOMAINS, shared::SAVED, shared::DATA_ADDRESS] {
            kinds.push(Kind::Load { rd: n, field });
        }
        for field in [shared::SAVED, shared::DOMAINS, shared::THREAD_READ_ONLY] {
            kinds.push(Kind::Store { rt: n, field });
        }
        kinds.push(Kind::Close { rm: n });
    }
    for rn in 0..15 {
        kinds.extend([-8, -4, 0, 4].map(|offset| Kind::StoreUser { rn, offset }));
    }
    for rn in 0..12 {
        kinds.push(Kind::LoadUser { rn, list: 0x1fff });
        kinds.extend((rn > 0).then_some(Kind::LoadUser { rn, list: 0x1ffe }));
    }
    kinds
}

fn random_state(random: &mut Random, kind: Kind, site: u32) -> State {
    let mut state = State {
        r: std::array::from_fn(|_| random.next()),
        pc: STUB,
        flags: random.next() & 0xf80f_0200,
        page: [0; 64],
        memory: std::array::from_fn(|_| random.next()),
        thumb: site & stub::T32 != 0,
    };
    let modes = [0x11, 0x12, 0x13, 0x17, 0x1b, 0x1f];
    let status = modes[random.next() as usize % 6] | random.next() & 0x1c0;
    state.set_word(shared::STATUS, status);
    state.set_word(shared::PENDING, random.next() & I);
    for field in (shared::THREAD..60).step_by(4).chain([shared::SLOT]) {
        state.set_word(field, random.next());
    }
    if let Kind::StoreUser { rn, .. } | Kind::LoadUser { rn, .. } = kind {
        state.r[rn as usize] = MEMORY + 80;
    }
    if let (Kind::Close { rm }, true) = (kind, random.next() & 3 != 0) {
        state.r[rm as usize] = state.word(shared::ENFORCED) ^ (random.next() & 1);
    }
    if let (Kind::WriteStatus { rm }, true) = (kind, random.next() & 3 != 0) {
        // As a kernel does: the same mode, another mask.
        state.r[rm as usize] = random.next() & 0xffff_ff80 | status & 0x7f;
    }
    state
}

#[test]
fn a_stub_does_what_its_instruction_does_and_may_stop_before_every_word() {
    let mut random = Random(1);
    for (kind, site) in kinds().into_iter().flat_map(|kind| [(kind, SITE), (kind, SITE_T32)]) {
        let words = stub::encode(kind, site, STUB, PAGE).unwrap();
        for _ in 0..200 {
            let before = random_state(&mut random, kind, site);
            let after = meaning(kind, site, &before);
            let mut state = before.clone();
            let mut was_done = false;
            while (STUB..STUB + LEN).contains(&state.pc) {
                let (resumed, done) = settled(kind, site, &state);
                assert!(done || !was_done, "{kind:?}: done once, done for ever");
                was_done = done;
                let want = if done {
                    after.clone().unwrap()
                } else {
                    State { pc: site & !stub::T32, ..before.clone() }
                };
                let seen = |state| if done { seen(state) } else { seen_before(kind, state) };
                assert_eq!(seen(&resumed), seen(&want), "{kind:?} stopped at {:#x}", state.pc);
                if !step(&mut state, &words) {
                    break;
                }
            }
            let pending = before.word(shared::PENDING) != 0;
            let unmasked = after.as_ref().is_some_and(|after| after.word(shared::STATUS) & I == 0);
            let must_trap = match kind {
                Kind::Unmask | Kind::WriteStatus { .. } => pending && unmasked || after.is_none(),
                Kind::Close { .. } => after.is_none(),
                _ => false,
            };
            if must_trap {
                assert!((STUB..STUB + LEN).contains(&state.pc), "{kind:?} traps");
                assert_eq!(was_done, after.is_some(), "a refusal is emulated at the site");
            } else {
                assert_eq!(seen(&state), seen(&after.unwrap()), "{kind:?}");
            }
        }
    }
}

#[test]
fn originals_are_recognised_with_their_operands() {
    for (word, kind) in [
        (0xf10c_0080, Some(Kind::Mask)),
        (0xf108_0080, Some(Kind::Unmask)),
        (0xf10c_00c0, None),
        (0xe10f_3000, Some(Kind::ReadStatus { rd: 3 })),
        (0x010f_3000, Some(Kind::ReadStatus { rd: 3 })),
        (0xe10f_f000, None),
        (0xe121_f004, Some(Kind::WriteStatus { rm: 4 })),
        (0xe129_f004, None),
        (0xe169_f004, None),
        (0xe16f_f001, Some(Kind::Store { rt: 1, field: shared::SAVED })),
        (0xee03_8f10, Some(Kind::Close { rm: 8 })),
        (0xee03_df10, None),
        (0xe948_6000, Some(Kind::StoreUser { rn: 8, offset: -8 })),
        (0xe9cd_6000, Some(Kind::StoreUser { rn: 13, offset: 4 })),
        (0xe948_4000, None),
        (0xe952_7fff, Some(Kind::LoadUser { rn: 2, list: 0x1fff })),
        (0xe952_7ffe, Some(Kind::LoadUser { rn: 2, list: 0x1ffe })),
        (0xe950_7ffe, None),
        (0xe95d_7fff, None),
        (0xe8dd_ffff, None),
        (0xee07_0f3a, Some(Kind::Nothing)),
        (0xee07_0f3b, None),
        (0xee1d_4f90, Some(Kind::Load { rd: 4, field: shared::THREAD })),
        (0xee0d_4f90, None),
        (0xee1d_4f70, None),
        (0xee13_5f10, Some(Kind::Load { rd: 5, field: shared::DOMAINS })),
        (0xe14f_8000, Some(Kind::Load { rd: 8, field: shared::SAVED })),
        (0xee11_cf10, Some(Kind::Load { rd: 12, field: shared::CONTROL })),
        (0xfe1d_4f90, None),
    ] {
        assert_eq!(stub::kind(word), kind, "{word:#010x}");
    }
}

#[test]
fn instructions_of_t32_are_recognised_as_their_like_in_a32() {
    for (word, kind) in [
        (0xf3ef_8500, Some(Kind::ReadStatus { rd: 5 })),
        (0xf3ff_8900, Some(Kind::Load { rd: 9, field: shared::SAVED })),
        (0xf3ef_8f00, None),
        (0xf383_8100, Some(Kind::WriteStatus { rm: 3 })),
        (0xf383_8c00, None),
        (0xf39e_8f00, Some(Kind::Store { rt: 14, field: shared::SAVED })),
        (0xf39e_8900, None),
        (0xee1d_3f90, Some(Kind::Load { rd: 3, field: shared::THREAD })),
        (0xee07_0f3a, Some(Kind::Nothing)),
        (0xfe1d_3f90, None),
        (0xf3af_8740, None),
        (0xe8bd_8000, None),
    ] {
        assert_eq!(stub::kind_t32(word), kind, "{word:#010x}");
    }
}

#[test]
fn a_branch_of_t32_reaches_16_mib() {
    // b.w to the next instruction, and to itself.
    assert_eq!(stub::branch_to(0x1001, 0x1004, 0), Some(0xf000_b800));
    assert_eq!(stub::branch_to(0x1001, 0x1000, 0), Some(0xf7ff_bffe));
    let at = 0x4000_0003;
    assert_eq!(stub::branch_to(at, at + 3 + 0x00ff_fffe, 0), Some(0xf3ff_97ff));
    assert_eq!(stub::branch_to(at, at + 3 + 0x0100_0000, 0), None);
    assert_eq!(stub::branch_to(at, at + 3 - 0x0100_0000, 0), Some(0xf400_9000));
    assert_eq!(stub::branch_to(at, at + 1 - 0x0100_0000, 0), None);
    assert_eq!(stub::branch_to(0x1000, 0x1008, 0xe000_0000), Some(0xea00_0000));
}

#[test]
fn a_branch_reaches_32_mib_and_keeps_the_condition() {
    assert_eq!(stub::branch(0x1000, 0x1008, 0xe000_0000), Some(0xea00_0000));
    assert_eq!(stub::branch(0x1000, 0x1000, 0x0000_0000), Some(0x0aff_fffe));
    assert_eq!(stub::branch(0x1000, 0x1008, 0xf10c_0080), Some(0xea00_0000));
    let at = 0x4000_0000;
    assert_eq!(stub::branch(at, at + 8 + 0x01ff_fffc, 0xe000_0000), Some(0xea7f_ffff));
    assert_eq!(stub::branch(at, at + 8 + 0x0200_0000, 0xe000_0000), None);
    assert_eq!(stub::branch(at, at + 8 - 0x0200_0000, 0xe000_0000), Some(0xea80_0000));
    assert_eq!(stub::branch(at, at + 4 - 0x0200_0000, 0xe000_0000), None);
}

#[test]
fn every_stub_but_the_first_of_its_page_reaches_the_shared_page() {
    for kind in kinds() {
        for at in (STUB & !0xfff..PAGE).step_by(LEN as usize).skip(1) {
            assert!(stub::encode(kind, SITE, at, PAGE).is_some(), "{kind:?} at {at:#x}");
        }
        assert!(stub::encode(kind, SITE + 0x0300_0000, STUB, PAGE).is_none());
    }
}

#[test]
fn writes_that_may_wait_for_a_return_are_recognised() {
    let store = |rt, field| Some(Kind::Store { rt, field });
    assert_eq!(stub::deferred(0xee03_1f10), store(1, shared::DOMAINS));
    assert_eq!(stub::deferred(0xee0d_1f70), store(1, shared::THREAD_READ_ONLY));
    assert_eq!(stub::deferred(0x1e0d_1f70), store(1, shared::THREAD_READ_ONLY));
    assert_eq!(stub::deferred(0xfe0d_1f70), None);
    assert_eq!(stub::deferred(0xee0d_1f90), None, "TPIDRPRW");
    assert_eq!(stub::deferred(0xee1d_1f70), None, "a read");
    assert_eq!(stub::deferred(0xee03_ff10), None, "of pc");
}

fn returns(words: &[u32]) -> bool {
    stub::leads_to_return(SITE, |at| words.get((at.wrapping_sub(SITE) / 4) as usize).copied())
}

#[test]
fn a_write_waits_for_a_return_if_nothing_before_can_see_it() {
    // What Linux does from its write of TPIDRURO to the application: mov, mcr DACR, mov, ldr, ldr
    // with write-back, tst, bne to a BUG, msr spsr, strex, ldmdb ^, nop, add, movs pc, lr.
    let linux = [
        0xe3a0_1055,
        0xee03_1f10,
        0xe1a0_200d,
        0xe592_1040,
        0xe5b2_e03c,
        0xe311_008f,
        0x1a00_0005,
        0xe16f_f001,
        0xe182_1f92,
        0xe952_7ffe,
        0xe1a0_0000,
        0xe28d_d00c,
        0xe1b0_f00e,
        0xe7f0_01f2,
    ];
    assert!(returns(&linux));
    assert!(returns(&[0xe16f_f005, 0xe24d_0004, 0xe180_1f92, 0xe8dd_ffff]), "ldm, pc, ^");
    assert!(returns(&[0xf57f_f06f, 0xf10c_0080, 0xe25e_f004]), "isb, cpsid i, subs pc, lr, #4");
    assert!(returns(&[0xea00_0000, 0xee1d_1f70, 0xe1b0_f00e]), "b over what is not executed");
    for (word, why) in [
        (0xee1d_1f70, "a read of TPIDRURO"),
        (0x1a00_0001, "a branch to what is not undefined"),
        (0xeb00_0001, "bl"),
        (0xe12f_ff1e, "bx lr"),
        (0xe12f_ff33, "blx r3"),
        (0xe1a0_f00e, "mov pc, lr"),
        (0xe28f_f004, "add pc, pc, #4"),
        (0xe59f_f000, "ldr pc"),
        (0xe8bd_8010, "pop {r4, pc}"),
        (0xef00_0000, "svc"),
        (0xe140_0070, "hvc"),
        (0xe160_0070, "smc"),
        (0xed2d_8b02, "vpush"),
        (0xee10_0a10, "vmov"),
        (0xf8bd_0a00, "rfe"),
        (0xfa00_0000, "blx"),
        (0xe6ff_0f30, "a media instruction"),
        (0x0000_0000_u32.wrapping_sub(1), "nothing known"),
    ] {
        let mut words = linux;
        words[3] = word;
        assert!(!returns(&words), "{why}");
    }
    assert!(!returns(&linux[..12]), "the next page");
    assert!(!returns(&[0xe320_f000; 40]), "too far");
    assert!(!returns(&[0xeaff_fffe]), "a loop");
}
