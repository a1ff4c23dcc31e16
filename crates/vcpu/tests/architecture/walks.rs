//! The table walk, permissions and fault status (B3.5, B3.7, B3.13).

use entresol_vcpu::walk::walk;
use entresol_vcpu::*;
use proptest::prelude::*;

use crate::machine::{Machine, vcpu};

const TTBR0: u32 = 0x4000_4000;
const TTBR1: u32 = 0x4000_8000;
const L2: u32 = 0x4001_0400;

fn cp15() -> Cp15 {
    Cp15 { sctlr: 0x00c5_0079, ttbr0: TTBR0, ttbr1: TTBR1, dacr: 0x5555_5555, ..Cp15::new() }
}

fn look(cp15: &Cp15, memory: &Machine, va: u32) -> Result<Mapping, WalkFault> {
    walk(cp15, va, |GuestPhys(address)| {
        assert_eq!(address % 4, 0);
        memory.bytes.contains_key(&address).then(|| memory.word(address))
    })
}

/// Maps 1 MiB at 0xc010_0000 by `first`.
fn first(descriptor: u32) -> Machine {
    Machine::with_words(TTBR0 + 0xc01 * 4, &[descriptor])
}

/// Maps 4 KiB at 0xc012_3000 by `second`, in domain 5.
fn second(descriptor: u32) -> Machine {
    let mut machine = first(L2 | 5 << 5 | 1);
    machine.put(L2 + 0x23 * 4, descriptor);
    machine
}

const VA: u32 = 0xc012_3456;

#[test]
fn without_a_page_table_every_address_is_itself() {
    let mapping = look(&Cp15::new(), &Machine::default(), VA).unwrap();
    assert_eq!((mapping.gpa, mapping.size), (GuestPhys(VA), Size::Flat));
    for privileged in [false, true] {
        assert_eq!(permissions(&mapping, privileged, 0, false), Permissions::ALL);
        assert_eq!(check(&mapping, &Cp15::new(), privileged, Purpose::Execute), Ok(()));
    }
}

#[test]
fn a_section_maps_a_mebibyte() {
    // TEX 101, C 1, B 0, AP 1 01, XN, S, nG, domain 9.
    let descriptor =
        0x8030_0000 | 2 | 1 << 4 | 9 << 5 | 1 << 10 | 5 << 12 | 1 << 15 | 3 << 16 | 2 << 2;
    let mapping = look(&cp15(), &first(descriptor), VA).unwrap();
    assert_eq!(mapping.gpa, GuestPhys(0x8032_3456));
    assert_eq!(mapping.base(), GuestPhys(0x8030_0000));
    assert_eq!((mapping.size, mapping.first, mapping.domain), (Size::Section, descriptor, 9));
    let attributes = mapping.attributes;
    assert_eq!((attributes.ap(), attributes.memory()), (5, 0b10110));
    assert!(attributes.execute_never() && attributes.shareable() && attributes.not_global());
}

#[test]
fn a_supersection_maps_sixteen_mebibytes_in_domain_0() {
    let mapping = look(&cp15(), &first(0x8100_0000 | 1 << 18 | 2 | 3 << 10), VA).unwrap();
    assert_eq!(mapping.gpa, GuestPhys(0x8112_3456));
    assert_eq!((mapping.size, mapping.domain), (Size::Supersection, 0));
    // Beyond 4 GiB: bits 23:20 and 8:5 are address bits 35:32 and 39:36.
    for beyond in [1 << 20, 1 << 5] {
        let fault = look(&cp15(), &first(0x8100_0000 | beyond | 1 << 18 | 2), VA).unwrap_err();
        assert_eq!(fault.cause, Cause::External);
    }
}

#[test]
fn a_small_page_maps_four_kibibytes() {
    // nG, S, AP 0 11, TEX 001, C, B, XN.
    let descriptor = 0x8765_4000 | 1 << 11 | 1 << 10 | 1 << 6 | 3 << 4 | 3 << 2 | 3;
    let mapping = look(&cp15(), &second(descriptor), VA).unwrap();
    assert_eq!((mapping.gpa, mapping.size), (GuestPhys(0x8765_4456), Size::Small));
    assert_eq!((mapping.domain, mapping.first), (5, L2 | 5 << 5 | 1));
    assert_eq!(mapping.attributes.bits(), descriptor & 0xffd);
    assert_eq!((mapping.attributes.ap(), mapping.attributes.memory()), (3, 0b00111));
    assert!(mapping.attributes.execute_never());
}

#[test]
fn a_large_page_maps_sixty_four_kibibytes() {
    // XN 15, TEX 14:12 = 110, nG, S, AP2, AP 01, C.
    let descriptor = 0x8765_0000 | 1 << 15 | 6 << 12 | 1 << 11 | 1 << 9 | 1 << 4 | 2 << 2 | 1;
    let mapping = look(&cp15(), &second(descriptor), VA).unwrap();
    assert_eq!((mapping.gpa, mapping.size), (GuestPhys(0x8765_3456), Size::Large));
    assert_eq!((mapping.attributes.ap(), mapping.attributes.memory()), (5, 0b11010));
    let attributes = mapping.attributes;
    assert!(attributes.execute_never() && attributes.not_global() && !attributes.shareable());
}

#[test]
fn every_walk_that_fails_says_where() {
    // Memory, SCTLR.AFE, cause, domain, FS (table B3-23).
    let rows = [
        (Machine::default(), false, Cause::ExternalFirst, 0, 0xc),
        (first(0), false, Cause::TranslationSection, 0, 5),
        (first(3), false, Cause::TranslationSection, 0, 5),
        (first(L2 | 5 << 5 | 1), false, Cause::ExternalSecond, 5, 0xe),
        (second(0), false, Cause::TranslationPage, 5, 7),
        (first(2 | 6 << 5 | 2 << 10), true, Cause::AccessFlagSection, 6, 3),
        (second(2 | 2 << 4), true, Cause::AccessFlagPage, 5, 6),
        (second(1 | 2 << 4), true, Cause::AccessFlagPage, 5, 6),
    ];
    for (memory, afe, cause, domain, status) in rows {
        let mut cp15 = cp15();
        cp15.sctlr |= u32::from(afe) << 29;
        let fault = look(&cp15, &memory, VA).unwrap_err();
        assert_eq!(fault, WalkFault { cause, domain });
        assert_eq!(fault.dfsr(true), status | domain << 4 | 1 << 11);
        assert_eq!(fault.dfsr(false), status | domain << 4);
        assert_eq!(fault.ifsr(), status);
    }
}

#[test]
fn an_access_flag_that_is_set_or_not_used_does_not_fault() {
    let mut cp15 = cp15();
    assert!(look(&cp15, &second(2 | 2 << 4), VA).is_ok());
    cp15.sctlr |= 1 << 29;
    assert!(look(&cp15, &second(2 | 3 << 4), VA).is_ok());
    assert!(look(&cp15, &first(2 | 3 << 10), VA).is_ok());
}

#[test]
fn the_second_base_serves_what_the_first_does_not() {
    // B3.5.4: with N, addresses whose top N bits are 0 are TTBR0's.
    for n in 1..8 {
        let mut cp15 = cp15();
        cp15.ttbcr = n;
        // TTBR0 may be aligned to less.
        cp15.ttbr0 = TTBR0 + (0x4000 >> n) + 0x1b;
        let last = (1_u64 << (32 - n)) - 1;
        let last = u32::try_from(last).unwrap();
        let mut memory = Machine::default();
        memory.put(TTBR0 + (0x4000 >> n) + (last >> 20) * 4, 0x1110_0002);
        memory.put(TTBR1 + ((last + 1) >> 20) * 4, 0x2220_0002);
        assert_eq!(look(&cp15, &memory, last).unwrap().base(), GuestPhys(0x1110_0000));
        assert_eq!(look(&cp15, &memory, last + 1).unwrap().base(), GuestPhys(0x2220_0000));
        for (bit, va) in [(4, last), (5, last + 1)] {
            let off = Cp15 { ttbcr: n | 1 << bit, ..cp15 };
            assert_eq!(look(&off, &memory, va).unwrap_err().cause, Cause::TranslationSection);
            assert!(look(&off, &memory, if bit == 4 { last + 1 } else { last }).is_ok());
        }
    }
}

#[test]
fn a_big_endian_guest_has_big_endian_tables() {
    let mut cp15 = cp15();
    cp15.sctlr |= 1 << 25;
    let mapping = look(&cp15, &first(0x8030_0002_u32.swap_bytes()), VA).unwrap();
    assert_eq!(mapping.base(), GuestPhys(0x8030_0000));
}

#[test]
fn pxn_is_for_guests_that_were_told_of_it() {
    let mut cp15 = cp15();
    cp15.identity.mmfr[0] = 4;
    let section = look(&cp15, &first(0x8030_0003 | 3 << 10), VA).unwrap();
    let access = |mapping: &Mapping, privileged| permissions(mapping, privileged, 1, false).execute;
    assert!(!access(&section, true) && access(&section, false));
    let mut memory = second(0x8000_0002 | 3 << 4);
    memory.put(TTBR0 + 0xc01 * 4, L2 | 4 | 1);
    let page = look(&cp15, &memory, VA).unwrap();
    assert!(!access(&page, true) && access(&page, false));
    cp15.identity.mmfr[0] = 3;
    let page = look(&cp15, &memory, VA).unwrap();
    assert!(access(&page, true) && access(&page, false));
}

#[test]
fn permissions_are_those_of_the_table() {
    // AP[2:0]: kernel r, w; application r, w (table B3-8).
    let table = [
        (0, [false, false, false, false]),
        (1, [true, true, false, false]),
        (2, [true, true, true, false]),
        (3, [true, true, true, true]),
        (4, [false, false, false, false]),
        (5, [true, false, false, false]),
        (6, [true, false, true, false]),
        (7, [true, false, true, false]),
    ];
    for (ap, expected) in table {
        for never in [0, 1] {
            let descriptor = 0x8000_0002 | (ap & 3) << 4 | (ap & 4) << 7 | never;
            let mapping = look(&cp15(), &second(descriptor), VA).unwrap();
            assert_eq!(mapping.attributes.ap(), ap);
            for (privileged, [read, write]) in
                [(true, [expected[0], expected[1]]), (false, [expected[2], expected[3]])]
            {
                let access = permissions(&mapping, privileged, cp15().dacr, false);
                let execute = read && never == 0;
                assert_eq!(access, Permissions { read, write, execute }, "{ap:#b} {privileged}");
                for (purpose, allowed) in
                    [(Purpose::Read, read), (Purpose::Write, write), (Purpose::Execute, execute)]
                {
                    let fault = WalkFault { cause: Cause::PermissionPage, domain: 5 };
                    let expected = if allowed { Ok(()) } else { Err(fault) };
                    assert_eq!(check(&mapping, &cp15(), privileged, purpose), expected);
                }
            }
        }
    }
}

#[test]
fn with_an_access_flag_only_two_bits_are_permissions() {
    // AP[2:1] (table B3-7): kernel write, application read.
    for (ap, kernel_write, application_read) in
        [(1, true, false), (3, true, true), (5, false, false), (7, false, true)]
    {
        let descriptor = 0x8000_0002 | (ap & 3) << 4 | (ap & 4) << 7;
        let mapping = look(&cp15(), &second(descriptor), VA).unwrap();
        let kernel = permissions(&mapping, true, cp15().dacr, true);
        let application = permissions(&mapping, false, cp15().dacr, true);
        assert_eq!((kernel.read, kernel.write), (true, kernel_write));
        assert_eq!((application.read, application.write), (application_read, ap == 3));
    }
}

#[test]
fn domains_come_before_permissions() {
    // No access, client, reserved, manager (B3.7.3); domain 5.
    let memory = second(0x8000_0002 | 1);
    for (access, expected) in [(0, false), (1, false), (2, false), (3, true)] {
        let mut cp15 = cp15();
        cp15.dacr = access << 10;
        let mapping = look(&cp15, &memory, VA).unwrap();
        let allowed = permissions(&mapping, false, cp15.dacr, false);
        assert_eq!(allowed, if expected { Permissions::ALL } else { Permissions::NONE });
        let checked = check(&mapping, &cp15, false, Purpose::Execute);
        match access {
            3 => assert_eq!(checked, Ok(()), "XN is not checked for a manager"),
            1 => assert_eq!(checked.unwrap_err().cause, Cause::PermissionPage),
            _ => assert_eq!(checked.unwrap_err().dfsr(false), 0x5b),
        }
    }
    let cp15 = Cp15 { dacr: 0, ..cp15() };
    let section = look(&cp15, &first(0x8000_0002 | 3 << 10 | 2 << 5), VA).unwrap();
    assert_eq!(check(&section, &cp15, true, Purpose::Write).unwrap_err().dfsr(true), 0x829);
}

#[test]
fn address_translation_sets_par() {
    // B4.1.112.
    let mut vcpu = vcpu(0x13);
    vcpu.cp15 = cp15();
    let mut ask = |memory: &Machine, write| {
        let request = Translate { va: VA, write, privileged: true };
        let walked = walk(&vcpu.cp15, VA, |GuestPhys(address)| Some(memory.word(address)));
        translate(&mut vcpu, request, walked);
        vcpu.cp15.par
    };
    assert_eq!(ask(&second(0x8765_4002 | 1 << 4), true), 0x8765_4000);
    assert_eq!(ask(&first(0x8030_0002 | 1 << 10), true), 0x8032_3000);
    assert_eq!(ask(&first(0x8100_0002 | 1 << 18 | 1 << 10), true), 0x8100_0002);
    assert_eq!(ask(&first(0), false), 5 << 1 | 1);
    assert_eq!(ask(&second(2 | 1 << 9 | 1 << 4), true), 0xf << 1 | 1);
}

proptest! {
    #[test]
    fn a_mapping_covers_its_page_evenly(
        descriptor: u32, page: u32, va: u32, other: u32, afe: bool, ttbcr in 0_u32..8
    ) {
        let mut cp15 = cp15();
        cp15.ttbcr = ttbcr;
        cp15.sctlr |= u32::from(afe) << 29;
        let read = |GuestPhys(address): GuestPhys| {
            // First-level tables are below 0x4000_c000, all entries the same.
            Some(if (0x4000_0000..0x4000_c000).contains(&address) { descriptor } else { page })
        };
        if let Ok(mapping) = walk(&cp15, va, read) {
            let mask = mapping.size.mask();
            prop_assert_eq!(mapping.gpa.0 & mask, va & mask);
            prop_assert_eq!(mapping.attributes.bits() & !Attributes::MASK, 0);
            let neighbour = walk(&cp15, va & !mask | other & mask, read);
            prop_assert_eq!(neighbour.map(|found| found.base()), Ok(mapping.base()));
            for privileged in [false, true] {
                let access = permissions(&mapping, privileged, cp15.dacr, afe);
                let checked = |purpose| check(&mapping, &cp15, privileged, purpose).is_ok();
                prop_assert_eq!(access.read, checked(Purpose::Read));
                prop_assert_eq!(access.write, checked(Purpose::Write));
                prop_assert_eq!(access.execute, checked(Purpose::Execute));
            }
        }
    }
}
