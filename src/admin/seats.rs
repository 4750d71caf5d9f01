//! Who is connected. A newcomer always finds a place: else whoever opens a few connections and says nothing would keep
//! a kubelet's probe out, and have it restart us.

use std::{net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

/// The places.
pub(super) struct Seats {
    most: usize,
    taken: Mutex<Taken>,
}

/// In the order in which they came.
#[derive(Default)]
struct Taken {
    seats: Vec<Seat>,
    last: u64,
}

struct Seat {
    number: u64,
    owner: IpAddr,
    task: AbortHandle,
}

/// Gives a place back, however its task ends.
struct Leaves(Arc<Seats>, u64);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.taken.lock().seats.retain(|seat| seat.number != self.1);
    }
}

impl Seats {
    /// So many of them.
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// Has a task serve somebody from there. Where there is no place left, whoever has most gives up the one that was
    /// taken first.
    pub(super) fn take(seats: &Arc<Self>, peer: IpAddr, task: impl Future<Output = ()> + Send + 'static) {
        let mut taken = seats.taken.lock();
        let evicted = (taken.seats.len() >= seats.most).then(|| taken.evict()).flatten();
        taken.last = taken.last.wrapping_add(1);
        let number = taken.last;
        let leaves = Leaves(Arc::clone(seats), number);
        // It cannot leave before it is listed: that needs the lock.
        let task = tokio::spawn(async move {
            let _leaves = leaves;
            task.await;
        });
        taken.seats.push(Seat { number, owner: owner(peer), task: task.abort_handle() });
        drop(taken);
        if let Some(seat) = evicted {
            seat.task.abort();
        }
    }
}

impl Taken {
    fn evict(&mut self) -> Option<Seat> {
        let held = |owner: IpAddr| self.seats.iter().filter(|seat| seat.owner == owner).count();
        let most = self.seats.iter().map(|seat| held(seat.owner)).max()?;
        let index = self.seats.iter().position(|seat| held(seat.owner) == most)?;
        Some(self.seats.remove(index))
    }
}

/// Whoever has an IPv6 address has its /64.
fn owner(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    /// Takes a place for ever; what is returned ends with it.
    fn stays(seats: &Arc<Seats>, peer: &str) -> watch::Sender<()> {
        let (gone, mut ends) = watch::channel(());
        Seats::take(seats, peer.parse().unwrap(), async move {
            let _ = ends.changed().await;
        });
        gone
    }

    #[tokio::test]
    async fn who_has_most_gives_up_what_was_taken_first() {
        let seats = Arc::new(Seats::new(4));
        let probe = stays(&seats, "10.0.0.1");
        let stranger: Vec<_> = (0..3).map(|n| stays(&seats, &format!("2001:db8::{n}"))).collect();
        let second = stays(&seats, "10.0.0.1");
        stranger[0].closed().await;
        let third = stays(&seats, "10.0.0.2");
        // Two each by then, and the probe's first came first.
        probe.closed().await;
        assert_eq!(seats.taken.lock().seats.len(), 4);
        for stays in [&second, &third, &stranger[1], &stranger[2]] {
            assert_eq!(stays.receiver_count(), 1);
        }
        drop((second, third, stranger));
        while !seats.taken.lock().seats.is_empty() {
            tokio::task::yield_now().await;
        }
    }
}
