//! The hypervisor binary: what it starts from, and the machine it runs on.
//!
//! The first instructions are `armv7a`'s; they end in [`kernel_main`] here, in the window
//! with the MMU on. From then on only traps and interrupts.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![allow(clippy::as_conversions, reason = "addresses are 32 bits here")]

#[cfg(target_os = "none")]
mod machine;

#[cfg(target_os = "none")]
mod start {
    use crate::machine::Machine;
    use core::panic::PanicInfo;
    use entresol_abi::HostPhys;
    use entresol_abi::image::{Header, Range, Vm, table};
    use entresol_abi::note::AbiNote;
    use entresol_armv7a::boot::Window;
    use entresol_armv7a::{Setup, Wires, halt, start};

    /// For the tool, which refuses a hypervisor of another version.
    #[used]
    #[unsafe(link_section = ".note.entresol")]
    static NOTE: AbiNote = AbiNote::OURS;

    unsafe extern "C" {
        /// One past the core's stack.
        static __stack_top: u8;
    }

    /// Continues in the window, on each core. `load` is where the binary lies; the image's
    /// tables lie `tables` bytes behind that.
    #[unsafe(no_mangle)]
    extern "C" fn kernel_main(load: u32, core: u32, tables: u32) -> ! {
        // SAFETY: called once on a core, by the entry code, with what it found.
        let mut boot = unsafe { Window::take(load, core) };
        let at = HostPhys(load + tables);
        // SAFETY: the entry code maps the megabyte the tables start in; nothing writes to it.
        let head = unsafe { boot.image(at, 0x10_0000) };
        let Ok(header) = Header::read(head) else { halt() };
        let vms = table::<Vm>(head, header.vms).unwrap_or(&[]);
        let mut cores = 1;
        for vm in vms {
            cores = header.machine.cores.min(vm.core.max(vm.second_core) + 1).max(cores);
        }
        if core == 0 {
            // SAFETY: nothing but zeros was changed yet.
            unsafe { boot.prepare_cores(cores) };
        }
        let ram = table::<Range>(head, header.ram).unwrap_or(&[]);
        boot.finish(ram);
        // SAFETY: all memory is mapped now, and nothing writes to the image.
        let image = unsafe { boot.image(at, header.image_len) };
        let Some(machine) = Machine::take(&mut boot, load, core, &header.machine) else { halt() };
        let timer = match header.machine.timer {
            1 => boot.device(header.machine.timer_base),
            _ => Some(core::ptr::null_mut()),
        };
        let (Some(timer), Some(interrupts)) = (timer, boot.device(header.machine.gic_cpu)) else {
            halt()
        };
        let wires = Wires { interrupts, timer, timer_irq: header.machine.timer_irq };
        start(Setup {
            image,
            load: HostPhys(load),
            image_at: at,
            platform: machine,
            wires,
            window: boot.entry(),
            core,
            cores,
            stack: (&raw const __stack_top) as u32,
        })
    }

    #[panic_handler]
    fn panic(_: &PanicInfo<'_>) -> ! {
        halt()
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("This is the hypervisor; build it for armv7a-none-eabi (cargo xtask build).");
}
