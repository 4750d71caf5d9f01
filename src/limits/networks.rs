//! The networks that have limits of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::{config::Override, reset::ports::Client};

/// The networks of each override, in the order of the configuration.
pub(super) struct Networks(Vec<Vec<IpNet>>);

impl Networks {
    pub(super) fn new(overrides: &[Override]) -> Self {
        Self(overrides.iter().map(|one| one.clients.clone()).collect())
    }

    /// The first override that is for this client.
    pub(super) fn first(&self, client: Client) -> Option<usize> {
        if self.0.is_empty() {
            return None;
        }
        let address: IpAddr = match client {
            Client::V4(octets) => Ipv4Addr::from(octets).into(),
            // The first address of its /64: no network of an override is narrower.
            Client::V6(prefix) => Ipv6Addr::from(u128::from(u64::from_be_bytes(prefix)) << 64).into(),
            Client::Unknown => return None,
        };
        self.0.iter().position(|networks| networks.iter().any(|network| network.contains(&address)))
    }
}
