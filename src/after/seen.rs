//! Which flows were acted upon.

use std::collections::{HashSet, VecDeque};

use parking_lot::Mutex;

/// So many are remembered: more than may wait.
const MOST: usize = 20_000;

/// The last flows that were acted upon. It outlives a configuration.
#[derive(Default)]
pub struct Seen(Mutex<Known>);

#[derive(Default)]
struct Known {
    set: HashSet<[u8; 16]>,
    /// The same, oldest first.
    order: VecDeque<[u8; 16]>,
}

impl Seen {
    /// Whether it is the first time, which it never is again.
    pub(super) fn first(&self, flow: [u8; 16]) -> bool {
        let Known { set, order } = &mut *self.0.lock();
        if !set.insert(flow) {
            return false;
        }
        order.push_back(flow);
        if order.len() > MOST
            && let Some(oldest) = order.pop_front()
        {
            set.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_the_first_once_and_there_is_an_end_to_it() {
        let seen = Seen::default();
        let flow = |number: usize| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            id
        };
        assert!((0..=MOST).all(|number| seen.first(flow(number))));
        assert!(!seen.first(flow(MOST)) && !seen.first(flow(1)));
        assert!(seen.first(flow(0)), "forgotten");
        assert_eq!(seen.0.lock().order.len(), MOST);
    }
}
