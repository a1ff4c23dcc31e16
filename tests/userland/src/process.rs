//! Several processes computing at once: the same function, once in each.

use crate::linux;

/// Runs `work(0)` to `work(count - 1)` in processes of their own, all at once; true if all
/// returned true.
pub(crate) fn at_once(count: u32, work: impl Fn(u32) -> bool) -> bool {
    const MOST: usize = 8;
    let mut started = [0; MOST];
    for (number, child) in (0..count).zip(&mut started) {
        *child = linux::fork(|| u32::from(!work(number)));
    }
    // All are waited for, whatever the first did.
    let wrong = started.iter().take(count as usize).filter(|child| linux::wait(**child) != 0);
    wrong.count() == 0
}
