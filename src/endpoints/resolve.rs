//! Names into addresses, now and then, so that no request waits for a name server and a name server's failure stops
//! nothing that worked before.

use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    net::lookup_host,
    sync::watch,
    time::{sleep, timeout},
};

use super::{Address, Failure, Judge};
use crate::config::Place;

/// How long a name's addresses are used before they are asked for again.
const FRESH: Duration = Duration::from_secs(30);
/// How long to wait after a look-up that failed.
const RETRY: Duration = Duration::from_secs(2);
/// How long a look-up may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Asks for a name's addresses.
pub(crate) type LookUp =
    Arc<dyn Fn(String, u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync>;

/// By the system's resolver.
pub(crate) fn system() -> LookUp {
    Arc::new(|name, port| Box::pin(async move { Ok(lookup_host((name, port)).await?.collect()) }))
}

/// The places of a service, and what each led to when it was last asked.
pub(super) struct Names {
    places: Vec<(Place, Vec<Address>)>,
    look_up: LookUp,
    /// Whether the last round failed for some: that is told once.
    failing: bool,
}

impl Names {
    pub(super) fn new(places: &[Place], look_up: LookUp) -> Self {
        let known = |place: &Place| match place {
            Place::Ip(address) => vec![Address::Tcp(*address)],
            Place::Unix(path) => vec![Address::Unix(path.clone())],
            Place::Name(..) => Vec::new(),
        };
        let places = places.iter().map(|place| (place.clone(), known(place))).collect();
        Self { places, look_up, failing: false }
    }

    /// Whether there is nothing to look up.
    pub(super) fn is_empty(&self) -> bool {
        !self.places.iter().any(|(place, _)| matches!(place, Place::Name(..)))
    }

    /// All that is known, in the order of the configuration.
    pub(super) fn addresses(&self) -> Vec<Address> {
        self.places.iter().flat_map(|(_, addresses)| addresses.iter().cloned()).collect()
    }

    /// Looks up for ever, and tells `known` after the first round.
    pub(super) async fn keep_fresh(
        &mut self,
        take: impl Fn(Vec<Address>) + Send,
        known: &watch::Sender<bool>,
        judge: &Judge,
    ) {
        loop {
            let failed = self.look_up_all().await;
            take(self.addresses());
            known.send_replace(true);
            let service = judge.service.name();
            if failed > 0 {
                (0..failed).for_each(|_| judge.metrics.endpoint_failed(judge.service, Failure::LookUp));
            }
            match (std::mem::replace(&mut self.failing, failed > 0), failed > 0) {
                (false, true) => {
                    tracing::warn!(service, "a name cannot be looked up: the addresses known so far are kept")
                }
                (true, false) => tracing::info!(service, "every name can be looked up again"),
                _ => {}
            }
            sleep(if failed > 0 { RETRY } else { FRESH }).await;
        }
    }

    /// For how many names there was no address.
    async fn look_up_all(&mut self) -> usize {
        let look_up = &self.look_up;
        let asked = self.places.iter_mut().filter_map(|(place, addresses)| match place {
            Place::Name(name, port) => Some(async move {
                match timeout(WITHIN, look_up(name.clone(), *port)).await {
                    Ok(Ok(found)) if !found.is_empty() => {
                        *addresses = found.into_iter().map(Address::Tcp).collect();
                        true
                    }
                    _ => false,
                }
            }),
            Place::Ip(_) | Place::Unix(_) => None,
        });
        join_all(asked).await.into_iter().filter(|found| !found).count()
    }
}
