//! QEMU's TCG plugin API, version 1: the dozen functions the instrument calls.
//!
//! Declared by hand because Debian's QEMU loads plugins but ships no header. Not here: the
//! rest of the API, and any policy.
//!
//! # Invariants
//!
//! Signatures are those of `qemu-plugin.h` of QEMU 7.2 (API version 1). `Tb` and `Insn`
//! are valid only inside the translation callback that received them; the safe wrappers
//! below can be called from there only, which is why [`Tb`] is handed out by
//! [`on_translation`] alone.

use core::ffi::{c_char, c_int, c_uint, c_void};

/// The API version this instrument was declared for.
pub(crate) const API_VERSION: c_int = 1;

/// No register is read or written by a callback.
const NO_REGISTERS: c_int = 0;
/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const ADD_U64: c_int = 0;
/// `QEMU_PLUGIN_MEM_RW`: QEMU 7.2 calls nothing for `QEMU_PLUGIN_MEM_R` alone.
const MEMORY: c_int = 3;
/// `QEMU_PLUGIN_MEM_W`.
const STORES: c_int = 2;

/// Called before an instruction, with the number given at registration.
pub(crate) type Execute = extern "C" fn(vcpu: c_uint, number: usize);
/// Called after a memory access, with its virtual address.
pub(crate) type Access = extern "C" fn(vcpu: c_uint, info: u32, address: u64, number: usize);

type Translation = extern "C" fn(id: u64, tb: *mut RawTb);
type AtExit = extern "C" fn(id: u64, number: usize);

/// A translation block under construction.
#[repr(C)]
pub(crate) struct RawTb {
    _opaque: [u8; 0],
}

#[repr(C)]
struct RawInsn {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    /// The C library's.
    fn _exit(status: c_int) -> !;
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, call: Translation);
    fn qemu_plugin_register_atexit_cb(id: u64, call: AtExit, number: usize);
    fn qemu_plugin_tb_n_insns(tb: *const RawTb) -> usize;
    fn qemu_plugin_tb_get_insn(tb: *const RawTb, index: usize) -> *mut RawInsn;
    fn qemu_plugin_insn_vaddr(insn: *const RawInsn) -> u64;
    fn qemu_plugin_insn_size(insn: *const RawInsn) -> usize;
    fn qemu_plugin_insn_data(insn: *const RawInsn) -> *const c_void;
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        insn: *mut RawInsn,
        call: Execute,
        registers: c_int,
        number: usize,
    );
    fn qemu_plugin_register_vcpu_insn_exec_inline(
        insn: *mut RawInsn,
        operation: c_int,
        counter: *mut c_void,
        amount: u64,
    );
    fn qemu_plugin_register_vcpu_mem_cb(
        insn: *mut RawInsn,
        call: Access,
        registers: c_int,
        kind: c_int,
        number: usize,
    );
}

/// One instruction being translated.
#[derive(Clone, Copy)]
pub(crate) struct Insn(*mut RawInsn);

impl Insn {
    /// Virtual address.
    pub(crate) fn address(self) -> u64 {
        // SAFETY: `Insn` comes from `instructions` only, inside the translation callback.
        unsafe { qemu_plugin_insn_vaddr(self.0) }
    }

    /// The four bytes of a 32-bit instruction, little endian; none for a 16-bit one.
    pub(crate) fn word(self) -> Option<u32> {
        // SAFETY: as in `address`.
        let size = unsafe { qemu_plugin_insn_size(self.0) };
        if size != 4 {
            return None;
        }
        // SAFETY: as in `address`.
        let bytes = unsafe { qemu_plugin_insn_data(self.0) };
        // SAFETY: QEMU keeps `size` bytes behind the pointer for the length of the callback.
        let word = unsafe { bytes.cast::<[u8; 4]>().read() };
        Some(u32::from_le_bytes(word))
    }

    /// The halfword of a 16-bit instruction.
    pub(crate) fn half(self) -> Option<u16> {
        // SAFETY: as in `address`.
        let size = unsafe { qemu_plugin_insn_size(self.0) };
        if size != 2 {
            return None;
        }
        // SAFETY: as in `address`.
        let bytes = unsafe { qemu_plugin_insn_data(self.0) };
        // SAFETY: as in `word`.
        let half = unsafe { bytes.cast::<[u8; 2]>().read() };
        Some(u16::from_le_bytes(half))
    }

    /// Calls `call(_, number)` each time before the instruction executes.
    pub(crate) fn on_execute(self, call: Execute, number: usize) {
        // SAFETY: as in `address`; the callback is a plain function that lives for ever.
        unsafe { qemu_plugin_register_vcpu_insn_exec_cb(self.0, call, NO_REGISTERS, number) };
    }

    /// Calls `call` after each access to memory by the instruction.
    pub(crate) fn on_access(self, call: Access) {
        // SAFETY: as in `on_execute`.
        unsafe { qemu_plugin_register_vcpu_mem_cb(self.0, call, NO_REGISTERS, MEMORY, 0) };
    }

    /// Calls `call` after each store by the instruction.
    pub(crate) fn on_store(self, call: Access) {
        // SAFETY: as in `on_execute`.
        unsafe { qemu_plugin_register_vcpu_mem_cb(self.0, call, NO_REGISTERS, STORES, 0) };
    }

    /// Adds one to `counter` each time the instruction executes.
    pub(crate) fn count(self, counter: &'static core::sync::atomic::AtomicU64) {
        let counter = counter.as_ptr().cast();
        // SAFETY: the counter is static; under icount one thread executes all cores.
        unsafe { qemu_plugin_register_vcpu_insn_exec_inline(self.0, ADD_U64, counter, 1) };
    }
}

/// The instructions of a translation block.
pub(crate) fn instructions(tb: &RawTb) -> impl Iterator<Item = Insn> + '_ {
    // SAFETY: `tb` is the block that QEMU lent to the translation callback.
    let count = unsafe { qemu_plugin_tb_n_insns(tb) };
    // SAFETY: the index is below the count that QEMU reported.
    (0..count).map(move |index| Insn(unsafe { qemu_plugin_tb_get_insn(tb, index) }))
}

/// Registers the two entry points of the instrument.
pub(crate) fn register(id: u64, translation: Translation, exit: AtExit) {
    // SAFETY: `id` is the one QEMU passed at installation, the callbacks live for ever.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translation) };
    // SAFETY: as above.
    unsafe { qemu_plugin_register_atexit_cb(id, exit, 0) };
}

/// Ends QEMU as it stands.
pub(crate) fn exit() -> ! {
    // SAFETY: nothing is cleaned up, so nothing is called again, this plugin neither.
    unsafe { _exit(0) }
}

/// Copies the plugin's arguments, each `key=value`.
///
/// # Safety
///
/// `argv` points to `argc` C strings, as `qemu_plugin_install` promises.
pub(crate) unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<String> {
    let count = usize::try_from(argc).unwrap_or(0);
    (0..count)
        .map(|index| {
            // SAFETY: the caller promises `argc` pointers.
            let slot = unsafe { argv.add(index) };
            // SAFETY: as above.
            let text = unsafe { slot.read() };
            // SAFETY: as above, each to a terminated string.
            let text = unsafe { core::ffi::CStr::from_ptr(text) };
            text.to_string_lossy().into_owned()
        })
        .collect()
}
