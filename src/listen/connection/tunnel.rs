//! What a connection is waited for besides its client: an answer that the upstream owes, and the silence of a tunnel,
//! which has no other end.

use std::{fmt, future::Future, io, pin::Pin, sync::atomic::Ordering, task::Context, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{Connection, Phase, unless};

/// A tunnel, such as a WebSocket.
pub(super) struct Tunnel {
    /// How long nothing may come through it.
    idle: Duration,
    moved: Instant,
    /// Ready when it has to go.
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

impl Connection {
    /// To be told when the answer must have begun; nothing when it has. A read fails then: nobody else keeps the time of
    /// an upstream that sends a head byte by byte.
    pub(crate) fn answer_is_due(&self, at: Option<Instant>) {
        let due = at.map_or(0, |at| {
            let since = at.saturating_duration_since(self.began);
            // Never before: it is asked then whether it is late.
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
        });
        self.due.store(due, Ordering::Relaxed);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let due = self.due.load(Ordering::Relaxed);
        (due > 0).then(|| self.began + Duration::from_millis(due))
    }

    /// To be told when it is no connection of HTTP any more. Once `over` turns true, or nothing has come through for so
    /// long, it ends.
    pub(crate) fn tunnels(&self, idle: Duration, mut over: watch::Receiver<bool>) {
        let over = Box::pin(async move {
            // Whoever tells lives as long as connections do.
            let _ = over.wait_for(|over| *over).await;
        });
        *self.tunnel.lock() = Some(Box::new(Tunnel { idle, moved: Instant::now(), over }));
        self.enter(Phase::Tunnel);
    }

    /// After a read that brought so many bytes, or is `pending`: whether it may be waited for.
    pub(super) fn keep_tunnel(&mut self, came: usize, pending: bool, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(tunnel) = self.tunnel.get_mut() else { return Ok(()) };
        if tunnel.over.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if came > 0 {
            tunnel.moved = Instant::now();
        }
        if !pending {
            return Ok(());
        }
        let until = tunnel.moved + tunnel.idle;
        unless(self.alarm.rings_at(until, cx).is_ready())
    }

    /// To be told when something is sent to the client.
    pub(super) fn tunnel_moves(&mut self) {
        if let Some(tunnel) = self.tunnel.get_mut() {
            tunnel.moved = Instant::now();
        }
    }
}
