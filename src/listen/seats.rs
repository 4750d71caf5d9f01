//! How many connections may be open: as many as the process has file descriptors for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections open at a time, over all addresses. More wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// Descriptors for everything else: logs, the store, mail, operators.
const RESERVED: u64 = 256;
/// A passed request is a connection of the client's and one to the upstream.
const PER_CONNECTION: u64 = 2;

/// Takes all descriptors that the system grants, and tells how many connections they allow. A shell's usual 1024 would
/// run out long before [`MAX_CONNECTIONS`], and then nobody could connect, to us or from us.
pub(crate) fn seats() -> usize {
    let granted = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: granted.maximum, ..granted };
    // Refused, for instance, by a sandbox: then what there is has to do.
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { raised.current } else { granted.current };
    let seats = seats_within(limit);
    if seats < MAX_CONNECTIONS {
        tracing::warn!(connections = seats, "few file descriptors, so few connections at a time: raise their limit");
    }
    seats
}

fn seats_within(descriptors: Option<u64>) -> usize {
    let seats = descriptors.map_or(u64::MAX, |limit| limit.saturating_sub(RESERVED) / PER_CONNECTION);
    usize::try_from(seats).unwrap_or(usize::MAX).clamp(1, MAX_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        assert_eq!(seats_within(Some(1024)), 384);
        assert_eq!(seats_within(Some(65_536)), MAX_CONNECTIONS);
        assert_eq!(seats_within(None), MAX_CONNECTIONS);
        assert_eq!(seats_within(Some(10)), 1);
    }
}
