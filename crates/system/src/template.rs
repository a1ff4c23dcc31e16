//! The manifest that `entresol new` writes: a start, with every key explained.
//!
//! This crate's tests read it back, so that the first manifest a user sees is right.

use crate::Machine;

/// A manifest for `machine` with one VM whose binary is `image`.
#[must_use]
pub fn manifest(machine: &str, image: &str) -> String {
    let machines: Vec<_> = Machine::shipped().collect();
    let machines = machines.join(", ");
    format!(
        r#"# A system for Entresol: a machine, and the virtual machines on it.
# Paths are relative to this file. `entresol check` judges it, `entresol run` runs it.

# One of {machines}; or the path of a description.
machine = {machine:?}

[[vm]]
name = "first"
# The guest's binary: ELF, zImage, Image, or raw (then `format`, `load`, `entry`).
image = {image:?}
# A whole number of MiB. The guest sees it at 0x40000000.
memory = "64M"

# What follows shows the other keys; all are optional.

# The initial RAM file system and command line, for Linux.
# initrd = "initrd.cpio"
# cmdline = "console=ttyAMA0"

# 0 (least urgent) to 31; default 1.
# priority = 1

# Devices of the virtual board; default all.
# devices = ["uart", "rtc"]

# Devices of the machine, given to this VM alone.
# passthrough = ["uart1"]

# After a fault: "stop" (default), "restart" or "reset-machine".
# on-fault = "restart"
# restarts = 3

# Whether it starts with the system; default true.
# autostart = true

# What becomes of instructions that trap: they are promoted to stubs when they trap often
# ("adaptive", default) or once ("eager"), or trap always ("trap").
# rewrite = "trap"

# What keeps its kernel from its applications: a table for each ("tables", default), or one
# table with domains where that is possible ("auto").
# protection = "auto"

# What its counters and timers count: real time ("physical", default), real time with missed
# ticks one by one ("catch-up"), or only the time it is not kept from running ("virtual").
# time = "virtual"

# A compiled device tree, merged into the generated one.
# device-tree = "extra.dtb"

# Sizes of the hypervisor's pools for this VM.
# [vm.limits]
# view-pairs = 16
# shadow-tables = 640
# sites = 16384
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{manifest::Manifest, problem};

    #[test]
    fn every_key_of_the_template_is_one_that_the_manifest_has() {
        let text = manifest("vexpress-a9", "guest.elf");
        let source = problem::source("new.toml", &text);
        problem::parse::<Manifest>(&source, &text).unwrap();
        // The same with all examples taken in.
        let all: String = text
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|line| is_toml(line)).unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let parsed: Manifest = problem::parse(&source, &all).unwrap();
        assert_eq!(parsed.vm[0].get_ref().limits.sites.as_ref().map(|n| *n.get_ref()), Some(16384));
        assert!(parsed.vm[0].get_ref().restarts.is_some());
    }

    fn is_toml(line: &str) -> bool {
        line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
    }
}
