//! An IPv6 client counts in three tiers at once: its /64, and the /56 and the /48 around it.
//!
//! Who rents a server or a line often gets 256 or 65536 times a /64, and could ask from another one each time. So the
//! wider networks have budgets of their own: some multiple of one client's, far below what their /64s would have
//! together.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::{
    meter::{Meter, Ticks},
    store::{Bounded, Key},
};
use crate::{config::Rate, reset::ports::Client};

/// How many tiers there are.
pub(super) const TIERS: usize = 3;

/// What each tier allows, in multiples of one client: the client itself, its /56, its /48.
pub(super) const FACTORS: [u32; TIERS] = [1, 4, 16];

/// The bytes of an address that name it in each tier.
const BYTES: [usize; TIERS] = [8, 7, 6];

/// What names the client in each tier, the narrowest first. Only IPv6 has more than one.
pub(super) fn names(client: &Client) -> impl Iterator<Item = &[u8]> {
    let (all, tiers): (&[u8], &[usize]) = match client {
        Client::V4(address) => (address, &[4]),
        Client::V6(prefix) => (prefix, &BYTES),
        Client::Unknown => (&[], &[0]),
    };
    tiers.iter().filter_map(|bytes| all.get(..*bytes))
}

/// One rate in all tiers.
pub(super) struct Ladder {
    /// Of one client.
    rate: Rate,
    meters: [Meter; TIERS],
}

impl Ladder {
    /// Each tier has a store of its own.
    pub(super) fn new(rate: Rate, stores: &[Arc<Bounded>; TIERS], ticks: &Ticks) -> Self {
        let mut factors = FACTORS.into_iter();
        let meters = stores.each_ref().map(|store| {
            let factor = factors.next().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
            Meter::new(Rate { count: rate.count.saturating_mul(factor), ..rate }, store, ticks)
        });
        Self { rate, meters }
    }

    /// What one client has.
    pub(super) const fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one in each tier that has a key, the narrowest first, or one in none. Whether that used up four fifths
    /// or more of any.
    ///
    /// What a narrower tier gave before a wider one denied is put back, which undoes it exactly. In the instant between,
    /// only those could be denied for it who are in that narrower network, and so in the wider one that denies anyway:
    /// nobody else ever pays for a request that was denied.
    pub(super) fn charge(&self, keys: &[Key]) -> Result<bool, Duration> {
        let mut any_near = false;
        for (tier, (meter, key)) in self.meters.iter().zip(keys).enumerate() {
            match meter.charge(key) {
                Ok(near) => any_near |= near,
                Err(wait) => {
                    self.meters.iter().zip(keys).take(tier).for_each(|(meter, key)| meter.give_back(key));
                    return Err(wait);
                }
            }
        }
        Ok(any_near)
    }

    /// Whether more than half is used up in any tier that has a key.
    pub(super) fn is_half_used(&self, keys: &[Key]) -> bool {
        self.meters.iter().zip(keys).any(|(meter, key)| meter.is_half_used(key))
    }

    /// Puts one back in each tier that has a key, just after it was taken.
    pub(super) fn give_back(&self, keys: &[Key]) {
        self.meters.iter().zip(keys).for_each(|(meter, key)| meter.give_back(key));
    }
}
