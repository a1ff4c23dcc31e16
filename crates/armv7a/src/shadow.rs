//! Shadow tables: a software TLB, what the real tables hold of a guest's own.
//!
//! Filled on a fault by walking the guest's tables, dropped when the guest
//! invalidates its TLB. A guest must invalidate before it relies on a change, so its
//! tables need no write protection. Not here: what a page of code needs
//! ([`code`](crate::code)) and what to do about a fault ([`trap`](crate::trap)).
//!
//! # Why this shape
//!
//! As a TLB, shadow tables are tagged by the guest's ASID and by nothing else: one
//! [`Pair`] of first-level tables for each ASID lately used, one for what the guest's
//! kernel may touch and one for its application. Pair 0 is for the MMU turned off.
//! Second-level tables that hold global mappings are shared by all pairs; they are found
//! by the guest's first-level descriptor they were filled from, so a new address space
//! takes one fault for a megabyte of the kernel, not one for a page.
//!
//! Of a VM with two vCPUs each has a shadow on its core. Whoever drops something drops it from
//! both, on all cores' TLBs, so nobody has to ask the other.
//!
//! With [`Joint`] both are one table, told apart by domains.
//!
//! # Invariants
//!
//! - A page of code ([`Pages`](crate::pages)) is never writable in any view unless it is
//!   open, and what is no page of code is not executable in the kernel view.
//! - For each page, its record names its one *critical* mapping (writable for data,
//!   kernel-executable for code), or says there may be many.
//! - A megabyte that holds code is not mapped as a section.
//! - The window's entry is the same in each first-level table.
//! - Every pool is bounded; when one is full, what was used longest ago is dropped.
//!
//! Manual: ARM DDI 0406C, B3.5 and B3.10.

mod drop;
mod fill;
mod joint;
mod views;

use crate::linear::{Linear, PoolArray};
use crate::maintenance::View;
use crate::memory::GuestMemory;
use crate::pages::Pages;
use crate::passthrough::Passthroughs;
use crate::pools::Pools;
use crate::stubs::Stubs;
use crate::tables::Tables;
use crate::translation::WALK_ATTRIBUTES;
use core::mem::offset_of;
use entresol_abi::{GuestPhys, HostPhys, window};
use entresol_hv::health::Pool;
use entresol_vcpu::WalkFault;
use joint::Joint;

/// Most pairs of one VM.
pub(crate) const MAX_PAIRS: usize = 17;

/// A pair's place in an array of all, without a check that could fail and without a division.
fn place(pair: u8) -> usize {
    usize::from(pair).min(MAX_PAIRS - 1)
}

/// The same for a root.
fn root_place(root: u32) -> usize {
    (root as usize).min(2 * MAX_PAIRS - 1)
}

/// First-level entries that are cleared together.
const PIECE: u32 = 64;

/// A set of such pieces of a table.
type Pieces = [u32; 2];

/// First-level entry of the window.
const WINDOW: u32 = window::BASE >> 20;
const _: () = assert!(window::END - window::BASE == 1 << 20);

/// SCTLR.M.
const SCTLR_M: u32 = 1;
/// SCTLR.AFE.
const SCTLR_AFE: u32 = 1 << 29;

/// Bytes of a first-level table.
const ROOT_LEN: u32 = 0x4000;

// What the fast path of a process switch must know: offsets in [`Shadow`] and in a [`Pair`].
pub(crate) const PAIR_OF: usize = offset_of!(Shadow, pair_of);
pub(crate) const PAIRS: usize = offset_of!(Shadow, pairs);
pub(crate) const PAIR: usize = size_of::<Pair>();
pub(crate) const PAIR_STALE: usize = offset_of!(Pair, stale);
pub(crate) const PAIR_USED: usize = offset_of!(Pair, used);
pub(crate) const PAIR_PRIVATE: usize = offset_of!(Pair, private);
pub(crate) const HOLE: usize = offset_of!(Shadow, stubs) + Stubs::HOLE;
pub(crate) const TABLES: usize = offset_of!(Shadow, tables);
pub(crate) const CURRENT: usize = offset_of!(Shadow, current);
pub(crate) const TOUCHED: usize = offset_of!(Shadow, touched);
pub(crate) const PRIVATE_PIECES: usize = offset_of!(Shadow, private_pieces);
pub(crate) const HOLDERS: usize = offset_of!(Shadow, holders);
pub(crate) const SCATTERED: usize = offset_of!(Shadow, scattered);
pub(crate) const CLOCK: usize = offset_of!(Shadow, clock);
pub(crate) const ROOTS: usize = offset_of!(Shadow, roots) + PoolArray::<ROOT_LEN>::BASE;
pub(crate) const FIRST_ASID: usize = offset_of!(Shadow, first_asid);

/// Which of the two views of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// What the guest's PL1 may touch.
    Kernel,
    /// What the guest's PL0 may touch.
    Application,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Kernel, Self::Application];

    pub(crate) const fn of(privileged: bool) -> Self {
        if privileged { Self::Kernel } else { Self::Application }
    }
}

/// What a guest tried at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Load.
    Read,
    /// Store.
    Write,
    /// Fetch an instruction; `thumb` if in T32 state.
    Fetch,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// The shadow has an entry now: try again.
    Filled,
    /// The shadow had just this entry.
    Unchanged,
    /// The guest's own tables forbid it.
    Fault(WalkFault),
    /// It reaches this address of the virtual board, which is not memory.
    Board(GuestPhys),
    /// It wrote to a page of code, which is to be made data first.
    WritesCode(GuestPhys),
    /// Not known: the guest tries again when it goes on, which is not at once.
    Later,
    /// It fetched from a page that was not scanned.
    Unscanned(GuestPhys),
    /// It lies in the window.
    Window,
}

/// Shadow entries of one guest ASID.
#[derive(Clone, Copy, Debug)]
struct Pair {
    /// Guest ASID.
    asid: u8,
    /// Holds something.
    live: bool,
    /// All its tables were freed; clear before use.
    stale: bool,
    /// Holds sections that are not global.
    private_entries: bool,
    /// First of its private second-level tables, a table number plus 1.
    private: u16,
    /// When it was last current.
    used: u32,
}

/// The shadow of one VM.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) memory: GuestMemory,
    /// Code that was rewritten ahead of time: `abi::image::Rewritten`, in the image.
    pub(crate) rewritten: PoolArray<16>,
    /// Machine devices the guest may touch: guest page range to host.
    pub(crate) passthrough: Passthroughs,
    pub(crate) pages: Pages,
    pub(crate) stubs: Stubs,
    tables: Tables,
    pairs: [Pair; MAX_PAIRS],
    pair_count: u8,
    /// Bit *n*: pair *n* may hold what others do not.
    holders: u32,
    /// Pair of each guest ASID plus 1, 0 for none.
    pair_of: [u8; 256],
    roots: PoolArray<ROOT_LEN>,
    /// The entry [`WINDOW`].
    window: u32,
    /// ASID of the first root; the others follow.
    first_asid: u32,
    /// Pair that is current.
    current: u8,
    clock: u32,
    /// Domains (two bits each) whose DACR field was baked into entries.
    pub(crate) baked_domains: u32,
    /// A pool that was found full for the first time since the start, to be told.
    pub(crate) full: Option<Pool>,
    /// Pools that were told of already: second-level tables, sites.
    told: [bool; 2],
    /// Times everything was dropped.
    pub(crate) flushes: u32,
    /// The guest's kernel runs T32 code: its pages are scanned for both instruction sets.
    pub(crate) mixed: bool,
    /// Megabytes with global mappings in entries of one pair: sections, and pages in tables that
    /// are not shared.
    scattered: [u32; 128],
    /// By root: which pieces of [`PIECE`] first-level entries may hold any.
    touched: [Pieces; 2 * MAX_PAIRS],
    /// Pieces in which a kernel view may hold what is not global; what is in the others may be in
    /// every pair.
    private_pieces: Pieces,
    /// Pages that are open; see [`Pages`].
    pub(crate) open: [Option<u32>; 4],
    /// How many these are, for the fast paths.
    pub(crate) opened: u32,
    /// Whether one table serves both levels.
    pub(crate) joint: Joint,
    /// What a fetch needs open in DACR besides.
    pub(crate) opens: u32,
    /// The shadow of the VM's other vCPU, in the linear view; null if there is none.
    pub(crate) peer: *mut Self,
}

impl Shadow {
    pub(crate) const EMPTY: Self = Self {
        memory: GuestMemory::EMPTY,
        rewritten: PoolArray::EMPTY,
        passthrough: Passthroughs::EMPTY,
        pages: Pages::EMPTY,
        stubs: Stubs::EMPTY,
        tables: Tables::EMPTY,
        pairs: [Pair {
            asid: 0,
            live: false,
            stale: true,
            private_entries: false,
            private: 0,
            used: 0,
        }; MAX_PAIRS],
        pair_count: 0,
        holders: 0,
        pair_of: [0; 256],
        roots: PoolArray::EMPTY,
        window: 0,
        first_asid: 0,
        current: 0,
        clock: 0,
        baked_domains: 0,
        full: None,
        told: [false; 2],
        flushes: 0,
        mixed: false,
        scattered: [0; 128],
        touched: [[!0; 2]; 2 * MAX_PAIRS],
        private_pieces: [0; 2],
        open: [None; 4],
        opened: 0,
        joint: Joint::OFF,
        opens: 0,
        peer: core::ptr::null_mut(),
    };

    /// Takes the pools of a VM: `pairs` pairs and `tables` second-level tables at `pool`,
    /// laid out as `abi::image::pool_bytes` counts. `window` is the entry of the window.
    pub(crate) fn set_up(
        &mut self,
        linear: &mut Linear<'_>,
        pools: Pools,
        memory: GuestMemory,
        window: u32,
    ) {
        let pairs = pools.pairs.min(MAX_PAIRS as u32);
        self.memory = memory;
        self.pair_count = pairs as u8;
        self.first_asid = pools.first_asid;
        self.roots = PoolArray::new(pools.base, pairs * 2);
        self.window = window;
        self.tables.set_up(pools.tables_at, pools.tables);
        self.pages.set_up(pools.pages_at, memory.pages(), pools.sites_at, pools.sites);
        self.reset(linear);
    }

    /// Drops everything, as at a start of the VM.
    pub(crate) fn reset(&mut self, linear: &mut Linear<'_>) {
        self.mixed = false;
        self.open = [None; 4];
        self.opened = 0;
        self.stubs.reset(linear);
        // The roots of the current pair are cleared: only those of one.
        self.current = 0;
        self.joint.reset();
        self.drop_own(linear);
        self.pages.forget_mappings();
        for asid in &mut self.pair_of {
            *asid = 0;
        }
        self.full = None;
        self.told = [false; 2];
        for pair in &mut self.pairs {
            pair.live = false;
        }
        self.activate_off(linear);
    }

    /// Names the shadow of the VM's other vCPU, in the linear view.
    pub(crate) const fn set_peer(&mut self, peer: *mut Self) {
        self.peer = peer;
        self.tables.fill_by_handlers();
    }

    /// The shadow of the VM's other vCPU. Each has views of its own, because the window is another
    /// on each core; what is known of pages is one ([`Shadow::share`]).
    #[inline]
    pub(crate) fn peer(&self) -> Option<&'static mut Self> {
        // SAFETY: null or set by `set_up`; work is the only user, in the linear view, with the lock
        // of the VM's siblings, which makes it one of the two vCPUs' at a time.
        unsafe { self.peer.as_mut() }
    }

    /// Lets the other vCPU know what was learned of pages, before it gets the lock.
    pub(crate) fn share(&self) {
        if let Some(peer) = self.peer() {
            peer.pages = self.pages;
            peer.open = self.open;
            peer.opened = self.opened;
            peer.mixed = self.mixed;
        }
    }

    /// Counts the open pages.
    pub(crate) fn count_open(&mut self) {
        self.opened = self.open.iter().flatten().fold(0, |count, _| count + 1);
    }

    /// Notes that a pool is full and its oldest entries are recycled.
    pub(crate) fn found_full(&mut self, pool: Pool) {
        let [tables, sites] = &mut self.told;
        let told = if pool == Pool::Sites { sites } else { tables };
        if !core::mem::replace(told, true) {
            self.full = Some(pool);
        }
    }

    /// The view of the current pair for a privilege.
    #[inline]
    pub(crate) fn view(&self, side: Side) -> View {
        let root = self.root(self.current, side);
        View { base: self.roots.at(root).0 | WALK_ATTRIBUTES, asid: self.first_asid + root }
    }

    /// The root for a side of a pair: one for both where it is one table.
    #[inline]
    fn root(&self, pair: u8, side: Side) -> u32 {
        let side = if self.joint.on && pair != 0 { Side::Kernel } else { side };
        u32::from(pair) * 2 + side as u32
    }

    /// Address of the first-level entry of a megabyte.
    #[inline]
    fn first_level(&self, pair: u8, side: Side, index: u32) -> HostPhys {
        HostPhys(self.roots.at(self.root(pair, side)).0 + index * 4)
    }
}
