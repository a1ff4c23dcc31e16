//! Accesses of a guest that are made for it: to its board, to the page of code it runs on.
//!
//! The instruction at pc is decoded and performed on a [`Memory`] that is one page wide.
//! What an access sets in motion outside of the board is moved on here, too.

use crate::cp15;
use crate::guarded;
use crate::hypervisor::Hypervisor;
use crate::shadow::Attempt;
use crate::trap::{did, external};
use crate::work::Work;
use entresol_abi::GuestPhys;
use entresol_abi::image::MAX_VMS;
use entresol_hv::board::Board;
use entresol_hv::bus;
use entresol_isa::op::{Access, InstructionSet, Width};
use entresol_isa::{a32, t32};
use entresol_vcpu::{Abort, Cause, Exception, Memory, Outcome, fsr};

/// `GICC_EOIR`, `GICC_DIR` and `GICD_ICACTIVER`, which end an interrupt (ARM IHI 0048B, 4.3
/// and 4.4).
const EOIR: u32 = 0x10;
const DIR: u32 = 0x1000;
const ICACTIVER: core::ops::Range<u32> = 0x380..0x400;

impl Hypervisor {
    /// A load or store reached the board at `at`, by the virtual address `address`.
    pub(crate) fn device(&mut self, at: GuestPhys, address: u32, attempt: Attempt) {
        if !Board::is_device(at) {
            self.tell_nothing(address, at, did(attempt));
            return self.inject(Exception::DataAbort { dfsr: external(attempt), dfar: address });
        }
        let mut length = 4;
        let access = self.access_at_pc(&mut length);
        let Some(access) = &access else {
            if self.is_taken_away() {
                return;
            }
            return self.inject(Exception::DataAbort { dfsr: external(attempt), dfar: address });
        };
        self.give_way_called();
        self.counters().mmio += 1;
        if self.guest().cpu != 0 && Board::is_shared(at) {
            return self.ask_first(access, length, at, address);
        }
        let outcome = self.access_board(access, length, at, address);
        match outcome {
            Outcome::Next | Outcome::Jumped => {
                self.remember_device(address, at, attempt == Attempt::Write);
            }
            Outcome::Retry => return,
            Outcome::Inject(exception) => {
                self.tell_nothing(address, at, did(attempt));
                self.inject(exception);
            }
            _ => self.inject(Exception::DataAbort { dfsr: external(attempt), dfar: address }),
        }
        self.after_board(at);
    }

    /// The load or store at pc. Its length becomes 2 if it is that short.
    fn access_at_pc(&mut self, length: &mut u32) -> Option<Access> {
        let vcpu = &self.guest_called().vcpu;
        let pc = vcpu.pc;
        if !vcpu.thumb() {
            return a32::access(guarded::word(pc)?);
        }
        let first = guarded::half(pc)?;
        if t32::is_wide(first as u16) {
            let word = first << 16 | guarded::half(pc.wrapping_add(2))?;
            t32::access_wide(word)
        } else {
            *length = 2;
            t32::access_narrow(first as u16)
        }
    }

    /// Makes a store to the page of code at `at`, which the storing instruction is on, for the
    /// guest. If it is more than one store or cannot be emulated (`vstm`, `strex`, one that
    /// reaches over the page's end) the page is opened, and the guest tries again.
    pub(crate) fn store_to_code(&mut self, at: GuestPhys, address: u32) {
        let mut bus = CodeBus { page: address & !0xfff, stored: None };
        let guest = self.guest_called();
        let set = if guest.vcpu.thumb() { InstructionSet::T32 } else { InstructionSet::A32 };
        let page = at.0 & !0xfff;
        let entry = (GuestPhys(page | guest.vcpu.pc & 0xfff), set);
        let mut length = 4;
        let access = self.access_at_pc(&mut length);
        self.give_way_called();
        let outcome =
            access.map(|access| self.guest_called().vcpu.access(&access, length, &mut bus));
        let work = match (outcome, bus.stored) {
            (Some(Outcome::Next | Outcome::Jumped), Some((offset, bytes, value))) => {
                Work::Store { at: GuestPhys(page | offset), bytes, value, entry }
            }
            _ => Work::Open(at),
        };
        self.work(work);
    }

    fn access_board(
        &mut self,
        access: &Access,
        length: u32,
        at: GuestPhys,
        address: u32,
    ) -> Outcome {
        let now = self.now();
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let mut bus =
            Bus { board: &mut guest.board, now, page: address & !0xfff, at: at.0 & !0xfff };
        guest.vcpu.access(access, length, &mut bus)
    }

    /// Moves what an access to the board set in motion.
    pub(crate) fn after_board(&mut self, at: GuestPhys) {
        let index = self.loaded;
        match at.0 >> 16 {
            0x0900 => {
                // The line fetches what was sent if it is left there now.
                self.hold(index as u32, true);
                self.line_gives_way();
                if self.take_sent(index) {
                    self.pump_at_last();
                } else {
                    self.deliver(index);
                }
            }
            0x0801 if matches!(at.0 & 0xffff, EOIR | DIR) => self.rearm_devices(),
            0x0800 if ICACTIVER.contains(&(at.0 & 0xffff)) => self.rearm_devices(),
            0x0901 | 0x0902 => self.rearm = true,
            0x0800 => self.after_distributor(),
            _ => {}
        }
    }
}

/// The board as memory, for the one page an access reached.
struct Bus<'a> {
    board: &'a mut Board,
    now: u64,
    page: u32,
    at: u32,
}

impl Bus<'_> {
    fn place(&self, address: u32, write: bool) -> Result<GuestPhys, Abort> {
        // An instruction may make sixteen accesses: it is begun again.
        if cp15::is_interrupted() {
            return Err(Abort::Retry);
        }
        if address & !0xfff == self.page {
            Ok(GuestPhys(self.at | address & 0xfff))
        } else {
            Err(Abort::Fault { fsr: fsr(Cause::External, 0, write), far: address })
        }
    }
}

pub(crate) const fn bus_width(width: Width) -> bus::Width {
    match width {
        Width::Byte => bus::Width::Byte,
        Width::Half => bus::Width::Half,
        Width::Word | Width::Double => bus::Width::Word,
    }
}

impl Memory for Bus<'_> {
    fn load(&mut self, address: u32, width: Width, _: bool) -> Result<u32, Abort> {
        let at = self.place(address, false)?;
        self.board
            .read(at, bus_width(width), self.now)
            .map_err(|_| Abort::Fault { fsr: fsr(Cause::External, 0, false), far: address })
    }

    fn store(&mut self, address: u32, width: Width, value: u32, _: bool) -> Result<(), Abort> {
        let at = self.place(address, true)?;
        self.board
            .write(at, bus_width(width), value, self.now)
            .map_err(|_| Abort::Fault { fsr: fsr(Cause::External, 0, true), far: address })
    }
}

/// A page of code as memory that takes one store, to be made later: offset, bytes, value.
struct CodeBus {
    page: u32,
    stored: Option<(u32, u32, u32)>,
}

impl Memory for CodeBus {
    fn load(&mut self, _: u32, _: Width, _: bool) -> Result<u32, Abort> {
        Err(Abort::Retry)
    }

    fn store(&mut self, address: u32, width: Width, value: u32, _: bool) -> Result<(), Abort> {
        let bytes = bus_width(width).bytes();
        let offset = address & 0xfff;
        // Nor can an unaligned store that reaches over the page's end be made.
        if address & !0xfff != self.page || offset + bytes > 0x1000 || self.stored.is_some() {
            return Err(Abort::Retry);
        }
        self.stored = Some((offset, bytes, value));
        Ok(())
    }
}
