//! Which cores run a VM, and what a VM with two vCPUs cannot have.

use super::Checks;
use crate::{
    machine::Machine,
    manifest::{Protection, Rewrite, Time, Vm},
};
use std::ops::Range;

impl Checks<'_> {
    /// The cores of a VM's vCPUs; twice the same if it has one.
    pub(super) fn cores(&mut self, vm: &Vm, machine: &Machine) -> [u32; 2] {
        let Some(cores) = &vm.cores else {
            let Some(core) = &vm.core else { return [0; 2] };
            return [self.core(*core.get_ref(), core.span(), machine); 2];
        };
        if let Some(core) = &vm.core {
            let message = "`core` and `cores` are both given";
            let help = "`core` is for one vCPU, `cores` for two: remove one of them";
            self.clash("cores::twice", core.span(), cores.span(), message, help);
        }
        let there: Vec<u32> =
            cores.get_ref().iter().map(|core| self.core(*core, cores.span(), machine)).collect();
        match *there {
            [core] => [core; 2],
            [core, second] if core != second => {
                self.fits_two(vm);
                [core, second]
            }
            _ => {
                let message = "a VM has one vCPU, or two on different cores";
                let help = "list one core or two: [0, 1]";
                self.wrong("cores::number", cores.span(), "these cores", message, help);
                [0; 2]
            }
        }
    }

    fn core(&mut self, core: u32, span: Range<usize>, machine: &Machine) -> u32 {
        if core < machine.cores {
            return core;
        }
        let message = format!("{} has no core {core}", machine.name);
        let help = match machine.cores {
            1 => "it has one core: leave `core` out".to_owned(),
            cores => format!("use 0 to {}", cores - 1),
        };
        self.wrong("manifest::core", span, "this core", message, help);
        0
    }

    /// Refuses what needs all of a VM on one core.
    fn fits_two(&mut self, vm: &Vm) {
        if let Some(rewrite) = &vm.rewrite
            && *rewrite.get_ref() != Rewrite::Trap
        {
            let message = "instructions of a VM with two vCPUs are not promoted";
            let help = "write \"trap\", which is the default for it";
            self.wrong("cores::rewrite", rewrite.span(), "this policy", message, help);
        }
        if let Some(protection) = &vm.protection
            && *protection.get_ref() != Protection::Tables
        {
            let message = "a VM with two vCPUs has two tables for each address space";
            let help = "write \"tables\", which is the default";
            self.wrong("cores::protection", protection.span(), "this", message, help);
        }
        if let Some(time) = &vm.time
            && *time.get_ref() == Time::Virtual
        {
            let message = "the clocks of two vCPUs would differ";
            let help = "use \"physical\" or \"catch-up\"";
            self.wrong("cores::time", time.span(), "this time", message, help);
        }
    }
}
