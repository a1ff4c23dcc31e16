//! The virtual board: what a guest finds beside its memory.
//!
//! The address map is that of QEMU's `virt`, which every ARM operating system supports,
//! and the same on every machine. Not responsible for RAM and for machine devices
//! passed through: those are mapped, and the interrupts of the latter come in by
//! [`Gic::set_line`].
//!
//! The owner calls [`Board::update`] whenever time may have moved an output: when the
//! deadline it armed has passed, and before the guest runs again after another VM ran.
//! Accesses through the board's own methods update what they change by themselves.
//!
//! # Invariants
//!
//! After every method of the board, the lines of its UART, clock and timer in the GIC
//! are as these devices drive them at `now`, and `deadline` is the earliest later
//! change. Whoever uses the public fields directly calls `update` afterwards.

use crate::bus::{Device, Width};
use crate::gic::Gic;
use crate::pl011::Pl011;
use crate::pl031::Pl031;
use crate::timer::{self, Timer};
use entresol_abi::GuestPhys;
use entresol_abi::image::flags;

/// First register of the GIC's distributor; its frame is 64 KiB.
pub const GIC_DISTRIBUTOR: GuestPhys = GuestPhys(0x0800_0000);
/// First register of the GIC's CPU interface; its frame is 64 KiB.
pub const GIC_INTERFACE: GuestPhys = GuestPhys(0x0801_0000);
/// First register of the PL011; its frame is 4 KiB.
pub const UART: GuestPhys = GuestPhys(0x0900_0000);
/// First register of the PL031; its frame is 4 KiB.
pub const RTC: GuestPhys = GuestPhys(0x0901_0000);

/// The PL011's interrupt: SPI 1.
pub const UART_IRQ: u32 = 33;
/// The PL031's interrupt: SPI 2.
pub const RTC_IRQ: u32 = 34;
/// The physical timer's interrupt: PPI 14.
pub const PHYSICAL_TIMER_IRQ: u32 = 30;
/// The virtual timer's interrupt: PPI 11.
pub const VIRTUAL_TIMER_IRQ: u32 = 27;

/// What a guest reads and writes once for every interrupt, decoded before all else.
const ACKNOWLEDGE: GuestPhys = GuestPhys(GIC_INTERFACE.0 + 0x0c);
const END: GuestPhys = GuestPhys(GIC_INTERFACE.0 + 0x10);

/// What the board's frames span.
const FIRST: u32 = GIC_DISTRIBUTOR.0;
const LAST: u32 = RTC.0 + 0xfff;

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
    Uart(u32),
    Rtc(u32),
}

/// The devices of one VM with one vCPU.
#[derive(Clone, Debug)]
pub struct Board {
    /// Interrupt controller.
    pub gic: Gic,
    /// Console.
    pub uart: Pl011,
    /// Real-time clock.
    pub rtc: Pl031,
    /// Generic timer.
    pub timer: Timer,
    flags: u32,
    deadline: Option<u64>,
}

impl Board {
    /// A board with no optional device, before its first reset.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            gic: Gic::new(),
            uart: Pl011::new(),
            rtc: Pl031::new(),
            timer: Timer::new(),
            flags: 0,
            deadline: None,
        }
    }

    /// Resets all devices when the VM starts at `now`; the counter has `hz` ticks per
    /// second, and `flags` ([`entresol_abi::image::flags`]) says which devices exist.
    pub fn reset(&mut self, now: u64, hz: u32, flags: u32) {
        self.gic.reset();
        self.uart.reset();
        self.rtc.reset(now, hz, 0);
        self.timer.reset(now);
        self.flags = flags;
        self.deadline = None;
    }

    /// Whether an address belongs to the board rather than to memory or nothing.
    #[must_use]
    pub const fn is_device(gpa: GuestPhys) -> bool {
        gpa.0.wrapping_sub(FIRST) <= LAST - FIRST
    }

    /// A guest reads a register.
    ///
    /// # Errors
    ///
    /// [`BusError`] when nothing answers; nothing has changed then.
    pub fn read(&mut self, gpa: GuestPhys, width: Width, now: u64) -> Result<u32, BusError> {
        if gpa == ACKNOWLEDGE && width == Width::Word {
            return Ok(self.gic.acknowledge());
        }
        Ok(match self.frame(gpa, width)? {
            Frame::Distributor(offset) => self.gic.read_distributor(offset, width),
            Frame::Interface(offset) => self.gic.read_interface(offset, width),
            Frame::Uart(offset) => {
                let value = self.uart.read(offset, width, now);
                self.gic.set_line(UART_IRQ, self.uart.irq());
                value
            }
            Frame::Rtc(offset) => {
                let value = self.rtc.read(offset, width, now);
                self.update(now);
                value
            }
        })
    }

    /// A guest writes the low bits of `value` to a register. The caller takes what the
    /// UART then has to send ([`Board::take_tx`]).
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
        if gpa == END && width == Width::Word {
            self.gic.end(value);
            return Ok(());
        }
        match self.frame(gpa, width)? {
            Frame::Distributor(offset) => self.gic.write_distributor(offset, width, value),
            Frame::Interface(offset) => self.gic.write_interface(offset, width, value),
            Frame::Uart(offset) => {
                self.uart.write(offset, width, value, now);
                self.gic.set_line(UART_IRQ, self.uart.irq());
            }
            Frame::Rtc(offset) => {
                self.rtc.write(offset, width, value, now);
                self.update(now);
            }
        }
        Ok(())
    }

    /// The next byte the guest's UART sends.
    pub fn take_tx(&mut self) -> Option<u8> {
        let byte = self.uart.take_tx();
        self.gic.set_line(UART_IRQ, self.uart.irq());
        byte
    }

    /// A byte for the guest's UART; false when its FIFO is full or it has none.
    pub fn push_rx(&mut self, byte: u8) -> bool {
        let accepted = self.flags & flags::UART != 0 && self.uart.push_rx(byte);
        self.gic.set_line(UART_IRQ, self.uart.irq());
        accepted
    }

    /// A guest reads a timer register by coprocessor.
    #[must_use]
    pub fn read_timer(&self, register: timer::Register, now: u64) -> u64 {
        self.timer.read(register, now)
    }

    /// A guest writes a timer register by coprocessor.
    pub fn write_timer(&mut self, register: timer::Register, value: u64, now: u64) {
        self.timer.write(register, value, now);
        self.update(now);
    }

    /// Brings all lines and the deadline up to date.
    pub fn update(&mut self, now: u64) {
        self.gic.set_line(PHYSICAL_TIMER_IRQ, self.timer.output_physical(now));
        self.gic.set_line(VIRTUAL_TIMER_IRQ, self.timer.output_virtual(now));
        self.gic.set_line(UART_IRQ, self.uart.irq());
        self.rtc.update(now);
        self.gic.set_line(RTC_IRQ, self.rtc.irq());
        self.deadline = match (self.timer.deadline(now), self.rtc.deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
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
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Whether anything on the board can end a wait for an interrupt that begins now:
    /// one asserted, a timer or alarm running, or a console that listens, each with its
    /// interrupt let through. Interrupts passed through are the caller's to ask for
    /// ([`Gic::would_assert`]).
    #[must_use]
    pub fn may_wake(&self, now: u64) -> bool {
        let gic = &self.gic;
        let timer = &self.timer;
        let has_uart = self.flags & flags::UART != 0;
        self.irq()
            || self.fiq()
            || timer.deadline_physical(now).is_some() && gic.would_assert(PHYSICAL_TIMER_IRQ)
            || timer.deadline_virtual(now).is_some() && gic.would_assert(VIRTUAL_TIMER_IRQ)
            || self.rtc.deadline().is_some() && gic.would_assert(RTC_IRQ)
            || has_uart && self.uart.listens() && gic.would_assert(UART_IRQ)
    }

    fn frame(&self, gpa: GuestPhys, width: Width) -> Result<Frame, BusError> {
        let frame = match gpa.0 >> 16 {
            0x0800 => Frame::Distributor(gpa.0 - GIC_DISTRIBUTOR.0),
            0x0801 => Frame::Interface(gpa.0 - GIC_INTERFACE.0),
            0x0900 if self.flags & flags::UART != 0 && gpa.0 - UART.0 < 0x1000 => {
                Frame::Uart(gpa.0 - UART.0)
            }
            0x0901 if self.flags & flags::RTC != 0 && gpa.0 - RTC.0 < 0x1000 => {
                Frame::Rtc(gpa.0 - RTC.0)
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
mod tests {
    use super::*;
    use crate::timer::Register;
    use proptest::prelude::*;

    const HZ: u32 = 1000;

    fn at(base: GuestPhys, offset: u32) -> GuestPhys {
        GuestPhys(base.0 + offset)
    }

    fn write(board: &mut Board, gpa: GuestPhys, value: u32, now: u64) {
        board.write(gpa, Width::Word, value, now).unwrap();
    }

    /// A board as a kernel leaves it: the GIC on, all interrupts enabled.
    fn board() -> Board {
        let mut board = Board::new();
        board.reset(10, HZ, flags::UART | flags::RTC);
        write(&mut board, at(GIC_DISTRIBUTOR, 0x000), 1, 10);
        write(&mut board, at(GIC_DISTRIBUTOR, 0x100), u32::MAX, 10);
        write(&mut board, at(GIC_DISTRIBUTOR, 0x104), u32::MAX, 10);
        write(&mut board, at(GIC_INTERFACE, 0x00), 1, 10);
        write(&mut board, at(GIC_INTERFACE, 0x04), 0xff, 10);
        board
    }

    fn acknowledge(board: &mut Board, now: u64) -> u32 {
        board.read(at(GIC_INTERFACE, 0x0c), Width::Word, now).unwrap()
    }

    #[test]
    fn a_timer_interrupts_at_its_deadline_until_it_is_moved() {
        let mut board = board();
        board.write_timer(Register::VirtualCompare, 500, 20);
        board.write_timer(Register::VirtualControl, 1, 20);
        assert_eq!(board.deadline(), Some(510), "the virtual count began at 10");
        board.update(509);
        assert!(!board.irq());
        board.update(510);
        assert!(board.irq());
        assert_eq!(board.deadline(), None);
        assert_eq!(acknowledge(&mut board, 510), VIRTUAL_TIMER_IRQ);
        board.write_timer(Register::VirtualCompare, 1000, 511);
        write(&mut board, at(GIC_INTERFACE, 0x10), VIRTUAL_TIMER_IRQ, 511);
        assert!(!board.irq());
        assert_eq!(board.deadline(), Some(1010));
    }

    #[test]
    fn both_timers_and_the_clock_share_the_deadline() {
        let mut board = board();
        board.write_timer(Register::PhysicalCompare, 4000, 10);
        board.write_timer(Register::PhysicalControl, 1, 10);
        write(&mut board, at(RTC, 0x04), 2, 10);
        write(&mut board, at(RTC, 0x10), 1, 10);
        assert_eq!(board.deadline(), Some(2010));
        board.update(2010);
        assert_eq!(acknowledge(&mut board, 2010), RTC_IRQ);
        assert_eq!(board.deadline(), Some(4000));
    }

    #[test]
    fn sending_and_receiving_interrupt_without_an_update() {
        let mut board = board();
        write(&mut board, at(UART, 0x38), 1 << 4 | 1 << 5, 10);
        write(&mut board, UART, u32::from(b'x'), 10);
        assert_eq!(board.take_tx(), Some(b'x'));
        assert_eq!(acknowledge(&mut board, 10), UART_IRQ);
        write(&mut board, at(UART, 0x44), 1 << 5, 10);
        write(&mut board, at(GIC_INTERFACE, 0x10), UART_IRQ, 10);
        assert!(!board.irq());
        assert!(board.push_rx(b'y'));
        assert!(board.irq());
        assert_eq!(board.read(UART, Width::Byte, 10), Ok(u32::from(b'y')));
        assert!(!board.irq());
    }

    #[test]
    fn a_wait_can_end_only_by_what_is_armed_and_let_through() {
        let mut board = board();
        assert!(!board.may_wake(10), "nothing is armed");
        board.write_timer(Register::VirtualCompare, 500, 10);
        board.write_timer(Register::VirtualControl, 1, 10);
        assert!(board.may_wake(10));
        board.write_timer(Register::VirtualControl, 3, 10);
        assert!(!board.may_wake(10), "masked in the timer");
        write(&mut board, at(UART, 0x38), 1 << 4, 10);
        assert!(board.may_wake(10), "input may come");
        write(&mut board, at(GIC_DISTRIBUTOR, 0x184), 2, 10);
        assert!(!board.may_wake(10), "disabled in the distributor");
        board.write_timer(Register::VirtualControl, 1, 10);
        board.update(510);
        assert!(board.may_wake(510), "asserted");
        assert_eq!(acknowledge(&mut board, 510), VIRTUAL_TIMER_IRQ);
        assert!(!board.may_wake(510), "active, and nobody ends it");
    }

    #[test]
    fn an_absent_device_is_not_there() {
        let mut board = Board::new();
        board.reset(0, HZ, 0);
        assert_eq!(board.read(UART, Width::Word, 0), Err(BusError::Unmapped));
        assert_eq!(board.write(RTC, Width::Word, 0, 0), Err(BusError::Unmapped));
        assert!(!board.push_rx(b'x'));
        assert!(board.read(GIC_DISTRIBUTOR, Width::Word, 0).is_ok());
    }

    #[test]
    fn a_misaligned_access_is_refused() {
        let mut board = board();
        let gpa = at(UART, 0x19);
        assert_eq!(board.read(gpa, Width::Half, 0), Err(BusError::Misaligned));
        assert!(board.read(gpa, Width::Byte, 0).is_ok());
    }

    #[test]
    fn memory_is_not_a_device() {
        assert!(!Board::is_device(GuestPhys(0x4000_0000)));
        assert!(!Board::is_device(GuestPhys(0x07ff_ffff)));
        assert!(!Board::is_device(GuestPhys(0x0901_1000)));
        assert!(Board::is_device(GuestPhys(0x0901_0fff)));
        assert!(Board::is_device(GIC_INTERFACE));
    }

    #[test]
    fn a_reset_forgets_everything_but_the_time() {
        let mut board = board();
        board.gic.set_line(40, true);
        board.write_timer(Register::VirtualControl, 1, 20);
        assert!(board.irq());
        board.reset(100, HZ, flags::UART);
        board.update(200);
        assert!(!board.irq());
        assert_eq!(board.timer.virtual_count(200), 100);
    }

    proptest! {
        #[test]
        fn every_access_is_answered_where_there_is_a_device(
            address in any::<u32>(), width in 0_u32..3, value in any::<u32>(), now in any::<u64>()
        ) {
            let mut board = board();
            let width = match width { 0 => Width::Byte, 1 => Width::Half, _ => Width::Word };
            // Half of the addresses near a device.
            let near = match address & 7 {
                0 => address & 0xffff | GIC_DISTRIBUTOR.0,
                1 => address & 0xffff | GIC_INTERFACE.0,
                2 => address & 0xfff | UART.0,
                3 => address & 0xfff | RTC.0,
                _ => address,
            };
            let gpa = GuestPhys(near);
            for result in [
                board.read(gpa, width, now).map(|_| ()),
                board.write(gpa, width, value, now),
                board.read(gpa, width, now).map(|_| ()),
            ] {
                prop_assert!(result.is_err() || Board::is_device(gpa));
            }
        }
    }
}
