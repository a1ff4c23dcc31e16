//! A kernel's plain load or store of a board's register, on a page it touched lately.
//!
//! Budget `mmio.uart`. Most of what such an access costs is to find out that it is one: the
//! guest's tables are walked, its instruction decoded. [`Devices`] remembers the first, the
//! few forms that drivers use (A32, immediate offset, no write-back) are decoded here.
//!
//! # Invariants
//!
//! - A page is remembered as a TLB would: until the guest maintains its TLB or changes a
//!   register of translation ([`Devices::forget`]), and only for the DACR it was found under.

use crate::guarded;
use crate::guest::Guest;
use crate::hypervisor::Hypervisor;
use entresol_abi::GuestPhys;
use entresol_abi::image::MAX_VMS;
use entresol_hv::board::{GIC_INTERFACE, RTC, UART};
use entresol_hv::bus::Width;
use entresol_vcpu::psr;

/// Frames of the board, by address.
const INTERFACE: u32 = GIC_INTERFACE.0 >> 16;
const CONSOLE: u32 = UART.0 >> 16;

/// How many pages are remembered.
const PAGES: usize = 4;

/// A page of registers that the guest's kernel may touch.
#[derive(Clone, Copy, Debug)]
struct Page {
    /// Virtual address, with bit 0 set; 0 for none.
    at: u32,
    /// Guest physical address, with bit 0 set if it may be stored to.
    to: u32,
    dacr: u32,
}

/// Pages of registers by the virtual addresses a kernel used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Devices([Page; PAGES]);

impl Devices {
    pub(crate) const EMPTY: Self = Self([Page { at: 0, to: 0, dacr: 0 }; PAGES]);

    /// Where the first page's address lies, and how far apart they are: what the fast paths
    /// that forget must know.
    pub(crate) const FIRST: usize = core::mem::offset_of!(Page, at);
    pub(crate) const STRIDE: usize = size_of::<Page>();

    /// Forgets all of them.
    #[inline]
    pub(crate) fn forget(&mut self) {
        for page in &mut self.0 {
            page.at = 0;
        }
    }

    /// Forgets what a page leads to.
    #[inline]
    pub(crate) fn forget_page(&mut self, address: u32) {
        self.0[Self::slot(address)].at = 0;
    }

    #[inline]
    const fn slot(address: u32) -> usize {
        (address >> 12 ^ address >> 16 ^ address >> 23) as usize % PAGES
    }

    fn remember(&mut self, address: u32, to: GuestPhys, store: bool, dacr: u32) {
        self.0[Self::slot(address)] =
            Page { at: address & !0xfff | 1, to: to.0 & !0xfff | u32::from(store), dacr };
    }

    #[inline]
    fn find(&self, address: u32, store: bool, dacr: u32) -> Option<GuestPhys> {
        let page = &self.0[Self::slot(address)];
        let known = page.at == address & !0xfff | 1 && page.dacr == dacr;
        (known && (!store || page.to & 1 == 1)).then_some(GuestPhys(page.to & !1 | address & 0xfff))
    }
}

impl Hypervisor {
    /// Remembers that the loaded guest's kernel reached the board at `to`.
    pub(crate) fn remember_device(&mut self, address: u32, to: GuestPhys, store: bool) {
        let guest = self.guest();
        // Of the distributor only some registers are vCPU 1's.
        let own = guest.cpu == 0 || to.0 >> 16 == GIC_INTERFACE.0 >> 16;
        if own && guest.vcpu.privileged() {
            guest.devices.remember(address, to, store, guest.vcpu.cp15.dacr);
        }
    }

    /// Performs the access at pc, which aborted at `address`, if it is of the usual kind.
    /// Returns the guest to resume.
    #[inline(never)]
    pub(crate) fn usual_device(&mut self, address: u32, store: bool) -> Option<*mut Guest> {
        self.give_way_called();
        let counters = self.counters();
        let index = self.loaded % MAX_VMS;
        let guest = &mut self.guests[index];
        let vcpu = &mut guest.vcpu;
        let at = guest.devices.find(address, store, vcpu.cp15.dacr)?;
        if !vcpu.privileged() || vcpu.psr & (psr::T | psr::E) != 0 {
            return None;
        }
        let (word, width) = guarded::word(vcpu.pc).and_then(usual)?;
        let register = (word >> 12 & 0xf) as usize;
        if (word & LOAD == 0) != store || register == 15 {
            return None;
        }
        // Only the clock and the watchdog behind it ask for the time. They take long, and so do most stores.
        let mut now = 0;
        if at.0 >= RTC.0 || store && at.0 >> 16 != INTERFACE {
            self.give_way_called();
            now = self.now();
        }
        let guest = &mut self.guests[index];
        let vcpu = &mut guest.vcpu;
        if store {
            guest.board.write(at, width, vcpu.regs[register], now).ok()?;
        } else {
            vcpu.regs[register] = guest.board.read(at, width, now).ok()?;
        }
        vcpu.pc = vcpu.pc.wrapping_add(4);
        counters.mmio += 1;
        // Of a UART only taking data changes anything else; of the GIC's interface the end of what is
        // passed through.
        let done = match at.0 >> 16 {
            INTERFACE => guest.interrupts[0].is_none(),
            CONSOLE => !store && at.0 & 0xfff != 0,
            _ => false,
        };
        if done && !self.reschedule && guest.undisturbed() {
            return Some(guest);
        }
        if !done {
            self.after_board(at);
        }
        Some(self.leave_unchanged())
    }
}

/// L of a load or store.
const LOAD: u32 = 1 << 20;

/// LDR, STR, LDRB, STRB, LDRH, STRH with an immediate offset, AL (A8.8.62 and others).
#[inline]
const fn usual(word: u32) -> Option<(u32, Width)> {
    const BYTE: u32 = 1 << 22;
    if word & 0xff20_0000 == 0xe500_0000 {
        Some((word, if word & BYTE == 0 { Width::Word } else { Width::Byte }))
    } else if word & 0xff60_00f0 == 0xe140_00b0 {
        Some((word, Width::Half))
    } else {
        None
    }
}
