//! A page whose owner knows more of it than where it was entered.
//!
//! For tools that see a whole binary before it runs: branches and loads from other
//! pages, mapping symbols. The judgement is that of [`scan`](crate::scan); only what it
//! starts from is more.

use crate::{Direction, Found, Page, a32, t32};
use entresol_isa::op::InstructionSet;

/// What is known of a place in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// An instruction begins here.
    Code,
    /// It is data.
    Data,
}

/// Plans the replacements of a page of which `known` says what is known, by byte offset; asked
/// for each multiple of 4 (A32) or 2 (T32).
///
/// Calls `reached` for each instruction that control flow leads to, then `found` as
/// [`scan`](crate::scan) does.
pub fn explore(
    page: &Page,
    set: InstructionSet,
    known: impl Fn(u16) -> Known,
    mut reached: impl FnMut(u16),
    mut found: impl FnMut(Found),
) {
    match set {
        InstructionSet::A32 => {
            let scan = a32::Scan::knowing(page, known);
            scan.each_reached(|index| reached(crate::low_half(index << 2)));
            scan.decide(Direction::Trap, &mut found);
        }
        InstructionSet::T32 => {
            let scan = t32::Scan::knowing(page, known);
            scan.each_reached(|index| reached(crate::low_half(index << 1)));
            scan.decide(Direction::Trap, &mut found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PAGE_WORDS, Reason, Site};

    /// `ldm sp, {r0-r14}^`, which data may look like.
    const WEAK: u32 = 0xe8dd_7fff;
    const RETURN: u32 = 0xe12f_ff1e;

    fn replaced(page: &Page, known: impl Fn(u16) -> Known) -> Vec<(u16, Reason)> {
        let mut sites = Vec::new();
        explore(
            page,
            InstructionSet::A32,
            known,
            |_| (),
            |found| {
                if let Found::Replace(Site { offset, reason, .. }) = found {
                    sites.push((offset, reason));
                }
            },
        );
        sites
    }

    #[test]
    fn what_is_known_to_be_code_is_followed_and_what_is_data_is_left() {
        let mut page = [0; PAGE_WORDS];
        page[512] = WEAK;
        page[513] = RETURN;
        assert_eq!(replaced(&page, |_| Known::Nothing), []);
        let code = |at| if at == 2048 { Known::Code } else { Known::Nothing };
        assert_eq!(replaced(&page, code), [(2048, Reason::Reached)]);
        assert_eq!(replaced(&page, |_| Known::Data), []);
    }

    #[test]
    fn every_instruction_that_is_reached_is_told() {
        let mut page = [0; PAGE_WORDS];
        page[0] = 0xe1a0_0000;
        page[1] = RETURN;
        let mut reached = Vec::new();
        let known = |at| if at == 0 { Known::Code } else { Known::Nothing };
        explore(&page, InstructionSet::A32, known, |at| reached.push(at), |_| ());
        assert_eq!(reached, [0, 4]);
    }
}
