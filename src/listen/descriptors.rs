//! How many connections the process may have: two file descriptors each, and some for the rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections open at a time, over all addresses, if the configuration does not say otherwise.
const MAX_CONNECTIONS: usize = 10_000;
/// Descriptors for everything else: logs, the store, mail, operators.
const RESERVED: u64 = 256;
/// A passed request is a connection of the client's and one to the upstream.
const PER_CONNECTION: u64 = 2;

/// More connections than the process may open files for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("listen.max_connections = {wanted} needs {needed} file descriptors, and the process may have {granted}")]
pub struct TooMany {
    wanted: usize,
    needed: u64,
    granted: u64,
}

/// Takes all descriptors that the system grants, and tells how many connections they allow: those that are wanted, or
/// as many as is usual. A shell's usual 1024 would run out long before, and then nobody could connect, to us or from us.
///
/// # Errors
/// If they do not allow what is wanted.
pub(crate) fn connections(wanted: Option<usize>) -> Result<usize, TooMany> {
    let granted = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: granted.maximum, ..granted };
    // Refused, for instance, by a sandbox: then what there is has to do.
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { raised.current } else { granted.current };
    let connections = within(limit, wanted)?;
    if wanted.is_none() && connections < MAX_CONNECTIONS {
        tracing::warn!(connections, "few file descriptors, so few connections at a time: raise their limit");
    }
    Ok(connections)
}

fn within(descriptors: Option<u64>, wanted: Option<usize>) -> Result<usize, TooMany> {
    let room = descriptors.map_or(u64::MAX, |limit| limit.saturating_sub(RESERVED) / PER_CONNECTION);
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    match (wanted, descriptors) {
        (Some(wanted), Some(granted)) if wanted > room => {
            let needed = (wanted as u64).saturating_mul(PER_CONNECTION).saturating_add(RESERVED);
            Err(TooMany { wanted, needed, granted })
        }
        (Some(wanted), _) => Ok(wanted),
        (None, _) => Ok(room.clamp(1, MAX_CONNECTIONS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        assert_eq!(within(Some(1024), None), Ok(384));
        assert_eq!(within(Some(65_536), None), Ok(MAX_CONNECTIONS));
        assert_eq!(within(None, None), Ok(MAX_CONNECTIONS));
        assert_eq!(within(Some(10), None), Ok(1));
    }

    #[test]
    fn what_is_asked_for_is_given_or_refused() {
        assert_eq!(within(Some(1024), Some(384)), Ok(384));
        assert_eq!(within(Some(65_536), Some(20_000)), Ok(20_000));
        assert_eq!(within(None, Some(1_000_000)), Ok(1_000_000));
        let refused = within(Some(1024), Some(385)).unwrap_err().to_string();
        assert_eq!(refused, "listen.max_connections = 385 needs 1026 file descriptors, and the process may have 1024");
    }
}
