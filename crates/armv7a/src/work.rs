//! Long work for a guest, done with interrupts enabled.
//!
//! Scanning a page and undoing that take up to half a million instructions, restoring a VM's
//! memory takes millions, and a sentence tens of thousands. Handlers run with interrupts masked,
//! so such work runs beside them: on a stack of its guest's own, with
//! interrupts enabled. An interrupt leaves it as it is and returns to where it was started, as
//! if it had come to its end, but for the result. The hypervisor goes on with it when the
//! guest's turn comes ([`Hypervisor::work_on`]); the guest itself runs when it is done.
//! So it is charged to its guest, and whoever is more urgent waits for no work of others
//! (decision 0013). Not here: what the work is ([`code`], [`shadow`](crate::shadow)).
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
use crate::shadow::{Attempt, Resolved, Shadow};
use crate::siblings::{self, Far};
use crate::trap::ATTEMPTS;
use crate::{code, cp15, entry, restore, trap};
use core::arch::naked_asm;
use core::cell::UnsafeCell;
use entresol_abi::console::Channel;
use entresol_abi::image::MAX_VMS;
use entresol_abi::observe::VmCounters;
use entresol_abi::{GuestPhys, HostPhys};
use entresol_hv::health::{Action, End, Notice, Pool, Report};
use entresol_hv::sentence::Value::{Count, Text};
use entresol_hv::sentence::{Sink, say};
use entresol_isa::op::InstructionSet;
use entresol_vcpu::{Cp15, TlbOp};

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
    /// What was to be done first is done.
    Nothing,
    /// Find out what a failed access needs, and do it: [`Unfinished::resolved`].
    Resolve(Access),
    /// Scan the page of an address again, as entered there.
    Scan(GuestPhys, InstructionSet),
    /// Store so many bytes of a value to a page of code, executed as entered at an address.
    Store { at: GuestPhys, bytes: u32, value: u32, entry: (GuestPhys, InstructionSet) },
    /// Open the page of code of an address.
    Open(GuestPhys),
    /// Take open pages back: all, or the one of an address.
    Close(Option<GuestPhys>),
    /// Drop translations, and make those of the current ASID current.
    Drop(Option<TlbOp>),
    /// Promote the instruction at a virtual address.
    Promote(u32),
    /// Take stubs back that are wrong in FIQ mode, which the guest is in.
    EnterFiq,
    /// Put something into words.
    Say(Said),
    /// Wait until vCPU 0 has made an access to the board.
    Await(Far),
    /// Begin as a vCPU that was off.
    TurnOn { hz: u32 },
    /// Make its memory as its image says.
    Restore { image: HostPhys, hz: u32, clear: bool },
}

/// An access that failed in the guest's view.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) address: u32,
    pub(crate) attempt: Attempt,
    /// The guest's privilege for it, and its instruction set.
    pub(crate) privileged: bool,
    pub(crate) set: InstructionSet,
    /// The address of the instruction, if that makes the access itself.
    pub(crate) pc: Option<u32>,
}

/// What is said of a guest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said {
    /// What it did, and how often that was not said before.
    Notice(Notice, u32),
    /// How its run ended ([`Unfinished::end`]), and what follows.
    Report(Action),
}

/// A sentence.
#[derive(Debug)]
pub(crate) struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Sink for Line {
    fn put(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }
}

/// A guest's work.
#[derive(Debug)]
pub(crate) struct Unfinished {
    work: Work,
    /// How its run ended last.
    pub(crate) end: End,
    /// Where its registers are on its stack; 0 if none is begun.
    stack: u32,
    /// What an access needs besides.
    pub(crate) resolved: Resolved,
    /// Whether a promotion was done; see [`Shadow::promote`].
    promoted: Option<bool>,
    line: Line,
}

impl Unfinished {
    pub(crate) const NONE: Self = Self {
        work: Work::Close(None),
        end: End::Off,
        stack: 0,
        resolved: Resolved::Filled,
        promoted: None,
        line: Line { bytes: [0; LINE], len: 0 },
    };
}

impl Guest {
    /// Gives it work to begin with; what it had is forgotten.
    #[inline(never)]
    pub(crate) fn give(&mut self, work: Work) {
        self.unfinished.work = work;
        self.unfinished.stack = 0;
    }
}

impl Hypervisor {
    /// Does work for the loaded guest. Returns whether it is done; if not, the guest goes on
    /// after it, and the handler ends without touching what it works on; or right here, if what
    /// interrupted it is the express.
    #[inline(never)]
    pub(crate) fn work(&mut self, work: Work) -> bool {
        self.guest_called().give(work);
        // An interrupt that is pending would interrupt it at once.
        let done = !cp15::is_interrupted() && self.go_on();
        if done {
            self.finish();
        } else {
            // A notice that waited to be said is lost.
            self.guest_called().run = Run::Working;
            self.reschedule = true;
            // The handler has nothing more to do.
            self.try_express();
        }
        done
    }

    /// Goes on with the loaded guest's work, whose turn it is; when it is done, with what it was
    /// done for.
    pub(crate) fn work_on(&mut self) {
        if !self.go_on() {
            return;
        }
        match self.guest_called().run {
            Run::Restoring => self.begin(),
            Run::Ending(action) => {
                if matches!(self.guest_called().unfinished.work, Work::Say(_)) {
                    self.put_line();
                    self.guest_called().unfinished.work = Work::Nothing;
                    return;
                }
                self.follow(action);
            }
            _ => {
                self.guest_called().run = Run::Running;
                self.finish();
                self.give_way_called();
                // It may come back by a path that renews nothing.
                self.renew();
            }
        }
    }

    /// What follows work that is done.
    fn finish(&mut self) {
        let guest = self.guest_called();
        match guest.unfinished.work {
            Work::Resolve(_) => {
                guest.note_baked();
                if trap::open(core::mem::take(&mut guest.shadow.opens)) {
                    guest.enforces(guest.vcpu.cp15.dacr);
                }
                self.parted();
                let guest = self.guest_called();
                if let Some(pool) = guest.shadow.full.take() {
                    let vm = &guest.vm;
                    let limit = if pool == Pool::Sites { vm.sites } else { vm.shadow_tables };
                    self.notice(Notice::PoolFull { pool, limit });
                }
            }
            Work::Promote(site) => {
                let promoted = guest.unfinished.promoted;
                guest.promotion.tried(&mut guest.heat, site, promoted);
            }
            Work::Say(_) => self.put_line(),
            Work::Await(far) => self.answered(&far),
            _ => {}
        }
    }

    fn put_line(&mut self) {
        let Line { bytes, len } = &self.guests[self.loaded % MAX_VMS].unfinished.line;
        self.console.put_line(Channel(0), bytes.get(..*len).unwrap_or_default());
        // By the line's interrupt, not here, too.
        if let Some(platform) = &mut self.platform {
            platform.notify_sent(true);
        }
    }

    /// Goes on with the loaded guest's work until it is done or interrupted; whether it is done.
    fn go_on(&mut self) -> bool {
        let index = self.loaded % MAX_VMS;
        let guest: *mut Guest = &raw mut self.guests[index];
        let suspended = self.guests[index].unfinished.stack;
        let counters: *mut VmCounters = self.counters();
        let vectors = cp15::vector_base();
        // SAFETY: they handle every exception.
        unsafe { cp15::set_vector_base(entry::vectors_working as *const () as u32) };
        cp15::isb();
        let linear = Self::linear(&mut self.view);
        let left = if suspended == 0 {
            let top = STACKS.address() as u32 + (index as u32 + 1) * STACK_LEN as u32;
            // SAFETY: the stack is this guest's, which has no work begun; the view is linear.
            unsafe { begin(guest, counters, top) }
        } else {
            // SAFETY: where `begin` or `proceed` said that it left off; the view is linear.
            unsafe { proceed(suspended) }
        };
        drop(linear);
        self.guests[index].unfinished.stack = left;
        // SAFETY: as before.
        unsafe { cp15::set_vector_base(vectors) };
        cp15::isb();
        left == 0
    }
}

impl Said {
    /// Puts it into a line; a line that is full takes no more.
    fn say(self, line: &mut Line, vm: &str, end: End) {
        match self {
            Self::Report(action) => Report { vm, end, action }.say(line),
            Self::Notice(notice, before) => {
                say(line, "vm \"%\": ", &[Text(vm)]);
                notice.say(line);
                if before != 0 {
                    say(line, " (% more before)", &[Count(before)]);
                }
            }
        }
        say(line, "\r\n", &[]);
    }
}

/// The work itself, on its guest's stack.
extern "C" fn perform(guest: *mut Guest, counters: *mut VmCounters) {
    // SAFETY: `go_on` gives the loaded guest, and by the module's first invariant nobody uses
    // its shadow before this ends.
    let shadow = unsafe { &mut (*guest).shadow };
    // SAFETY: as above; nobody writes its system registers while it does not run.
    let cp15 = unsafe { &(*guest).vcpu.cp15 };
    // SAFETY: as above; it was written before work began.
    let work = unsafe { (*guest).unfinished.work };
    // SAFETY: `go_on` entered the linear view, and does so again whenever it goes on.
    let linear = &mut *unsafe { Linear::entered() };
    // SAFETY: as for the system registers.
    let siblings = unsafe { (*guest).siblings };
    if let Some(siblings) = siblings {
        // SAFETY: as above.
        let cpu = unsafe { (*guest).cpu };
        if !siblings::prepare(siblings, cpu, &work) {
            // SAFETY: as for the shadow.
            unsafe { (*guest).unfinished.resolved = Resolved::Later };
            return;
        }
    }
    match work {
        Work::Nothing => {}
        Work::Resolve(access) => {
            // SAFETY: those of the guest, which no handler of another touches.
            let counters = unsafe { &mut *counters };
            let resolved = resolve(shadow, linear, cp15, counters, access);
            // SAFETY: as for the shadow.
            unsafe { (*guest).unfinished.resolved = resolved };
        }
        Work::Scan(at, set) => code::scan(shadow, linear, at, set),
        Work::Store { at, bytes, value, entry } => {
            code::store(shadow, linear, at, bytes, value, entry);
        }
        Work::Open(at) => code::open(shadow, linear, at),
        Work::Close(only) => code::close(shadow, linear, only),
        Work::Drop(op) => {
            shadow.check_hole(linear, cp15);
            if let Some(op) = op {
                shadow.invalidate(linear, op);
            }
            if cp15.sctlr & 1 != 0 {
                shadow.activate_asid(linear, cp15.contextidr as u8);
            } else {
                shadow.activate_off(linear);
            }
        }
        Work::Promote(pc) => {
            let promoted = shadow.promote(linear, cp15, pc);
            // SAFETY: as for the shadow.
            unsafe { (*guest).unfinished.promoted = promoted };
        }
        Work::EnterFiq => shadow.enter_fiq(linear),
        Work::Await(_) => {}
        Work::TurnOn { hz } => {
            shadow.activate_off(linear);
            // SAFETY: as for the shadow; it is silent.
            unsafe { (*guest).reset(hz) };
        }
        Work::Restore { image, hz, clear } => {
            // SAFETY: nobody writes it after boot.
            let vm = unsafe { (*guest).vm };
            restore::restore(shadow, linear, &vm, image, clear);
            // SAFETY: as for the shadow; it does not run, and its board is silent.
            unsafe { (*guest).reset(hz) };
        }
        Work::Say(said) => {
            // SAFETY: as for the shadow.
            let Unfinished { line, end, .. } = unsafe { &mut (*guest).unfinished };
            // SAFETY: nobody writes it after boot.
            let name = unsafe { (*guest).vm.name };
            line.len = 0;
            said.say(line, hypervisor::name(&name), *end);
        }
    }
    if let Some(siblings) = siblings {
        siblings::conclude(siblings, shadow, &work);
    }
}

/// Counts where it happens: work may be interrupted, and who watches the memory of the counters
/// takes a write for an event.
#[inline(never)]
fn count(counter: &mut u32) {
    *counter = counter.wrapping_add(1);
}

/// Does for a failed access what is the shadow's business, and says what else it needs.
fn resolve(
    shadow: &mut Shadow,
    linear: &mut Linear<'_>,
    cp15: &Cp15,
    counters: &mut VmCounters,
    Access { address, attempt, privileged, set, pc }: Access,
) -> Resolved {
    let mut resolved = Resolved::Unchanged;
    for _ in 0..ATTEMPTS {
        resolved = shadow.resolve(linear, cp15, address, attempt, privileged);
        match resolved {
            Resolved::Filled => count(&mut counters.fills),
            Resolved::Unscanned(at) => {
                count(&mut counters.scanned);
                if !code::trust(shadow, linear, at, address, set) {
                    code::scan(shadow, linear, at, set);
                }
                continue;
            }
            Resolved::WritesCode(at) => {
                let memory = shadow.memory;
                let here = pc.and_then(|pc| memory.walk(linear, cp15, pc).ok());
                if here.is_none_or(|here| memory.page(here.gpa) != memory.page(at)) {
                    count(&mut counters.taken_back);
                    code::take_back(shadow, linear, at);
                    continue;
                }
            }
            _ => {}
        }
        break;
    }
    resolved
}

/// Performs a guest's work on the stack whose end is `top`, from a handler. Returns 0 when it
/// is done, else where to [`proceed`].
///
/// 1. Save what a call preserves and the stack; 2. perform, interruptible; 3. back.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn begin(guest: *mut Guest, counters: *mut VmCounters, top: u32) -> u32 {
    naked_asm!(
        // 1.
        "push {{r4-r11, lr}}",
        "ldr r3, ={core}",
        "str sp, [r3]",
        "mov sp, r2",
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
