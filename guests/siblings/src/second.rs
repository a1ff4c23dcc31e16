//! The second vCPU: begins, and does what the first asks for, one task after the other.

use crate::machine::{self, wait_for};
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use entresol_guest::abi::hypercall::{Function, psci};
use entresol_guest::{gic, hypercall, println, timer, trap};

/// What it does, with an argument; its answer is 0 where nothing else is said.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Task {
    None,
    /// Answers its MPIDR.
    Mpidr,
    /// Answers the targets of its own interrupts.
    Mask,
    /// Adds so many ones to [`COUNTER`].
    Count,
    /// Answers the word at an address.
    Load,
    /// Answers how many faults a load takes.
    Probe,
    /// Calls the code at an offset; its answer.
    Call,
    /// Calls it a hundred times; the sum.
    CallOften,
    /// Waits for a tick; how many came.
    Tick,
    /// Enables shared interrupts; which are.
    Distributor,
    /// Reads a register.
    Read,
    /// Prints a number.
    Print,
    /// Turns itself off.
    Off,
    /// Spins for ever.
    Spin,
    /// Asks for a reset.
    Reset,
    /// Runs where nothing is.
    Fault,
    /// Floods the first with software interrupts, the shadow with invalidations, the board with
    /// accesses: bits 0, 1, 2.
    Flood,
}

static TASK: AtomicU32 = AtomicU32::new(0);
static ARGUMENT: AtomicU32 = AtomicU32::new(0);
static ANSWER: AtomicU32 = AtomicU32::new(0);
static STOP: AtomicU32 = AtomicU32::new(0);
static READY: AtomicU32 = AtomicU32::new(0);

pub static COUNTER: AtomicU32 = AtomicU32::new(0);

const STACK_LEN: usize = 0x2000;

#[repr(C, align(8))]
struct Stack([u8; STACK_LEN]);

static mut STACK: Stack = Stack([0; STACK_LEN]);

/// Its first instruction, with [`psci`]'s context in `r0`.
///
/// # Safety
///
/// By `CPU_ON` only, one at a time.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub unsafe extern "C" fn begin() {
    naked_asm!(
        "ldr r1, ={stack}",
        "add sp, r1, #{len}",
        "add r2, r1, #0x800",
        "cps #0x12", // IRQ
        "mov sp, r2",
        "add r2, r2, #0x400",
        "cps #0x17", // Abort
        "mov sp, r2",
        "cps #0x13",
        "b {main}",
        ".ltorg",
        stack = sym STACK,
        len = const STACK_LEN,
        main = sym main,
    )
}

/// Turns it on, and waits until it is.
pub fn turn_on() {
    const CONTEXT: u32 = 0x1234_5678;
    READY.store(0, SeqCst);
    let entry = begin as *const () as u32;
    let result = hypercall::raw(Function::PsciCpuOn as u32, [0x8000_0001, entry, CONTEXT]);
    crate::expect("on", result, psci::SUCCESS);
    wait_for(|| READY.load(SeqCst) != 0);
    crate::expect("context", READY.load(SeqCst), CONTEXT);
}

/// Has it begin with a task.
pub fn send(task: Task, argument: u32) {
    ARGUMENT.store(argument, SeqCst);
    TASK.store(task as u32, SeqCst);
}

/// Its answer, when it is done.
pub fn answer() -> u32 {
    wait_for(|| TASK.load(SeqCst) == Task::None as u32);
    ANSWER.load(SeqCst)
}

/// Ends its flood, and turns it off.
pub fn stop() {
    STOP.store(1, SeqCst);
    answer();
    STOP.store(0, SeqCst);
    send(Task::Off, 0);
    wait_for(|| hypercall::call(Function::PsciAffinityInfo, 1) == 1);
}

/// Whether its flood is to end.
pub fn is_to_stop() -> bool {
    STOP.load(SeqCst) != 0
}

/// Both.
pub fn ask(task: Task, argument: u32) -> u32 {
    send(task, argument);
    match task {
        Task::Spin | Task::Reset | Task::Fault | Task::Flood => 0,
        _ => answer(),
    }
}

extern "C" fn main(context: u32) -> ! {
    machine::set_vectors();
    machine::enable();
    gic::init_interface();
    gic::enable(machine::TIMER);
    trap::unmask_interrupts();
    READY.store(context, SeqCst);
    loop {
        wait_for(|| TASK.load(SeqCst) != Task::None as u32);
        let argument = ARGUMENT.load(SeqCst);
        let answer = perform(TASK.load(SeqCst), argument);
        ANSWER.store(answer, SeqCst);
        TASK.store(Task::None as u32, SeqCst);
    }
}

fn perform(task: u32, argument: u32) -> u32 {
    let is = |other: Task| task == other as u32;
    if is(Task::Mpidr) {
        return machine::mpidr();
    } else if is(Task::Mask) {
        return machine::read(machine::GICD_ITARGETSR);
    } else if is(Task::Count) {
        for _ in 0..argument {
            COUNTER.fetch_add(1, SeqCst);
        }
    } else if is(Task::Load) || is(Task::Read) {
        return machine::load(argument);
    } else if is(Task::Probe) {
        return machine::probe(argument);
    } else if is(Task::Call) {
        return machine::call(argument as usize);
    } else if is(Task::CallOften) {
        return (0..100).map(|_| machine::call(argument as usize)).sum();
    } else if is(Task::Tick) {
        timer::arm(timer::now() + u64::from(timer::frequency() / 2000));
        wait_for(|| crate::TICKS[1].load(SeqCst) != 0);
        return crate::TICKS[1].load(SeqCst);
    } else if is(Task::Distributor) {
        machine::write(machine::GICD_ISENABLER + 4, 0x2c);
        return machine::read(machine::GICD_ISENABLER + 4);
    } else if is(Task::Print) {
        println!("second: {argument} is printed");
    } else if is(Task::Off) {
        TASK.store(Task::None as u32, SeqCst);
        let _ = hypercall::call(Function::PsciCpuOff, 0);
    } else if is(Task::Spin) {
        loop {
            core::hint::spin_loop();
        }
    } else if is(Task::Reset) {
        let _ = hypercall::call(Function::PsciSystemReset, 0);
    } else if is(Task::Fault) {
        // SAFETY: there is no way back, and none is expected.
        unsafe { core::arch::asm!("mcr p15, 0, {}, c1, c0, 0", "isb", in(reg) 0x00c5_0078) }
        // SAFETY: as above: nothing is there with the MMU off, not even vectors.
        unsafe {
            core::arch::asm!("mcr p15, 0, {}, c12, c0, 0", "mov pc, {}", in(reg) 0x1000, in(reg) 0x2000)
        }
    } else if is(Task::Flood) {
        crate::attack::flood(argument);
    }
    0
}
