//! Instructions with every field at random: nothing panics, nothing is left half done.

use entresol_abi::timer::Register;
use entresol_isa::op::*;
use entresol_vcpu::*;
use proptest::prelude::*;

use crate::machine::assert_invariants;

/// Memory that answers a number of accesses, then fails.
struct Short {
    left: u32,
    value: u32,
    abort: Abort,
}

impl Short {
    fn answer(&mut self) -> Result<u32, Abort> {
        self.left = self.left.checked_sub(1).ok_or(self.abort)?;
        self.value = self.value.rotate_left(5) ^ 0x9e37_79b9;
        Ok(self.value)
    }
}

impl Memory for Short {
    fn load(&mut self, _: u32, width: Width, _: bool) -> Result<u32, Abort> {
        let value = self.answer()?;
        Ok(match width {
            Width::Byte => value & 0xff,
            Width::Half => value & 0xffff,
            Width::Word | Width::Double => value,
        })
    }

    fn store(&mut self, _: u32, _: Width, _: u32, _: bool) -> Result<(), Abort> {
        self.answer().map(|_| ())
    }
}

impl Timer for Short {
    fn frequency(&self) -> u32 {
        self.value
    }
    fn count(&self) -> u64 {
        u64::from(self.value) << 20
    }
    fn read(&self, _: Register) -> u64 {
        u64::MAX - u64::from(self.value)
    }
    fn write(&mut self, _: Register, _: u64) {}
}

fn register() -> impl Strategy<Value = u8> {
    0_u8..16
}

fn multiple() -> impl Strategy<Value = Multiple> {
    any::<u32>().prop_map(Multiple::from_bits)
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        any::<u32>().prop_map(Operand::Immediate),
        (register(), 0_u8..4, 0_u8..32).prop_map(|(rm, kind, amount)| Operand::Shifted {
            rm,
            kind,
            amount
        }),
        (register(), 0_u8..4, register()).prop_map(|(rm, kind, rs)| Operand::ShiftedByRegister {
            rm,
            kind,
            rs
        }),
    ]
}

fn transfer() -> impl Strategy<Value = Transfer> {
    let offset = prop_oneof![
        any::<u32>().prop_map(Offset::Immediate),
        (register(), 0_u8..4, 0_u8..32).prop_map(|(rm, kind, amount)| Offset::Register {
            rm,
            kind,
            amount
        }),
    ];
    let width =
        prop_oneof![Just(Width::Byte), Just(Width::Half), Just(Width::Word), Just(Width::Double)];
    (offset, width, any::<[bool; 5]>(), register(), register(), register()).prop_map(
        |(offset, width, [load, signed, add, index, writeback], rt, rt2, rn)| Transfer {
            load,
            width,
            signed,
            rt,
            rt2,
            rn,
            offset,
            add,
            index,
            writeback,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (any::<u32>(), any::<u32>(), any::<Option<u8>>())
            .prop_map(|(set, clear, mode)| Op::ChangeState { set, clear, mode }),
        any::<bool>().prop_map(|big| Op::SetEndianness { big }),
        (register(), any::<bool>()).prop_map(|(rd, spsr)| Op::ReadStatus { rd, spsr }),
        (any::<u32>(), 0_u8..16, any::<bool>()).prop_map(|(value, fields, spsr)| {
            Op::WriteStatus { source: Source::Immediate(value), fields, spsr }
        }),
        (register(), 0_u8..16, any::<bool>()).prop_map(|(register, fields, spsr)| {
            Op::WriteStatus { source: Source::Register(register), fields, spsr }
        }),
        multiple().prop_map(Op::LoadUser),
        multiple().prop_map(Op::StoreUser),
        multiple().prop_map(Op::LoadReturn),
        multiple().prop_map(Op::ReturnFrom),
        (any::<u8>(), multiple()).prop_map(|(mode, multiple)| Op::StoreReturn { mode, multiple }),
        (0_u8..16, register(), operand()).prop_map(|(opcode, rn, operand)| Op::AluReturn {
            opcode,
            rn,
            operand
        }),
        transfer().prop_map(Op::Unprivileged),
        any::<u32>()
            .prop_map(|bits| { Op::CoprocessorPair(CoprocessorPair::from_bits(bits).with_cp(15)) }),
        (register(), 0_u8..16).prop_map(|(rt, reg)| Op::ReadFloatStatus { rt, reg }),
        (register(), 0_u8..16).prop_map(|(rt, reg)| Op::WriteFloatStatus { rt, reg }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_instruction_in_any_state_ends_or_leaves_no_trace(
        op in op(), registers: [u32; 15], aligned: bool, pc: u32, cpsr: u32, left in 0_u32..20,
        retry: bool, narrow: bool, sctlr: u32, cpacr: u32
    ) {
        let mut vcpu = Vcpu::new();
        vcpu.return_to(pc, cpsr);
        vcpu.regs = if aligned { registers.map(|value| value & !3) } else { registers };
        vcpu.cp15.sctlr = sctlr;
        vcpu.cp15.cpacr = cpacr;
        let abort = if retry { Abort::Retry } else { Abort::Fault { fsr: 7, far: 1 } };
        let mut memory = Short { left, value: pc ^ cpsr, abort };
        let before = vcpu.clone();
        let length = if narrow && before.thumb() { 2 } else { 4 };
        let outcome = vcpu.execute(op, length, &mut memory);
        assert_invariants(&vcpu);
        match outcome {
            Outcome::Retry | Outcome::Inject(_) | Outcome::UnknownRegister
            | Outcome::Effect(Effect::FloatUnit) => prop_assert_eq!(&vcpu, &before),
            Outcome::Jumped => {}
            _ => prop_assert_eq!(vcpu.pc, before.pc.wrapping_add(length)),
        }
        if !before.privileged() {
            let kept = if outcome == Outcome::Jumped { 0 } else { psr::VIRTUAL };
            prop_assert_eq!(before.cpsr() & kept, vcpu.cpsr() & kept);
            prop_assert!(!vcpu.privileged(), "an application stays one");
        }
    }

    #[test]
    fn any_exception_in_any_state_keeps_the_invariants(
        cpsr: u32, pc: u32, sctlr: u32, vbar: u32, which in 0_usize..6
    ) {
        let mut vcpu = Vcpu::new();
        vcpu.return_to(pc, cpsr);
        vcpu.cp15.sctlr = sctlr;
        vcpu.cp15.vbar = vbar & !0x1f;
        let all = [
            Exception::Undefined,
            Exception::SupervisorCall,
            Exception::PrefetchAbort { ifsr: 0, ifar: 0 },
            Exception::DataAbort { dfsr: 0, dfar: 0 },
            Exception::Irq,
            Exception::Fiq,
        ];
        let before = vcpu.cpsr();
        vcpu.enter(all[which]);
        assert_invariants(&vcpu);
        prop_assert!(vcpu.privileged() && vcpu.status & psr::I != 0);
        prop_assert_eq!(vcpu.spsr() & !psr::IT, before & !psr::IT);
    }
}
