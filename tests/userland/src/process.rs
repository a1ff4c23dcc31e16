//! Several processes computing at once: the same function, once in each.

use crate::linux;

/// Runs `work(0)` to `work(count - 1)` in processes of their own, all at once; true if all
/// returned true.
pub(crate) fn at_once(count: u32, work: impl Fn(u32) -> bool) -> bool {
    const MOST: usize = 8;
    let mut children = [0; MOST];
    let children = children.iter_mut().take(count as usize);
    let mut started = [0; MOST];
    for ((number, child), slot) in (0..count).zip(children).zip(&mut started) {
        *child = linux::fork(|| u32::from(!work(number)));
        *slot = *child;
    }
    started.iter().take(count as usize).fold(true, |right, child| linux::wait(*child) == 0 && right)
}
