//! Pages put together from a few words each, and what must be replaced in them.
//!
//! Words are written as in an assembler listing; the comment is the instruction.

#![expect(clippy::indexing_slicing, reason = "test code outside test functions")]

use entresol_isa::op::InstructionSet::{A32, T32};
use entresol_isa::{Class, trapword};
use entresol_rewrite::{
    Decision, Found, PAGE_WORDS, Page, Reason, Site, Why, Width, report, restore, scan, scan_other,
    write,
};

const NOP: u32 = 0xe1a0_0000;
const BX_LR: u32 = 0xe12f_ff1e;
const CPSID: u32 = 0xf10c_0080;
const LDRT: u32 = 0xe4b0_1000; // ldrt r1, [r0]
const STM_USER: u32 = 0xe8c0_7fff; // stmia r0, {r0-lr}^

fn page(words: &[(usize, u32)]) -> Page {
    let mut page = [0; PAGE_WORDS];
    for &(index, word) in words {
        page[index] = word;
    }
    page
}

fn halves(halves: &[u16]) -> Page {
    let mut page = [0; PAGE_WORDS];
    for (index, half) in halves.iter().enumerate() {
        page[index / 2] |= u32::from(*half) << (index % 2 * 16);
    }
    page
}

fn sites(page: &Page, entry: u16, set: entresol_isa::op::InstructionSet) -> Vec<Site> {
    let mut sites = Vec::new();
    scan(page, entry, set, |found| {
        if let Found::Replace(site) = found {
            sites.push(site);
        }
    });
    sites
}

fn offsets(page: &Page, entry: u16, set: entresol_isa::op::InstructionSet) -> Vec<u16> {
    sites(page, entry, set).iter().map(|site| site.offset).collect()
}

/// Seeded noise (xorshift), as compressed data looks like.
fn noise(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::try_from(state >> 32).unwrap_or(0)
    }
}

#[test]
fn what_an_interrupt_routine_does_is_replaced() {
    let page = page(&[
        (0, 0xe10f_3000), // mrs r3, cpsr
        (1, CPSID),       // cpsid i
        (2, 0xe121_f003), // msr cpsr_c, r3
        (3, 0xe321_f0d3), // msr cpsr_c, #0xd3
        (4, 0xe16f_f001), // msr spsr_fsxc, r1
        (5, 0xe320_f003), // wfi
        (6, 0xf8bd_0a00), // rfeia sp!
    ]);
    let sites = sites(&page, 0, A32);
    assert_eq!(sites.iter().map(|site| site.offset).collect::<Vec<_>>(), [0, 4, 8, 12, 16, 20, 24]);
    for site in sites {
        assert_eq!(site.reason, Reason::Reached);
        assert_eq!(trapword::decode_a32(site.replacement), Some(site.original));
    }
}

#[test]
fn a_literal_is_not_replaced_even_if_it_looks_like_cps() {
    let page = page(&[
        (0, 0xe59f_0000), // ldr r0, [pc]
        (1, BX_LR),
        (2, CPSID),
        (3, CPSID), // no literal: replaced, unreached as it is
    ]);
    assert_eq!(offsets(&page, 0, A32), [12]);
}

#[test]
fn literals_of_every_width_are_data() {
    let page = page(&[
        (0, 0xe1cf_02d0), // ldrd r0, r1, [pc, #32]: words 10 and 11
        (1, 0xe1df_22b0), // ldrh r2, [pc, #32]: word 11
        (2, 0xed9f_0b06), // vldr d0, [pc, #24]: words 10 and 11
        (3, 0xed9f_0a07), // vldr s0, [pc, #28]: word 12
        (4, 0xe51f_1018), // ldr r1, [pc, #-24]: word 0
        (5, BX_LR),
        (10, CPSID),
        (11, CPSID),
        (12, CPSID),
        (13, CPSID),
    ]);
    assert_eq!(offsets(&page, 0, A32), [52]);
}

#[test]
fn a_weak_form_is_replaced_where_control_flow_leads() {
    let page = page(&[
        (0, 0xea00_0010),  // b 18
        (5, LDRT),         // among zeros, unreached
        (18, 0x1a00_0020), // bne 52
        (19, BX_LR),
        (20, STM_USER), // behind a return
        (52, LDRT),
        (53, 0xebff_fff0), // bl 39
        (54, STM_USER),
        (55, BX_LR),
        (39, 0x14b0_1000), // ldrtne r1, [r0]
        (40, BX_LR),
    ]);
    let sites = sites(&page, 0, A32);
    assert_eq!(sites.iter().map(|site| site.offset / 4).collect::<Vec<_>>(), [39, 52, 54]);
    assert_eq!(sites[0].replacement >> 28, 1, "the condition stays");
}

#[test]
fn a_weak_form_among_code_is_replaced_without_being_reached() {
    let mut words: Vec<(usize, u32)> = (100..130).map(|index| (index, NOP)).collect();
    words.push((110, STM_USER));
    words.push((125, 0xc020_10b2)); // strhtgt: an address among code
    let sites = sites(&page(&words), 0, A32);
    assert_eq!(sites.len(), 1);
    assert_eq!((sites[0].offset, sites[0].reason), (440, Reason::Context));
}

#[test]
fn returns_as_kernels_write_them_are_replaced_anywhere() {
    let page = page(&[
        (0, BX_LR),
        (9, 0xe1b0_f00e),  // movs pc, lr
        (19, 0xe25e_f004), // subs pc, lr, #4
        (29, 0xe05e_f00f), // subs pc, lr, pc: nobody writes that
    ]);
    assert_eq!(offsets(&page, 0, A32), [36, 76]);
}

#[test]
fn writes_of_flags_alone_stay() {
    let page = page(&[
        (0, 0xe128_f000), // msr cpsr_f, r0
        (1, 0xe328_f20f), // msr cpsr_f, #0xf0000000
        (2, 0xe168_f000), // msr spsr_f, r0
        (3, 0xe12c_f000), // msr cpsr_fs, r0
        (4, 0xe129_f000), // msr cpsr_fc, r0
        (5, BX_LR),
    ]);
    assert_eq!(offsets(&page, 0, A32), [8, 16]);
}

#[test]
fn the_table_of_a_switch_is_data() {
    let page = page(&[
        (0, 0xe350_0003), // cmp r0, #3
        (1, 0x979f_f100), // ldrls pc, [pc, r0, lsl #2]
        (2, 0xea00_0004), // b 8
        (3, CPSID),
        (4, CPSID),
        (5, CPSID),
        (6, CPSID),
        (7, CPSID), // after the table
        (8, BX_LR),
    ]);
    assert_eq!(offsets(&page, 0, A32), [28]);
}

#[test]
fn a_return_address_made_by_hand_is_followed() {
    let page = page(&[
        (0, 0xe28f_e020), // add lr, pc, #32: word 10
        (1, 0xe12f_ff13), // bx r3
        (10, LDRT),
        (11, 0xe1a0_e00f), // mov lr, pc
        (12, 0xe1a0_f003), // mov pc, r3
        (13, STM_USER),
        (14, BX_LR),
    ]);
    assert_eq!(offsets(&page, 0, A32), [40, 52]);
}

#[test]
fn compressed_data_behind_code_stays_untouched() {
    let (mut harmed, mut missed) = (0, 0);
    for seed in 1..=2000_u64 {
        let mut next = noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut words = page(&[]);
        for (index, word) in words.iter_mut().enumerate() {
            *word = match index {
                0..100 => NOP,
                100 => BX_LR,
                _ => next(),
            };
        }
        words[50] = CPSID;
        words[60] = STM_USER;
        let offsets = offsets(&words, 0, A32);
        harmed += offsets.iter().filter(|offset| **offset > 400).count();
        missed += 2 - offsets.iter().filter(|offset| **offset < 400).count();
    }
    // Two million words of noise; forms of 23 fixed bits and more may occur by chance.
    assert!(harmed <= 2, "{harmed} words of noise replaced");
    assert_eq!(missed, 0);
}

#[test]
fn replaced_pages_are_restored_exactly() {
    for seed in 1..=200_u64 {
        let mut next = noise(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let mut original = page(&[]);
        for (index, word) in original.iter_mut().enumerate() {
            *word = match (next() & 15, index) {
                (_, 699) => BX_LR,
                (_, 700..) => next(), // data, some of which looks like trap words
                (0, _) => CPSID,
                (1, _) => LDRT,
                (2, _) => STM_USER,
                (3, _) => 0xe59f_0000 | next() & 0x3ff,
                (4, ..600) => 0x0a00_0000 | next() & 0x3f,
                (5, _) => 0xe1b0_f00e,
                (6, _) => next() & 0x03ff_ffff | 0xe000_0000,
                _ => NOP,
            };
        }
        let entry = u16::try_from(next() & 0x3fc).unwrap_or(0);
        let mut replaced = original;
        for site in sites(&original, entry, A32) {
            write(&mut replaced, site.offset, site.width, site.replacement);
        }
        assert_ne!(replaced, original);
        assert_eq!(sites(&replaced, entry, A32), [], "nothing is replaced twice");
        let mut restored = replaced;
        restore(&replaced, entry, A32, |site| {
            write(&mut restored, site.offset, site.width, site.original);
        });
        let differences: Vec<_> = (0..PAGE_WORDS)
            .filter(|index| restored[*index] != original[*index])
            .map(|index| (index, original[index], restored[index]))
            .collect();
        assert!(differences.is_empty(), "seed {seed}: {differences:08x?}");
    }
}

#[test]
fn t32_instructions_are_replaced_at_their_boundaries() {
    let page = halves(&[
        0xb672, // cpsid i
        0xf3ef, 0x8000, // mrs r0, cpsr
        0xf8d0, 0xb672, // ldr.w r11, [r0, #1650]: its second half looks like cpsid
        0xf3af, 0x8003, // wfi.w
        0xe810, 0xc000, // rfedb r0
        0xb672, // unreached, but swept
        0x4770, // bx lr
    ]);
    let sites = sites(&page, 0, T32);
    let places: Vec<_> = sites.iter().map(|site| (site.offset, site.width)).collect();
    assert_eq!(
        places,
        [
            (0, Width::Narrow),
            (2, Width::Wide),
            (10, Width::Wide),
            (14, Width::Wide),
            (18, Width::Narrow)
        ]
    );
    for site in sites.iter().filter(|site| site.width == Width::Wide) {
        assert_eq!(trapword::decode_wide(site.replacement), Some(site.original));
    }
}

#[test]
fn t32_literals_and_branch_tables_are_data() {
    let page = halves(&[
        0x4804, // ldr r0, [pc, #16]: halves 10 and 11
        0x2801, // cmp r0, #1
        0xe8df, 0xf010, // tbh [pc, r0, lsl #1]
        0x0002, 0x0003, // to halves 6 and 7
        0xb672, // cpsid i
        0xb673, // cpsid if
        0x4770, // bx lr
        0xbf00, // nop
        0xb672, 0xb672, // the literal
    ]);
    assert_eq!(offsets(&page, 0, T32), [12, 14]);
}

#[test]
fn reached_t32_code_is_no_literal_of_what_only_looks_like_code() {
    let mut code = [0; 0x86];
    // ldr r2, [pc, #0xfc], which is 0x100; bx lr
    code[..2].copy_from_slice(&[0x4a3f, 0x4770]);
    // Entered here: nop; mrs r4, cpsr; bx lr. Behind that: b 0
    code[0x80..].copy_from_slice(&[0xbf00, 0xf3ef, 0x8400, 0x4770, 0xe77a, 0xbf00]);
    assert_eq!(offsets(&halves(&code), 0x100, T32), [0x102]);
    // Code that is reached itself has literals.
    code[0x83] = 0xe77b;
    assert_eq!(offsets(&halves(&code), 0x100, T32), []);
}

#[test]
fn a_return_in_an_it_block_is_conditional() {
    let page = halves(&[
        0x2800, // cmp r0, #0
        0xbf08, // it eq
        0x4770, // bxeq lr
        0xe810, 0xc000, // rfedb r0, weak were it not for its zeros: reached
        0xe810, 0x0001, // with other bits: weak, unreached
    ]);
    let sites = sites(&page, 0, T32);
    assert_eq!(
        sites.iter().map(|site| (site.offset, site.reason)).collect::<Vec<_>>(),
        [(6, Reason::Reached)]
    );
}

#[test]
fn an_instruction_across_the_end_of_a_page_is_reported() {
    let mut page = [0xbf00_bf00; PAGE_WORDS]; // nops
    page[PAGE_WORDS - 1] = 0xf3ef_bf00; // the first half of mrs
    let mut found = Vec::new();
    scan(&page, 0, T32, |item| found.push(item));
    assert_eq!(found, [Found::Straddles { offset: 4094 }]);
}

#[test]
fn replaced_t32_pages_are_restored() {
    let original = halves(&[
        0xb672, 0xf3ef, 0x8000, 0xf3af, 0x8003, 0xf850, 0x1e04, 0xbf30, 0xf3de, 0x8f04, 0xdec0,
    ]);
    let mut replaced = original;
    for site in sites(&original, 0, T32) {
        write(&mut replaced, site.offset, site.width, site.replacement);
    }
    assert_eq!(sites(&replaced, 0, T32), []);
    let mut restored = replaced;
    restore(&replaced, 0, T32, |site| write(&mut restored, site.offset, site.width, site.original));
    assert_eq!(restored, original, "and a trap word of the guest's own stays");
}

#[test]
fn both_instruction_sets_may_be_scanned_in_one_page() {
    let mut page = page(&[(0, CPSID), (1, 0xe10f_0000), (2, STM_USER), (3, BX_LR)]);
    page[512] = 0x4770_b672; // cpsid i; bx lr
    for (entry, set) in [(0, A32), (2048, T32)] {
        for site in sites(&page, entry, set) {
            write(&mut page, site.offset, site.width, site.replacement);
        }
    }
    assert_eq!(trapword::decode_a32(page[0]), Some(CPSID));
    assert_eq!(trapword::decode_a32(page[1]), Some(0xe10f_0000));
    assert_eq!(trapword::decode_a32(page[2]), Some(STM_USER));
    assert_eq!(page[512], 0x4770_deca);
    assert_eq!(sites(&page, 0, A32), []);
    assert_eq!(sites(&page, 2048, T32), []);
}

#[test]
fn a_report_tells_what_becomes_of_each_instruction() {
    let words = [
        CPSID,
        0xe59f_0008, // ldr r0, [pc, #8]: word 5
        0xee11_0f10, // mrc p15, 0, r0, c1, c0, 0
        0xef00_0000, // svc 0
        0xe128_f000, // msr cpsr_f, r0
        CPSID,
    ];
    let bytes: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    let findings: Vec<_> = report(&bytes, 0x8ff8, A32)
        .map(|finding| (finding.address, finding.class, finding.decision))
        .collect();
    assert_eq!(
        findings,
        [
            (0x8ff8, Class::ChangeState, Decision::Replace),
            (0x9000, Class::Coprocessor, Decision::Leave),
            (0x9004, Class::Call, Decision::Leave),
            (0x9008, Class::WriteStatus, Decision::Leave),
            (0x900c, Class::ChangeState, Decision::Replace),
        ],
        "literals and flow do not cross pages"
    );
    let whole: Vec<_> =
        report(&bytes, 0x8000, A32).map(|finding| (finding.decision, finding.why)).collect();
    assert_eq!(whole[1], (Decision::Trap, Why::Code(Reason::Reached)));
    assert_eq!(whole[3], (Decision::Leave, Why::Harmless));
    assert_eq!(whole[4], (Decision::Leave, Why::Literal));
}

/// Both sets in one page, entered in A32 at its start: T32 code behind A32 code.
#[test]
fn t32_code_in_a_page_entered_in_a32_is_found_and_a32_code_is_left_alone() {
    let mut page = [0; PAGE_WORDS];
    // mov r0, #1; ldr r1, [pc, #4]; bx lr; a literal that looks like `cpsid i` twice.
    page[..3].copy_from_slice(&[0xe3a0_0001, 0xe59f_1000, 0xe12f_ff1e]);
    page[3] = 0xb672_b672;
    // cpsid i; movs r0, #1; mrs r1, cpsr; bx lr.
    page[32..35].copy_from_slice(&[0x2001_b672, 0x8100_f3ef, 0x0000_4770]);
    let mut sites = Vec::new();
    scan_other(&page, 0, A32, |found| {
        if let Found::Replace(site) = found {
            sites.push((site.offset, site.original));
        }
    });
    assert_eq!(sites, [(128, 0xb672), (132, 0xf3ef_8100)]);
}

#[test]
fn t32_code_that_looks_like_a32_is_left_alone_in_a_page_entered_in_t32() {
    let mut page = [0; PAGE_WORDS];
    // ldrd r6, r5, [r3, #..] and strd between them read as A32 `ldmib` with `^`.
    for (index, word) in page.iter_mut().take(16).enumerate() {
        *word = if index % 2 == 0 { 0xe9c3_0504 } else { 0xe9d3_650a };
    }
    page[16] = 0x4770_bf00;
    let mut sites = 0;
    scan_other(&page, 2, T32, |found| {
        sites += u32::from(matches!(found, Found::Replace(_)));
    });
    assert_eq!(sites, 0);
}
