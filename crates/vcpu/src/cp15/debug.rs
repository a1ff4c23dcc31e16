//! p14: debug, ThumbEE and Jazelle registers of a processor that has none of them.
//!
//! DBGDIDR reads 0, no debug architecture, which operating systems look at before
//! anything else; what some write without looking is ignored.
//!
//! Manual: ARM DDI 0406C, C11.11 (debug), A2.10 (ThumbEE), A2.9.5 (trivial Jazelle).

use super::access::{Read, Written};
use crate::state::Vcpu;

/// Names a register of p14: opc1, CRn, CRm, opc2. Same packing as for p15.
use super::access::key;

const DBGDIDR: u32 = key(0, 0, 0, 0);
const DBGDSCR_INT: u32 = key(0, 0, 1, 0);
const DBGWFAR: u32 = key(0, 0, 6, 0);
const DBGVCR: u32 = key(0, 0, 7, 0);
const DBGDSCR_EXT: u32 = key(0, 0, 2, 2);
const DBGDRAR: u32 = key(1, 0, 0, 0);
const DBGOSLAR: u32 = key(1, 0, 0, 4);
const DBGOSLSR: u32 = key(1, 0, 1, 4);
const DBGOSDLR: u32 = key(1, 0, 3, 4);
const DBGPRCR: u32 = key(1, 0, 4, 4);
const DBGPRSR: u32 = key(1, 0, 5, 4);
const DBGDSAR: u32 = key(2, 0, 0, 0);
const DBGAUTHSTATUS: u32 = key(7, 0, 14, 6);
const TEECR: u32 = key(0, 6, 0, 0);
const TEEHBR: u32 = key(1, 6, 0, 0);
const JIDR: u32 = key(0, 7, 0, 0);
const JOSCR: u32 = key(1, 7, 0, 0);
const JMCR: u32 = key(2, 7, 0, 0);

/// Whether an application may read a register of p14.
pub(super) const fn open(key: u32) -> bool {
    matches!(key, DBGDIDR | DBGDSCR_INT | DBGDRAR | DBGDSAR | JIDR)
}

impl Vcpu {
    pub(super) const fn read_debug(&self, key: u32) -> Read {
        Read::Value(match key {
            DBGDIDR | DBGDSCR_INT | DBGDSCR_EXT | DBGWFAR | DBGVCR | DBGDRAR | DBGDSAR
            | DBGOSLSR | DBGOSDLR | DBGPRCR | DBGPRSR | DBGAUTHSTATUS | JIDR | JOSCR | JMCR => 0,
            TEECR => self.cp15.teecr,
            TEEHBR => self.cp15.teehbr,
            _ => return Read::Unknown,
        })
    }

    pub(super) const fn write_debug(&mut self, key: u32, value: u32) -> Written {
        match key {
            DBGDSCR_EXT | DBGWFAR | DBGVCR | DBGOSLAR | DBGOSDLR | DBGPRCR | JOSCR | JMCR => {}
            TEECR => self.cp15.teecr = value & 1,
            TEEHBR => self.cp15.teehbr = value & !3,
            _ => return Written::Unknown,
        }
        Written::Done
    }
}
