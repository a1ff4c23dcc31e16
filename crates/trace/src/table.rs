//! A profile as tables for people.

use crate::profile::{Profile, Sum, Vm};
use std::fmt::{self, Display, Formatter};

/// Shows a profile with this many sites of each VM.
pub struct Table<'a> {
    /// The profile.
    pub profile: &'a Profile,
    /// Most sites of each VM.
    pub top: usize,
}

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Profile { machine, instructions, hypervisor, of_no_vm, vms, .. } = self.profile;
        writeln!(f, "{machine}: {} instructions", grouped(*instructions))?;
        write!(
            f,
            "  in the hypervisor {} ({}",
            grouped(*hypervisor),
            share(*hypervisor, *instructions)
        )?;
        write!(f, "), of these {} for no VM", grouped(*of_no_vm))?;
        for vm in vms {
            write!(f, "\n\n")?;
            self.vm(vm, f)?;
        }
        Ok(())
    }
}

impl Table<'_> {
    fn vm(&self, vm: &Vm, f: &mut Formatter<'_>) -> fmt::Result {
        let Vm { name, sum, causes, sites, .. } = vm;
        write!(f, "vm \"{name}\": {} traps, ", grouped(sum.traps))?;
        writeln!(f, "{} instructions in the hypervisor", grouped(sum.instructions))?;
        write!(
            f,
            "\n  {:>11} {:>13} {:>8} {:>6}  cause",
            "traps", "instructions", "each", "share"
        )?;
        for line in causes {
            write!(f, "\n  {}  {}", numbers(&line.sum, sum), line.cause.text())?;
        }
        if sites.is_empty() {
            return Ok(());
        }
        let shown = sites.len().min(self.top);
        write!(f, "\n\n  The costliest {shown} of {} sites:\n", sites.len())?;
        write!(f, "\n  {:>11} {:>13} {:>8} {:>6}  site", "traps", "instructions", "each", "share")?;
        for site in sites.iter().take(self.top) {
            write!(f, "\n  {}  {:#010x} ", numbers(&site.sum, sum), site.address)?;
            if let (Some(symbol), Some(offset)) = (&site.symbol, site.offset) {
                write!(f, "{symbol}+{offset:#x} ")?;
            }
            write!(f, "({})", site.cause.text())?;
        }
        Ok(())
    }
}

fn numbers(sum: &Sum, of: &Sum) -> String {
    let Sum { traps, instructions } = sum;
    let share = share(*instructions, of.instructions);
    let (traps, all) = (grouped(*traps), grouped(*instructions));
    format!("{traps:>11} {all:>13} {:>8} {share:>6}", grouped(sum.each()))
}

/// Tenths of a percent.
pub(crate) fn share(part: u64, of: u64) -> String {
    let tenths = part.saturating_mul(1000).checked_div(of).unwrap_or(0);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// With a comma in front of each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::profile;

    #[test]
    fn digits_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn the_table_names_the_costliest_sites_only() {
        let text = Table { profile: &profile(), top: 1 }.to_string();
        assert!(text.contains("0xc0208044 start<&>+0x4 (sensitive instruction)"), "{text}");
        assert!(text.contains("The costliest 1 of 2 sites"), "{text}");
        assert!(!text.contains("(system register)"), "{text}");
    }
}
