//! From an accepted socket to a connection that requests come over: who it is from, where a proxy in front says so, and
//! TLS, where that is spoken. All of it has one deadline.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::{
    Bounds, Connection, Peer,
    announcement::{self, Announcement},
    seats::Seat,
    tls::{ServerTls, why},
    wire::{Bare, Wire},
};
use crate::telemetry::metrics::{Announcement as Refused, Handshake};

/// How connections of a listener begin.
#[derive(Debug, Default)]
pub(super) struct Door {
    pub(super) proxied: bool,
    pub(super) tls: Option<Arc<ServerTls>>,
}

/// One that has a seat, and of which nothing has been read.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(super) bare: Bare,
    pub(super) peer: Peer,
    pub(super) seat: Seat,
    pub(super) door: Arc<Door>,
    pub(super) bounds: Arc<Bounds>,
}

impl Arrival {
    /// Goes as far as its first request, and tells whether the two ends agreed on HTTP/2. `None` if it does not come so
    /// far.
    pub(crate) async fn greet(mut self) -> Option<(Connection, bool)> {
        let until = Instant::now() + self.bounds.handshake_timeout;
        if self.door.proxied {
            self = self.announced(until).await?;
        }
        let Self { bare, peer, seat, door, bounds } = self;
        let Some(tls) = &door.tls else {
            return Some((Connection::new(Wire::Bare(bare), peer, None, seat, bounds), false));
        };
        let failed = match timeout_at(until, tls.shake(bare)).await {
            Ok(Ok((stream, http2, secured))) => {
                let secured = Some(Arc::new(secured));
                return Some((Connection::new(Wire::Tls(stream), peer, secured, seat, bounds), http2));
            }
            Ok(Err(error)) => why(&error),
            Err(_) => Handshake::Slow,
        };
        bounds.metrics.doors.handshake_failed(failed);
        None
    }

    /// The same, from whom its peer says it is.
    async fn announced(mut self, until: Instant) -> Option<Self> {
        let read = match self.seat.may_announce() {
            true => timeout_at(until, announcement::read(&mut self.bare)).await,
            false => return self.refuse(Refused::Stranger),
        };
        let Announcement { client, rest } = match read {
            Ok(Ok(Some(announcement))) => announcement,
            Ok(Ok(None)) => return self.refuse(Refused::Malformed),
            Ok(Err(_)) => return self.refuse(Refused::Gone),
            Err(_) => return self.refuse(Refused::Slow),
        };
        self.bare.unread(&rest);
        if let Some(client) = client {
            self.peer = Peer::Tcp(client);
            self.seat = self.seat.moves_to(self.peer)?;
        }
        Some(self)
    }

    #[allow(clippy::needless_pass_by_value, reason = "it ends here")]
    fn refuse(self, why: Refused) -> Option<Self> {
        self.bounds.metrics.doors.announcement_refused(why);
        None
    }
}
