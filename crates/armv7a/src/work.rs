//! Long work for a guest, done with interrupts enabled.
//!
//! Scanning a page and undoing that take up to half a million instructions, restoring a VM's
//! memory takes millions, and a sentence tens of thousands. Handlers run with interrupts masked,
//! so such work runs beside them: on a stack of its guest's own, with
//! interrupts enabled. An interrupt leaves it as it is and returns to where it was started, as
//! if it had come to its end, but for the result. The hypervisor goes on with it when the
//! guest's turn comes ([`Hypervisor::work_on`]); the guest itself runs when it is done.
//! So it is charged to its guest, and whoever is more urgent waits for no work of others
//! (decision 0011). Not here: what the work is ([`code`], [`shadow`](crate::shadow)).
//!
//! # Invariants
//!
//! - Work touches its guest's shadow, records and memory, and its own stack; nobody else touches
//!   these until it is done. It does not name the core's state.
//! - It runs in the linear view, which whoever starts it or goes on with it enters.
//! - While it runs, and only then, an interrupt may come in Supervisor mode: the vectors are
//!   [`entry::vectors_working`].
//! - A guest whose work is not done is [`Run::Working`], [`Run::Restoring`] or [`Run::Ending`].
//!
//! Manual: ARM DDI 0406C, B1.8, B9.3.13 (RFE), B9.3.16 (SRS).

use crate::exclusive::Exclusive;
use crate::guest::{Guest, Run};
use crate::hypervisor::{self, Hypervisor};
use crate::linear::Linear;
use crate::{code, cp15, entry, restore};
use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use entresol_abi::console::Channel;
use entresol_abi::image::MAX_VMS;
use entresol_abi::{GuestPhys, HostPhys};
use entresol_hv::health::{Action, End, Notice, Plain, Report};
use entresol_isa::op::InstructionSet;

/// Bytes of a guest's stack: as many as the core's.
const STACK_LEN: usize = 0x4000;

#[repr(C, align(8))]
struct Stack(UnsafeCell<[u32; STACK_LEN / 4]>);

/// Not cleared at boot.
#[unsafe(link_section = ".stacks")]
static STACKS: Exclusive<[Stack; MAX_VMS]> =
    Exclusive::new([const { Stack(UnsafeCell::new([0; STACK_LEN / 4])) }; MAX_VMS]);

/// The core's stack pointer while work runs.
static CORE_STACK: Exclusive<u32> = Exclusive::new(0);

/// Most bytes of a sentence.
const LINE: usize = 240;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Scan the page of an address that is entered there.
    Scan(GuestPhys, InstructionSet),
    /// Make the page of an address data again.
    TakeBack(GuestPhys),
    /// Open the page of code of an address.
    Open(GuestPhys),
    /// Take open pages back: all, or the one of an address.
    Close(Option<GuestPhys>),
    /// Drop all translations if `drop`, then make the pair of an ASID current, or of none.
    Activate { drop: bool, asid: Option<u8> },
    /// Drop the translations of an ASID.
    DropAsid(u8),
    /// Put something into words.
    Say(Said),
    /// Make its memory as its image says.
    Restore { image: HostPhys, clear: bool },
}

/// What is said of a guest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said {
    /// What it did, and how often that was not said before.
    Notice(Notice, u32),
    /// How its run ended, and what follows.
    Report(End, Action),
}

/// A sentence.
#[derive(Debug)]
pub(crate) struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (slot, byte) in self.bytes.iter_mut().skip(self.len).zip(text.bytes()) {
            *slot = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// A guest's work.
#[derive(Debug)]
pub(crate) struct Unfinished {
    work: Work,
    /// Where its registers are on its stack; 0 if none is begun.
    stack: u32,
    line: Line,
}

impl Unfinished {
    pub(crate) const NONE: Self =
        Self { work: Work::Close(None), stack: 0, line: Line { bytes: [0; LINE], len: 0 } };
}

impl Guest {
    /// Gives it work to begin with; what it had is forgotten.
    pub(crate) fn give(&mut self, work: Work) {
        self.unfinished.work = work;
        self.unfinished.stack = 0;
    }
}

impl Hypervisor {
    /// Does work for the loaded guest. Returns whether it is done; if not, the guest goes on
    /// after it, and the handler ends without touching what it works on.
    pub(crate) fn work(&mut self, work: Work) -> bool {
        self.guest().give(work);
        let done = self.go_on();
        // A notice that waited to be said is lost.
        self.guest().run = if done { Run::Running } else { Run::Working };
        if !done {
            self.reschedule = true;
            self.interrupted();
        }
        done
    }

    /// Goes on with the loaded guest's work, whose turn it is; when it is done, with what it was
    /// done for.
    pub(crate) fn work_on(&mut self) {
        if !self.go_on() {
            return self.interrupted();
        }
        let guest = self.guest();
        if let Work::Say(_) = guest.unfinished.work {
            let Line { bytes, len } = guest.unfinished.line;
            self.console.put_line(Channel(0), bytes.get(..len).unwrap_or_default());
            self.pump();
        }
        match self.guest().run {
            Run::Restoring => self.begin(),
            Run::Ending(action) => self.ended(action),
            _ => {
                self.guest().run = Run::Running;
                // It may come back by a path that renews nothing.
                self.renew();
            }
        }
    }

    /// Goes on with the loaded guest's work until it is done or interrupted; whether it is done.
    fn go_on(&mut self) -> bool {
        let index = self.loaded % MAX_VMS;
        let guest: *mut Guest = &raw mut self.guests[index];
        let suspended = self.guests[index].unfinished.stack;
        // SAFETY: they handle every exception.
        unsafe { cp15::set_vector_base(entry::vectors_working as *const () as u32) };
        cp15::isb();
        let linear = Self::linear(&mut self.view);
        let left = if suspended == 0 {
            let top = STACKS.address() as u32 + (index as u32 + 1) * STACK_LEN as u32;
            // SAFETY: the stack is this guest's, which has no work begun; the view is linear.
            unsafe { begin(guest, top) }
        } else {
            // SAFETY: where `begin` or `proceed` said that it left off; the view is linear.
            unsafe { proceed(suspended) }
        };
        drop(linear);
        self.guests[index].unfinished.stack = left;
        self.set_vectors();
        cp15::isb();
        left == 0
    }
}

impl Said {
    fn write(self, line: &mut Line, vm: &str) -> fmt::Result {
        match self {
            Self::Report(end, action) => write!(line, "{}", Report { vm, end, action })?,
            Self::Notice(notice, 0) => write!(line, "vm \"{}\": {notice}", Plain(vm))?,
            Self::Notice(notice, before) => {
                write!(line, "vm \"{}\": {notice} ({before} more before)", Plain(vm))?;
            }
        }
        line.write_str("\r\n")
    }
}

/// The work itself, on its guest's stack.
extern "C" fn perform(guest: *mut Guest) {
    // SAFETY: `go_on` gives the loaded guest, and by the module's first invariant nobody uses
    // its shadow before this ends.
    let shadow = unsafe { &mut (*guest).shadow };
    // SAFETY: as above; it was written before work began.
    let work = unsafe { (*guest).unfinished.work };
    // SAFETY: `go_on` entered the linear view, and does so again whenever it goes on.
    let mut linear = unsafe { Linear::entered() };
    match work {
        Work::Scan(at, set) => code::scan(shadow, &mut linear, at, set),
        Work::TakeBack(at) => code::take_back(shadow, &mut linear, at),
        Work::Open(at) => code::open(shadow, &mut linear, at),
        Work::Close(only) => code::close(shadow, &mut linear, only),
        Work::Activate { drop, asid } => {
            if drop {
                shadow.drop_all(&mut linear);
            }
            match asid {
                Some(asid) => shadow.activate_asid(&mut linear, asid),
                None => shadow.activate_off(&mut linear),
            }
        }
        Work::DropAsid(asid) => shadow.drop_asid(&mut linear, asid),
        Work::Restore { image, clear } => {
            // SAFETY: nobody writes it after boot.
            let vm = unsafe { (*guest).vm };
            restore::restore(shadow, &mut linear, &vm, image, clear);
        }
        Work::Say(said) => {
            // SAFETY: as for the shadow.
            let line = unsafe { &mut (*guest).unfinished.line };
            // SAFETY: as above.
            let name = unsafe { (*guest).vm.name };
            line.len = 0;
            // A line never fails; it is cut.
            let _ = said.write(line, hypervisor::name(&name));
        }
    }
}

/// Performs a guest's work on the stack whose end is `top`, from a handler. Returns 0 when it
/// is done, else where to [`proceed`].
///
/// 1. Save what a call preserves and the stack; 2. perform, interruptible; 3. back.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn begin(guest: *mut Guest, top: u32) -> u32 {
    naked_asm!(
        // 1.
        "push {{r4-r11, lr}}",
        "ldr r2, ={core}",
        "str sp, [r2]",
        "mov sp, r1",
        // 2.
        "cpsie i",
        "bl {perform}",
        "cpsid i",
        "mov r0, #0",
        // 3.
        "ldr r1, ={core}",
        "ldr sp, [r1]",
        "pop {{r4-r11, pc}}",
        core = sym CORE_STACK,
        perform = sym perform,
    )
}

/// Goes on where work was [`interrupted`].
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn proceed(stack: u32) -> u32 {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldr r2, ={core}",
        "str sp, [r2]",
        "mov sp, r0",
        "pop {{r0-r12, lr}}",
        "rfeia sp!",
        core = sym CORE_STACK,
    )
}

/// The interrupt vector while work runs: leaves all of its registers on its stack and returns
/// for [`begin`] or [`proceed`].
///
/// Interrupts are masked by the exception; CPS says so again, for the instrument, which knows no
/// other way to see it.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(crate) unsafe extern "C" fn interrupted() {
    naked_asm!(
        "sub lr, lr, #4",
        "srsdb sp!, #0x13",
        "cpsid i, #0x13",
        "push {{r0-r12, lr}}",
        "clrex",                        // B2.2
        "mov r0, sp",
        "ldr r1, ={core}",
        "ldr sp, [r1]",
        "pop {{r4-r11, pc}}",
        core = sym CORE_STACK,
    )
}
