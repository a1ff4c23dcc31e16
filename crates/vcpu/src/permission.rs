//! What a mapping permits: domains first, then access permissions.
//!
//! Works on what [`crate::walk`] found; no memory is read.
//!
//! Manual: ARM DDI 0406C, B3.7.1 (access permissions), B3.7.2 (execute never), B3.7.3
//! (domains).

use crate::cp15::Cp15;
use crate::fault::{Cause, WalkFault};
use crate::walk::{Mapping, Size};

/// SCTLR.AFE: AP\[0\] is an access flag.
const SCTLR_AFE: u32 = 1 << 29;

/// What may be done with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "three independent permissions")]
pub struct Permissions {
    /// Load from it.
    pub read: bool,
    /// Store to it.
    pub write: bool,
    /// Execute it.
    pub execute: bool,
}

impl Permissions {
    /// Nothing.
    pub const NONE: Self = Self { read: false, write: false, execute: false };
    /// Everything.
    pub const ALL: Self = Self { read: true, write: true, execute: true };
}

/// What an access wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Load.
    Read,
    /// Store.
    Write,
    /// Fetch an instruction.
    Execute,
}

/// Permissions by the domain of a mapping: DACR's two bits.
#[inline]
const fn domain_access(mapping: &Mapping, dacr: u32) -> u32 {
    dacr >> (mapping.domain * 2) & 3
}

const MANAGER: u32 = 3;
const CLIENT: u32 = 1;

/// What may be done with a page by the guest's kernel (`privileged`) or application.
/// `afe` is SCTLR.AFE. The reserved AP 0b100 and the reserved domain access 0b10 permit nothing.
#[inline]
#[must_use]
pub const fn permissions(mapping: &Mapping, privileged: bool, dacr: u32, afe: bool) -> Permissions {
    if matches!(mapping.size, Size::Flat) {
        return Permissions::ALL;
    }
    match domain_access(mapping, dacr) {
        MANAGER => Permissions::ALL,
        CLIENT => client_permissions(mapping, privileged, afe),
        _ => Permissions::NONE,
    }
}

#[inline]
const fn client_permissions(mapping: &Mapping, privileged: bool, afe: bool) -> Permissions {
    // Bit n for AP[2:0] = n (B3.7.1, table B3-8).
    const KERNEL_READ: u32 = 0b1110_1110;
    const KERNEL_WRITE: u32 = 0b0000_1110;
    const APPLICATION_READ: u32 = 0b1100_1100;
    const APPLICATION_WRITE: u32 = 0b0000_1000;
    let (readers, writers) = if privileged {
        (KERNEL_READ, KERNEL_WRITE)
    } else {
        (APPLICATION_READ, APPLICATION_WRITE)
    };
    // With an access flag, AP[2:1] says what AP[2:0] with AP[0] set does (table B3-7).
    let ap = if afe { mapping.attributes.ap() | 1 } else { mapping.attributes.ap() };
    let read = readers >> ap & 1 == 1;
    let write = writers >> ap & 1 == 1;
    let never =
        mapping.attributes.execute_never() || privileged && mapping.privileged_execute_never;
    Permissions { read, write, execute: read && !never }
}

/// Checks domain, then permission.
///
/// # Errors
///
/// Domain or permission fault.
#[inline]
pub const fn check(
    mapping: &Mapping,
    cp15: &Cp15,
    privileged: bool,
    purpose: Purpose,
) -> Result<(), WalkFault> {
    let page = match mapping.size {
        Size::Flat => return Ok(()),
        Size::Small | Size::Large => true,
        Size::Section | Size::Supersection => false,
    };
    let domain = mapping.domain;
    match domain_access(mapping, cp15.dacr) {
        MANAGER => return Ok(()),
        CLIENT => {}
        _ => {
            let cause = if page { Cause::DomainPage } else { Cause::DomainSection };
            return Err(WalkFault { cause, domain });
        }
    }
    let access = client_permissions(mapping, privileged, cp15.sctlr & SCTLR_AFE != 0);
    let allowed = match purpose {
        Purpose::Read => access.read,
        Purpose::Write => access.write,
        Purpose::Execute => access.execute,
    };
    if allowed {
        return Ok(());
    }
    let cause = if page { Cause::PermissionPage } else { Cause::PermissionSection };
    Err(WalkFault { cause, domain })
}
