//! A machine made of a map: bytes, who accessed them how, and two timers.

use std::collections::BTreeMap;

use entresol_abi::timer::{Field, Register};
use entresol_isa::op::Width;
use entresol_vcpu::cp15::timer::Timer;
use entresol_vcpu::{Abort, Memory, Vcpu, psr};

#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) bytes: BTreeMap<u32, u8>,
    pub(crate) fail: Option<(u32, Abort)>,
    pub(crate) accesses: Vec<(u32, bool)>,
    pub(crate) count: u64,
    pub(crate) registers: [u64; 6],
}

impl Machine {
    pub(crate) fn with_words(address: u32, words: &[u32]) -> Self {
        let mut machine = Self::default();
        for (address, word) in (address..).step_by(4).zip(words) {
            machine.put(address, *word);
        }
        machine
    }

    pub(crate) fn put(&mut self, address: u32, word: u32) {
        for (address, byte) in (address..).zip(word.to_le_bytes()) {
            self.bytes.insert(address, byte);
        }
    }

    pub(crate) fn word(&self, address: u32) -> u32 {
        u32::from_le_bytes(
            [0, 1, 2, 3].map(|n| self.bytes.get(&(address + n)).copied().unwrap_or(0)),
        )
    }

    fn reach(&mut self, address: u32, privileged: bool) -> Result<(), Abort> {
        self.accesses.push((address, privileged));
        match self.fail {
            Some((failing, abort)) if failing == address => Err(abort),
            _ => Ok(()),
        }
    }
}

const fn size(width: Width) -> usize {
    match width {
        Width::Byte => 1,
        Width::Half => 2,
        // A double word is asked for as two words.
        Width::Word | Width::Double => 4,
    }
}

impl Memory for Machine {
    fn load(&mut self, address: u32, width: Width, privileged: bool) -> Result<u32, Abort> {
        self.reach(address, privileged)?;
        let mut bytes = [0; 4];
        for (byte, address) in bytes.iter_mut().zip(address..).take(size(width)) {
            *byte = self.bytes.get(&address).copied().unwrap_or(0);
        }
        Ok(u32::from_le_bytes(bytes))
    }

    fn store(
        &mut self,
        address: u32,
        width: Width,
        value: u32,
        privileged: bool,
    ) -> Result<(), Abort> {
        self.reach(address, privileged)?;
        for (byte, address) in value.to_le_bytes().into_iter().zip(address..).take(size(width)) {
            self.bytes.insert(address, byte);
        }
        Ok(())
    }
}

const fn slot(register: Register) -> usize {
    match register {
        Register::Physical(Field::Control) => 0,
        Register::Physical(Field::Value) => 1,
        Register::Physical(Field::Compare) => 2,
        Register::Virtual(Field::Control) => 3,
        Register::Virtual(Field::Value) => 4,
        Register::Virtual(Field::Compare) => 5,
    }
}

impl Timer for Machine {
    fn frequency(&self) -> u32 {
        62_500_000
    }
    fn count(&self) -> u64 {
        self.count
    }
    fn read(&self, register: Register) -> u64 {
        self.registers[slot(register)]
    }
    fn write(&mut self, register: Register, value: u64) {
        self.registers[slot(register)] = value;
    }
}

/// A processor in the mode of `status`, with `T`, at 0x8000.
pub(crate) fn vcpu(cpsr: u32) -> Vcpu {
    let mut vcpu = Vcpu::new();
    vcpu.return_to(0x8000, cpsr);
    vcpu
}

/// What the real processor must never see otherwise.
pub(crate) fn assert_invariants(vcpu: &Vcpu) {
    assert_eq!(vcpu.psr & (psr::VIRTUAL | psr::J | 0x00f0_0000), 0x10, "psr {:#x}", vcpu.psr);
    assert_eq!(vcpu.status & !psr::VIRTUAL, 0, "status {:#x}", vcpu.status);
    assert!(entresol_vcpu::Mode::decode(vcpu.status).is_some());
    assert!(vcpu.psr & psr::T != 0 || vcpu.psr & psr::IT == 0, "IT state in A32");
}
