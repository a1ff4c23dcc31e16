//! Reading, writing and executing what is not the VM's.
//!
//! Every combination of where, how, from which privilege, and by which translation is an attack
//! of its own. Where other VMs lie is guessed: the first megabytes of the memory of
//! every machine there is.

use crate::arena::{self, CODE, KERNEL, SVC, UNDEFINED, UNDEFINED_PAGE, USR};
use core::fmt;
use core::ptr;
use entresol_guest::sandbox::vector;
use entresol_guest::translation::{Access as Permission, Level2};
use entresol_guest::{board, cp15, print};

/// Addresses to attack, named.
const TARGETS: [(&str, u32); 20] = [
    ("window", 0xffb0_0000),
    ("window_inside", 0xffb0_8000),
    ("window_devices", 0xffbe_0000),
    ("window_last", 0xffbf_fffc),
    ("machine_ram_0", 0x0000_0000),
    ("machine_ram_1", 0x0010_0000),
    ("machine_ram_8", 0x0080_0000),
    ("virt_ram_next", 0x4400_0000),
    ("virt_ram_far", 0x4800_0000),
    ("vexpress_ram", 0x6000_0000),
    ("vexpress_ram_1", 0x6010_0000),
    ("vexpress_ram_64", 0x6400_0000),
    ("vexpress_uart", 0x1000_9000),
    ("vexpress_gic", 0x1e00_0100),
    ("zynq_uart", 0xe000_0000),
    ("zynq_gic", 0xf8f0_0100),
    ("nothing", 0x2000_0000),
    ("below_memory", 0x3fff_f000),
    // With 1 MiB of its own: what would be the next VM's, and the one's after.
    ("above_memory", 0x4010_0000),
    ("above_memory_2", 0x4030_0000),
];

#[derive(Clone, Copy, Debug)]
enum How {
    Read,
    Write,
    Execute,
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Kernel,
    Application,
}

/// What the address is.
#[derive(Clone, Copy, Debug)]
enum By {
    /// Physical: the MMU is off.
    Physical,
    /// Virtual, and mapped to the VM's own memory.
    Virtual,
    /// Physical behind a mapping that the guest forged.
    Forged,
}

const HOW: [How; 3] = [How::Read, How::Write, How::Execute];
const WHO: [Who; 2] = [Who::Kernel, Who::Application];
const BY: [By; 3] = [By::Physical, By::Virtual, By::Forged];

/// How many attacks there are.
pub(crate) const COUNT: usize = TARGETS.len() * HOW.len() * WHO.len() * BY.len();

/// Maps a page of the VM's own memory where that is not allowed.
static mut VIRTUAL: Level2 = Level2::new();

/// Where a forged mapping is.
const FORGED: u32 = 0x3000_0000;

/// One attack.
pub(crate) struct Attack {
    name: &'static str,
    target: u32,
    how: How,
    who: Who,
    by: By,
}

impl Attack {
    /// The attack with this number, below [`COUNT`].
    pub(crate) fn new(number: usize) -> Self {
        let (how, rest) = (number % HOW.len(), number / HOW.len());
        let (who, rest) = (rest % WHO.len(), rest / WHO.len());
        let (by, target) = (rest % BY.len(), rest / BY.len());
        let (name, target) = TARGETS[target % TARGETS.len()];
        Self { name, target, how: HOW[how], who: WHO[who], by: BY[by] }
    }

    /// Makes it, and prints what came of it.
    pub(crate) fn make(&self) {
        arena::prepare();
        let megabyte = self.target as usize & !0xf_ffff;
        let address = match self.by {
            By::Physical => self.target,
            By::Virtual => {
                let own = Permission { ap: 0b011, ..Permission::KERNEL };
                // SAFETY: one attack at a time.
                let pages = unsafe { &mut *ptr::addr_of_mut!(VIRTUAL) };
                pages.page(self.target as usize, UNDEFINED_PAGE, own);
                arena::with_table(|table| table.table(megabyte, pages, 0));
                arena::mmu_on();
                self.target
            }
            By::Forged => {
                let any = Permission { ap: 0b011, ..Permission::KERNEL };
                arena::with_table(|table| table.section(FORGED as usize, megabyte, any));
                arena::mmu_on();
                FORGED | (self.target & 0xf_ffff)
            }
        };
        attempt(self.how, self.who, address);
        arena::mmu_off();
        arena::with_table(|table| {
            table.set(megabyte, 0);
            table.set(FORGED as usize, 0);
        });
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{:?}_{:?}_{:?}", self.name, self.who, self.how, self.by)
    }
}

fn attempt(how: How, who: Who, address: u32) {
    let word = match how {
        How::Read => 0xe597_0000,    // ldr r0, [r7]
        How::Write => 0xe587_1000,   // str r1, [r7]
        How::Execute => 0xe12f_ff17, // bx r7
    };
    arena::put(CODE, word);
    arena::put(CODE + 4, UNDEFINED);
    cp15::code_written(CODE, 8);
    let mode = match who {
        Who::Kernel => SVC,
        Who::Application => USR,
    };
    let mut state = arena::state(mode, CODE);
    state.r[7] = address;
    let found = arena::run(&state);
    let ended = found.vector == vector::UNDEFINED && found.pc == CODE as u32 + 8;
    match how {
        How::Read if ended => print!("read {:08x}", found.r[0]),
        How::Write if ended => print!("written"),
        _ => arena::print_end(&found),
    }
}

/// The application reads, writes and executes its own kernel's memory.
pub(crate) fn application_against_kernel() {
    arena::prepare();
    arena::mmu_on();
    for how in HOW {
        for address in [KERNEL as u32, board::MEMORY as u32 + 0x8000] {
            attempt(how, Who::Application, address);
            print!("; ");
        }
    }
    arena::mmu_off();
}
