//! How many submits may be at work, and who may have the last seats.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::reset::ports::Client;

/// Who has so many seats is not in need of another.
const FEW: usize = 2;
/// And may have one of the first seats only: one in so many.
const COMMON: usize = 4;

/// The seats of submits at work. Those of a vanished client work on, so these bound them, and not connections.
///
/// A quarter of the seats is for whoever comes. The others are for clients that have at most one at the time: so a few
/// thousand addresses are needed to take the last one, whatever each of them does.
pub struct InFlight {
    taken: Mutex<Taken>,
    capacity: usize,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Only those who have one: no more entries than seats.
    by: HashMap<Client, usize>,
}

impl InFlight {
    /// That many seats.
    pub fn new(capacity: usize) -> Self {
        Self { taken: Mutex::default(), capacity }
    }

    /// Seats taken at the moment.
    pub fn taken(&self) -> usize {
        self.taken.lock().all
    }

    /// All seats.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// A seat for that client, if there is one.
    pub(super) fn take(seats: &Arc<Self>, client: Client) -> Option<Seat> {
        let owner = owner(client);
        let mut taken = seats.taken.lock();
        let own = taken.by.get(&owner).copied().unwrap_or_default();
        let most = if own < FEW { seats.capacity } else { seats.capacity.div_ceil(COMMON) };
        if taken.all >= most {
            return None;
        }
        taken.all += 1;
        taken.by.insert(owner, own + 1);
        drop(taken);
        Some(Seat { seats: Arc::clone(seats), owner })
    }
}

/// One seat, free again when this is dropped.
pub(super) struct Seat {
    seats: Arc<InFlight>,
    owner: Client,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Entry::Occupied(mut own) = taken.by.entry(self.owner) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

/// Whoever has an IPv6 /64 may well have the whole /48.
const fn owner(client: Client) -> Client {
    match client {
        Client::V6([a, b, c, d, e, f, ..]) => Client::V6([a, b, c, d, e, f, 0, 0]),
        Client::V4(_) | Client::Unknown => client,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(n: u32) -> Client {
        Client::V4(n.to_be_bytes())
    }

    #[test]
    fn who_has_few_finds_a_seat_where_who_has_many_does_not() {
        let seats = Arc::new(InFlight::new(100));
        let greedy: Vec<_> = std::iter::from_fn(|| InFlight::take(&seats, v4(0))).collect();
        assert_eq!(greedy.len(), 25);
        let flood: Vec<_> = (1..=30).flat_map(|n| [(); 9].map(|()| InFlight::take(&seats, v4(n)))).flatten().collect();
        assert_eq!(flood.len(), 60, "two each");
        let person = InFlight::take(&seats, v4(99)).expect("a seat is left");
        assert_eq!(seats.taken(), 86);
        let others: Vec<_> = (100..200).filter_map(|n| InFlight::take(&seats, v4(n))).collect();
        assert_eq!((others.len(), seats.taken()), (14, 100));
        drop((greedy, flood, person, others));
        assert_eq!(seats.taken(), 0);
        assert!(seats.taken.lock().by.is_empty());
    }

    #[test]
    fn a_48_is_one_owner() {
        let seats = Arc::new(InFlight::new(8));
        let all: Vec<_> = (0..9).filter_map(|n| InFlight::take(&seats, Client::V6([1, 2, 3, 4, 5, 6, 0, n]))).collect();
        assert_eq!(all.len(), FEW);
        assert!(InFlight::take(&seats, Client::V6([1, 2, 3, 4, 5, 7, 0, 0])).is_some());
    }
}
