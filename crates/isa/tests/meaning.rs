//! What some instructions do, operand by operand, as the manual has it.
//!
//! ARM DDI 0406C: A8.8 for loads and stores, B9.3 for system instructions.

use entresol_isa::op::{
    Access, Coprocessor, Multiple, Offset, Op, Operand, Source, Transfer, Width,
};
use entresol_isa::{a32, t32};

#[test]
fn cps_sets_clears_and_changes_mode() {
    // cpsid i; cpsie af, #31; cps #19
    let state = |set, clear, mode| Op::ChangeState { set, clear, mode };
    assert_eq!(a32::decode(0xf10c_0080), Some(state(0x80, 0, None)));
    assert_eq!(a32::decode(0xf10a_015f), Some(state(0, 0x140, Some(31))));
    assert_eq!(a32::decode(0xf102_0013), Some(state(0, 0, Some(19))));
    assert_eq!(t32::decode_narrow(0xb672), Some(state(0x80, 0, None)));
    assert_eq!(t32::decode_narrow(0xb661), Some(state(0, 0x40, None)));
    assert_eq!(t32::decode_wide(0xf3af_8740), Some(state(0x80, 0, Some(0))));
}

#[test]
fn status_registers_are_read_and_written() {
    let (register, number) = (Source::Register(3), Source::Immediate(0xd3));
    let write = |source, fields, spsr| Op::WriteStatus { source, fields, spsr };
    assert_eq!(a32::decode(0xe14f_3000), Some(Op::ReadStatus { rd: 3, spsr: true }));
    assert_eq!(a32::decode(0xe129_f003), Some(write(register, 9, false)));
    assert_eq!(a32::decode(0xe321_f0d3), Some(write(number, 1, false)));
    assert_eq!(t32::decode_wide(0xf393_8900), Some(write(register, 9, true)));
    assert_eq!(
        a32::decode(0x110f_3000),
        Some(Op::ReadStatus { rd: 3, spsr: false }),
        "mrsne r3, cpsr"
    );
}

#[test]
fn exception_returns_name_their_operands() {
    let operand = Operand::Shifted { rm: 14, kind: 0, amount: 0 };
    assert_eq!(
        a32::decode(0xe1b0_f00e),
        Some(Op::AluReturn { opcode: 13, rn: 0, operand }),
        "movs pc, lr"
    );
    let operand = Operand::Immediate(4);
    let subtract = Op::AluReturn { opcode: 2, rn: 14, operand };
    assert_eq!(a32::decode(0xe25e_f004), Some(subtract), "subs pc, lr, #4");
    assert_eq!(t32::decode_wide(0xf3de_8f04), Some(subtract));
    let multiple = Multiple::new().with_rn(13).with_list(0x8001).with_up(true).with_writeback(true);
    assert_eq!(a32::decode(0xe8fd_8001), Some(Op::LoadReturn(multiple)));
    assert_eq!(a32::decode(0xe8fd_0001), Some(Op::LoadUser(multiple.with_list(1))));
    let state = multiple.with_list(0);
    assert_eq!(a32::decode(0xf8bd_0a00), Some(Op::ReturnFrom(state)));
    assert_eq!(t32::decode_wide(0xe9bd_c000), Some(Op::ReturnFrom(state)));
    let down = state.with_before(true).with_up(false);
    assert_eq!(a32::decode(0xf96d_0513), Some(Op::StoreReturn { mode: 19, multiple: down }));
    assert_eq!(t32::decode_wide(0xe82d_c013), Some(Op::StoreReturn { mode: 19, multiple: down }));
}

#[test]
fn calls_and_coprocessors_are_the_same_in_both_sets() {
    assert_eq!(a32::decode(0xe140_0071), Some(Op::HypervisorCall(1)));
    assert_eq!(t32::decode_wide(0xf7e1_8002), Some(Op::HypervisorCall(0x1002)));
    assert_eq!(a32::decode(0xef12_3456), Some(Op::SupervisorCall(0x12_3456)));
    let sctlr = Coprocessor::new().with_cp(15).with_read(true).with_crn(1).with_rt(2);
    assert_eq!(a32::decode(0xee11_2f10), Some(Op::Coprocessor(sctlr)));
    assert_eq!(t32::decode_wide(0xee11_2f10), Some(Op::Coprocessor(sctlr)));
    assert_eq!(a32::decode(0xeef1_fa10), Some(Op::ReadFloatStatus { rt: 15, reg: 1 }));
}

fn word(load: bool, rt: u8, rn: u8, offset: u32) -> Transfer {
    let offset = Offset::Immediate(offset);
    let width = Width::Word;
    Transfer {
        load,
        width,
        signed: false,
        rt,
        rt2: rt,
        rn,
        offset,
        add: true,
        index: true,
        writeback: false,
    }
}

#[test]
fn loads_and_stores_name_what_they_access() {
    let a32 = a32::access;
    let some = |transfer| Some(Access::Transfer(transfer));
    let load = word(true, 1, 2, 4);
    assert_eq!(a32(0xe592_1004), some(load), "ldr r1, [r2, #4]");
    assert_eq!(t32::access_narrow(0x6851), some(load));
    assert_eq!(t32::access_wide(0xf8d2_1004), some(load), "ldr.w r1, [r2, #4]");
    let post = Transfer { index: false, writeback: true, add: false, ..load };
    assert_eq!(a32(0xe412_1004), some(post), "ldr r1, [r2], #-4");
    assert_eq!(t32::access_wide(0xf852_1904), some(post));
    let half = Transfer { width: Width::Half, signed: true, ..load };
    assert_eq!(a32(0xe1d2_10f4), some(half), "ldrsh r1, [r2, #4]");
    assert_eq!(t32::access_wide(0xf9b2_1004), some(half));
    let offset = Offset::Register { rm: 3, kind: 0, amount: 2 };
    let byte = Transfer { load: false, width: Width::Byte, offset, ..load };
    assert_eq!(a32(0xe7c2_1103), some(byte), "strb r1, [r2, r3, lsl #2]");
    assert_eq!(t32::access_wide(0xf802_1023), some(byte));
    let double = Transfer { width: Width::Double, rt: 4, rt2: 5, ..load };
    assert_eq!(a32(0xe1c2_40d4), some(double), "ldrd r4, r5, [r2, #4]");
    assert_eq!(t32::access_wide(0xe9d2_4501), some(double));
    assert_eq!(t32::access_narrow(0x4901), some(word(true, 1, 15, 4)), "ldr r1, [pc, #4]");
    let multiple =
        Multiple::new().with_rn(13).with_list(0x4010).with_before(true).with_writeback(true);
    let push = Some(Access::Multiple { load: false, multiple });
    assert_eq!(a32(0xe92d_4010), push, "push {{r4, lr}}");
    assert_eq!(t32::access_narrow(0xb510), push);
    assert_eq!(t32::access_wide(0xe92d_4010), push);
}

#[test]
fn exclusives_are_reported_and_other_words_have_no_access() {
    for word in [0xe192_1f9f, 0xe182_0f91, 0xe102_0091, 0xe1d2_1f9f] {
        assert_eq!(a32::access(word), Some(Access::Exclusive));
    }
    assert_eq!(t32::access_wide(0xe852_1f00), Some(Access::Exclusive), "ldrex r1, [r2]");
    assert_eq!(t32::access_wide(0xe8d2_1f4f), Some(Access::Exclusive), "ldrexb r1, [r2]");
    // mul; vldr; pld; movw; nop; b
    for word in [0xe002_0391, 0xed92_0a01, 0xf5d2_f000, 0xe300_1001, 0xe320_f000, 0xea00_0000] {
        assert_eq!(a32::access(word), None);
    }
    // tbb; pld; vldr; b.w
    for word in [0xe8d2_f003, 0xf892_f004, 0xed92_0a01, 0xf000_b800] {
        assert_eq!(t32::access_wide(word), None);
    }
}
