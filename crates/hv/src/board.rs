//! The virtual board: what a guest finds beside its memory.
//!
//! The address map is that of QEMU's `virt`, which every ARM operating system supports,
//! and the same on every machine. Not responsible for RAM and for machine devices
//! passed through: those are mapped, and the interrupts of the latter come in by
//! [`Gic::set_line`].
//!
//! The owner calls [`Board::update`] whenever time may have moved an output: when the
//! deadline it armed has passed, and before the guest runs again after another VM ran.
//! Accesses through the board's own methods update what they change by themselves, or say that the board
//! is *overdue*.
//!
//! # Invariants
//!
//! After every method of the board, the lines of its UART, clock and timer in the GIC
//! are as these devices drive them at the machine's count `now`, and `deadline` is the
//! earliest later change; or the deadline has passed. Whoever uses the public fields directly calls
//! `update` afterwards.

pub mod quick;

use crate::NEVER;
use crate::bus::{Device, Width};
use crate::clock::Clock;
use crate::gic::Gic;
use crate::pl011::Pl011;
use crate::pl031::Pl031;
use crate::promises::Promises;
use crate::sp805::Sp805;
use crate::timer::Timer;
use entresol_abi::GuestPhys;
use entresol_abi::health::Event;
use entresol_abi::image::flags;
use entresol_abi::timer::Register;

/// First register of the GIC's distributor; its frame is 64 KiB.
pub const GIC_DISTRIBUTOR: GuestPhys = GuestPhys(0x0800_0000);
/// First register of the GIC's CPU interface; its frame is 64 KiB.
pub const GIC_INTERFACE: GuestPhys = GuestPhys(0x0801_0000);
/// The snoop control unit of a board with several vCPUs, where a Cortex-A9's kernel looks how many
/// there are (ARM DDI 0407I, 2.2); its frame is 64 KiB.
pub const SCU: GuestPhys = GuestPhys(0x0802_0000);
/// First register of the PL011; its frame is 4 KiB.
pub const UART: GuestPhys = GuestPhys(0x0900_0000);
/// First register of the PL031; its frame is 4 KiB.
pub const RTC: GuestPhys = GuestPhys(0x0901_0000);

/// First register of the SP805; its frame is 4 KiB.
pub const WATCHDOG: GuestPhys = GuestPhys(0x0902_0000);

/// The PL011's interrupt: SPI 1.
pub const UART_IRQ: u32 = 33;
/// The PL031's interrupt: SPI 2.
pub const RTC_IRQ: u32 = 34;
/// The SP805's interrupt: SPI 3.
pub const WATCHDOG_IRQ: u32 = 35;
/// The physical timer's interrupt: PPI 14.
pub const PHYSICAL_TIMER_IRQ: u32 = 30;
/// The virtual timer's interrupt: PPI 11.
pub const VIRTUAL_TIMER_IRQ: u32 = 27;

/// What the board's frames span.
const FIRST: u32 = GIC_DISTRIBUTOR.0;
const LAST: u32 = WATCHDOG.0 + 0xfff;

/// The deadline of a board that is to be updated.
const OVERDUE: u64 = 0;

/// Why an access has no answer; the guest gets an external abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusError {
    /// No device there, or the VM does not have it.
    Unmapped,
    /// The address is not a multiple of the access's width.
    Misaligned,
}

/// The frame an address lies in, with the offset in it.
#[derive(Clone, Copy)]
enum Frame {
    Distributor(u32),
    Interface(u32),
    Scu(u32),
    Uart(u32),
    Rtc(u32),
    Watchdog(u32),
}

/// What a deadline stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Only {
    /// The physical timer alone.
    Physical,
    /// The virtual timer alone.
    Virtual,
    /// Anything else.
    Unknown,
}

/// A board's deadline.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: u64,
    only: Only,
}

/// The devices of one VM. Each further vCPU has a board of its own, of which it uses the timer and
/// what is its own of the GIC; all else is asked for at vCPU 0's ([`Board::is_shared`]).
#[derive(Clone, Debug)]
pub struct Board {
    /// Interrupt controller.
    pub gic: Gic,
    /// Console.
    pub uart: Pl011,
    /// Real-time clock.
    pub rtc: Pl031,
    /// Watchdog.
    pub watchdog: Sp805,
    /// Generic timer.
    pub timer: Timer,
    /// What the VM promised.
    promises: Promises,
    /// What they count.
    clock: Clock,
    flags: u32,
    deadline: u64,
    /// What the deadline is of.
    only: Only,
    /// What comes first of all but the timers, as a count of the VM's.
    others: u64,
    /// How the lines are driven: a bit each, by number but for the sixth bit of that.
    driven: u32,
}

impl Board {
    /// A board with no optional device, before its first reset.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            gic: Gic::new(),
            uart: Pl011::new(),
            rtc: Pl031::new(),
            watchdog: Sp805::new(),
            timer: Timer::new(),
            promises: Promises::new(0),
            clock: Clock::PHYSICAL,
            flags: 0,
            deadline: NEVER,
            only: Only::Unknown,
            others: NEVER,
            driven: 0,
        }
    }

    /// Resets all devices when the VM starts at `now`; the counter has `hz` ticks per
    /// second, and `flags` ([`entresol_abi::image::flags`]) says which devices exist and what
    /// they count.
    pub fn reset(&mut self, now: u64, hz: u32, flags: u32) {
        self.clear(hz);
        self.start(now, flags);
    }

    /// The longer part of a reset: devices that do not depend on the time. Nothing of the board may
    /// be used but after [`Board::silence`] and before [`Board::start`].
    pub fn clear(&mut self, hz: u32) {
        self.watchdog.reset(hz);
        self.rtc.set_frequency(hz);
        self.gic.reset();
        self.uart.reset();
        self.only = Only::Unknown;
        self.driven = 0;
    }

    /// The rest of a reset. The VM is alive.
    pub fn start(&mut self, now: u64, flags: u32) {
        self.rtc.reset(now, 0);
        self.timer.reset(flags & flags::CATCH_UP != 0);
        let virtual_time = flags & flags::VIRTUAL_TIME != 0;
        self.clock = if virtual_time { Clock::VIRTUAL } else { Clock::PHYSICAL };
        self.flags = flags;
        self.promises.beat(self.clock.count(now));
        self.others = self.promises.first();
        self.deadline = self.clock.when(self.others);
    }

    /// Nothing of it does anything any more: the VM's run has ended.
    pub fn silence(&mut self) {
        self.watchdog.stop();
        self.promises.forget();
        self.flags = 0;
        (self.others, self.deadline) = (NEVER, NEVER);
    }

    /// The VM is to show every `period` ticks that it is alive, from its next start on.
    pub const fn expect_heartbeats(&mut self, period: u32) {
        self.promises = Promises::new(period);
    }

    /// The VM is alive; or it promises to have done something in so many ticks, nothing if 0. The board is
    /// overdue then.
    pub fn promise(&mut self, ticks: Option<u64>, now: u64) {
        let count = self.clock.count(now);
        match ticks {
            None => self.promises.beat(count),
            Some(ticks) => self.promises.promise(ticks, count),
        }
        self.be_overdue();
    }

    /// What the VM did not do in time; told once. The board is overdue until it is updated after that.
    pub fn take_failure(&mut self, now: u64) -> Option<Event> {
        self.promises.take_broken(self.clock.count(now))
    }

    /// Whether an address belongs to the board rather than to memory or nothing.
    #[must_use]
    pub const fn is_device(gpa: GuestPhys) -> bool {
        gpa.0.wrapping_sub(FIRST) <= LAST - FIRST
    }

    /// Whether what is at an address is vCPU 0's for all.
    #[must_use]
    pub const fn is_shared(gpa: GuestPhys) -> bool {
        match gpa.0 >> 16 {
            0x0800 => !Gic::is_private(gpa.0 & 0xffff),
            0x0801 | 0x0802 => false,
            _ => true,
        }
    }

    /// A guest reads a register.
    ///
    /// # Errors
    ///
    /// [`BusError`] when nothing answers; nothing has changed then.
    pub fn read(&mut self, gpa: GuestPhys, width: Width, now: u64) -> Result<u32, BusError> {
        Ok(match self.frame(gpa, width)? {
            Frame::Distributor(offset) => self.gic.read_distributor(offset, width),
            Frame::Interface(offset) => self.gic.read_interface(offset, width),
            // SCU Configuration Register: CPUs less one, and those that are coherent.
            Frame::Scu(4) => {
                let cpus = u32::from(self.gic.cpu().1);
                (cpus - 1) | ((1 << cpus) - 1) << 4
            }
            Frame::Scu(_) => 0,
            Frame::Uart(offset) => {
                let value = self.uart.read(offset, width, now);
                // Only taking data changes the interrupt.
                if offset < 4 {
                    self.drive_uart();
                }
                value
            }
            Frame::Rtc(offset) => {
                self.be_overdue();
                self.rtc.read(offset, width, self.clock.count(now))
            }
            Frame::Watchdog(offset) => {
                self.be_overdue();
                self.watchdog.read(offset, width, self.clock.count(now))
            }
        })
    }

    /// A guest writes the low bits of `value` to a register. The caller takes what the
    /// UART then has to send ([`Board::take_tx`]), and updates the board if it is overdue then.
    ///
    /// # Errors
    ///
    /// [`BusError`] when nothing answers; nothing has changed then.
    pub fn write(
        &mut self,
        gpa: GuestPhys,
        width: Width,
        value: u32,
        now: u64,
    ) -> Result<(), BusError> {
        match self.frame(gpa, width)? {
            Frame::Distributor(offset) => self.gic.write_distributor(offset, width, value),
            Frame::Interface(offset) => self.gic.write_interface(offset, width, value),
            Frame::Scu(_) => {}
            Frame::Uart(offset) => {
                self.uart.write(offset, width, value, now);
                self.drive_uart();
            }
            Frame::Rtc(offset) => {
                self.be_overdue();
                self.rtc.write(offset, width, value, self.clock.count(now));
            }
            Frame::Watchdog(offset) => {
                self.be_overdue();
                self.watchdog.write(offset, width, value, self.clock.count(now));
            }
        }
        Ok(())
    }

    /// The next byte the guest's UART sends.
    pub fn take_tx(&mut self) -> Option<u8> {
        let byte = self.uart.take_tx();
        self.drive_uart();
        byte
    }

    /// A byte for the guest's UART; false when its FIFO is full or it has none.
    pub fn push_rx(&mut self, byte: u8) -> bool {
        let accepted = self.flags & flags::UART != 0 && self.uart.push_rx(byte);
        self.drive_uart();
        accepted
    }

    /// A guest reads a timer register by coprocessor.
    #[must_use]
    pub fn read_timer(&self, register: Register, now: u64) -> u64 {
        self.timer.read(register, self.clock.count(now))
    }

    /// A guest writes a timer register by coprocessor.
    pub fn write_timer(&mut self, register: Register, value: u64, now: u64) {
        let now = self.clock.count(now);
        if self.timer.write(register, value, now) {
            self.update_timers(now);
        }
    }

    /// The same, of which the lines hear later: the board is overdue then.
    pub fn set_timer(&mut self, register: Register, value: u64, now: u64) {
        self.timer.write(register, value, self.clock.count(now));
        self.be_overdue();
    }

    /// Whether it is to be updated before the guest goes on.
    #[must_use]
    pub const fn is_overdue(&self) -> bool {
        self.deadline == OVERDUE
    }

    /// The VM's count.
    #[must_use]
    pub fn count(&self, now: u64) -> u64 {
        self.clock.count(now)
    }

    /// Whether the board's time depends on when the VM runs, which [`Board::keep`] and
    /// [`Board::let_run`] tell.
    #[must_use]
    pub const fn has_virtual_time(&self) -> bool {
        self.flags & flags::VIRTUAL_TIME != 0
    }

    /// The VM is ready to run and kept from it. If its clock stands, nothing is due until it runs:
    /// what came due by now is found then.
    pub fn keep(&mut self, now: u64) {
        if self.has_virtual_time() {
            self.clock.stop(now);
            self.deadline = NEVER;
        }
    }

    /// The VM runs. If its clock stood, the board is overdue.
    pub fn let_run(&mut self, now: u64) {
        if self.clock.start(now) {
            self.be_overdue();
        }
    }

    /// The board is overdue until its owner gives its deadline back.
    pub const fn take_deadline(&mut self) -> Deadline {
        let deadline = Deadline { at: self.deadline, only: self.only };
        self.be_overdue();
        deadline
    }

    /// Gives it back.
    pub const fn set_deadline(&mut self, Deadline { at, only }: Deadline) {
        (self.deadline, self.only) = (at, only);
    }

    const fn be_overdue(&mut self) {
        (self.deadline, self.only) = (OVERDUE, Only::Unknown);
    }

    /// Brings all lines and the deadline up to date.
    pub fn update(&mut self, now: u64) {
        self.update_devices(now);
        self.update_deadlines(now);
    }

    /// The first half of [`Board::update`]: what is due stays so until the second.
    #[inline(never)]
    pub fn update_devices(&mut self, now: u64) {
        let now = self.clock.count(now);
        self.rtc.update(now);
        self.watchdog.update(now);
        self.drive(RTC_IRQ, self.rtc.irq());
        self.drive(WATCHDOG_IRQ, self.watchdog.irq());
        self.drive_uart();
        if self.watchdog.take_bite() {
            self.promises.broke(Event::Watchdog);
        }
        self.promises.update(now);
    }

    /// The second half: brings the timers' lines and all deadlines up to date.
    #[inline(never)]
    pub fn update_deadlines(&mut self, now: u64) {
        let now = self.clock.count(now);
        self.others = self.rtc.deadline().min(self.watchdog.deadline()).min(self.promises.first());
        self.update_timers(now);
    }

    /// Brings the timers' lines and the deadline up to date, at a count of the VM's.
    fn update_timers(&mut self, now: u64) {
        let (physical, virtual_) = (self.timer.physical(now), self.timer.virtual_(now));
        self.drive(PHYSICAL_TIMER_IRQ, physical.asserted);
        self.drive(VIRTUAL_TIMER_IRQ, virtual_.asserted);
        let (physical, virtual_) = (physical.next, virtual_.next);
        let others = self.others;
        let first = physical.min(virtual_).min(others);
        self.only = match (virtual_.min(others), physical.min(others)) {
            (NEVER, _) => Only::Physical,
            (_, NEVER) => Only::Virtual,
            _ => Only::Unknown,
        };
        self.deadline = self.clock.when(first);
    }

    /// Drives a line.
    #[inline]
    fn drive(&mut self, line: u32, level: bool) {
        if (self.driven >> (line % 32) & 1 == 1) != level {
            self.driven ^= 1 << (line % 32);
            self.gic.set_line(line, level);
        }
    }

    /// [`Board::update`] for when the deadline has come, if all it stands for is one timer;
    /// `false`, and nothing done, if not.
    #[inline]
    pub fn ring(&mut self) -> bool {
        match core::mem::replace(&mut self.only, Only::Unknown) {
            Only::Unknown => return false,
            Only::Physical => {
                self.driven |= 1 << PHYSICAL_TIMER_IRQ;
                self.gic.raise_line::<PHYSICAL_TIMER_IRQ>();
            }
            Only::Virtual => {
                self.driven |= 1 << VIRTUAL_TIMER_IRQ;
                self.gic.raise_line::<VIRTUAL_TIMER_IRQ>();
            }
        }
        self.deadline = NEVER;
        true
    }

    /// Whether its deadline means nothing before its vCPU runs: it is a timer's alone, and no clock is
    /// to stand from then on.
    #[must_use]
    pub fn may_ring_late(&self) -> bool {
        self.only != Only::Unknown && !self.has_virtual_time()
    }

    /// When [`Board::ring`] will interrupt a vCPU that has nothing pending, if all that the deadline
    /// stands for is one timer that does so; [`NEVER`] if not.
    #[must_use]
    pub fn rings(&self) -> u64 {
        let irq = match self.only {
            Only::Physical => PHYSICAL_TIMER_IRQ,
            Only::Virtual => VIRTUAL_TIMER_IRQ,
            Only::Unknown => return NEVER,
        };
        let rings = self.may_ring_late() && self.gic.would_interrupt(irq);
        if rings { self.deadline } else { NEVER }
    }

    /// Brings the UART's line up to date.
    #[inline]
    fn drive_uart(&mut self) {
        self.drive(UART_IRQ, self.uart.irq());
    }

    /// Whether the vCPU's IRQ input is asserted.
    #[must_use]
    pub const fn irq(&self) -> bool {
        self.gic.asserted()
    }

    /// Whether the vCPU's FIQ input is asserted.
    #[must_use]
    pub const fn fiq(&self) -> bool {
        self.gic.fiq()
    }

    /// The count at which an output changes next without the guest's doing, as of the
    /// last update.
    #[must_use]
    pub const fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Whether anything on the board can end a wait for an interrupt that begins now:
    /// one asserted, a timer or alarm running, or a console that listens, each with its
    /// interrupt let through. Interrupts passed through are the caller's to ask for
    /// ([`Gic::would_assert`]).
    #[must_use]
    pub fn may_wake(&self, now: u64) -> bool {
        let now = self.clock.count(now);
        let gic = &self.gic;
        let timer = &self.timer;
        let has_uart = self.flags & flags::UART != 0;
        self.irq()
            || self.fiq()
            || timer.physical(now).next != NEVER && gic.would_assert(PHYSICAL_TIMER_IRQ)
            || timer.virtual_(now).next != NEVER && gic.would_assert(VIRTUAL_TIMER_IRQ)
            || self.rtc.deadline() != NEVER && gic.would_assert(RTC_IRQ)
            // It interrupts or bites.
            || self.watchdog.deadline() != NEVER
            || self.promises.first() != NEVER
            || has_uart && self.uart.listens() && gic.would_assert(UART_IRQ)
    }

    fn frame(&self, gpa: GuestPhys, width: Width) -> Result<Frame, BusError> {
        let frame = match gpa.0 >> 16 {
            0x0800 => Frame::Distributor(gpa.0 - GIC_DISTRIBUTOR.0),
            0x0801 => Frame::Interface(gpa.0 - GIC_INTERFACE.0),
            0x0802 if self.gic.cpu().1 > 1 => Frame::Scu(gpa.0 - SCU.0),
            0x0900 if self.flags & flags::UART != 0 && gpa.0 - UART.0 < 0x1000 => {
                Frame::Uart(gpa.0 - UART.0)
            }
            0x0901 if self.flags & flags::RTC != 0 && gpa.0 - RTC.0 < 0x1000 => {
                Frame::Rtc(gpa.0 - RTC.0)
            }
            0x0902 if self.flags & flags::WATCHDOG != 0 && gpa.0 - WATCHDOG.0 < 0x1000 => {
                Frame::Watchdog(gpa.0 - WATCHDOG.0)
            }
            _ => return Err(BusError::Unmapped),
        };
        match gpa.0 & (width.bytes() - 1) {
            0 => Ok(frame),
            _ => Err(BusError::Misaligned),
        }
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
