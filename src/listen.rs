//! Where requests come in: our own sockets and accept loops, so that a port that is taken ends the program at once, a
//! cap holds before anything is read, and tests can start on port 0.

mod alarm;
mod announcement;
mod arrival;
mod certificates;
mod connection;
mod descriptors;
mod pace;
mod preface;
mod seats;
mod socket;
mod streams;
mod systemd;
mod tls;
mod wire;

use std::{future::Future, net::SocketAddr, os::unix::net::UnixListener as StdUnix, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    time::sleep,
};
use tokio_util::task::TaskTracker;

pub(crate) use self::{
    arrival::Arrival,
    connection::Body,
    descriptors::connections,
    preface::starts_http2,
    seats::{Seats, Trust},
    socket::{SocketFile, bind_private, bind_tcp},
    streams::{Exchange, Line},
    tls::Secured,
};
use self::{arrival::Door, seats::Seat, wire::Bare};
pub use self::{
    connection::Connection,
    descriptors::TooMany,
    socket::{BindError, Socket, bind},
    tls::{ServerTls, TlsError},
};
use crate::{
    config::{self, Listen, Speaks},
    telemetry::metrics::Metrics,
};

/// How long to pause when the process has no file descriptors left: some may be given back meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address.
    Tcp(SocketAddr),
    /// Somebody on this machine.
    Unix,
    /// The process that this one has taken over from.
    Former,
}

/// How slow a connection may be, from `[listen]`, and who counts those that are slower.
#[derive(Debug)]
pub(crate) struct Bounds {
    handshake_timeout: Duration,
    header_timeout: Duration,
    idle_timeout: Duration,
    body_timeout: Duration,
    min_rate: u32,
    max_lifetime: Duration,
    metrics: Arc<Metrics>,
}

impl Bounds {
    pub(crate) fn new(listen: &Listen, metrics: Arc<Metrics>) -> Self {
        let config::Connections {
            handshake_timeout,
            header_timeout,
            idle_timeout,
            body_timeout,
            min_rate,
            max_lifetime,
            ..
        } = listen.connections;
        Self { handshake_timeout, header_timeout, idle_timeout, body_timeout, min_rate, max_lifetime, metrics }
    }

    /// Load balancers keep theirs for a minute, and must not be the ones to find out that a connection is gone.
    fn idle_timeout(&self, seat: &Seat) -> Duration {
        let idle = self.idle_timeout;
        if seat.is_of_a_proxy() { idle + idle / 4 } else { idle }
    }
}

/// A socket on the runtime. A Unix socket's file goes with it.
pub(crate) struct Listener {
    kind: Kind,
    speaks: Speaks,
    door: Arc<Door>,
    file: Option<SocketFile>,
}

enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// The process that this one has taken over from.
    Former(UnixListener),
}

impl Listener {
    /// What clients may begin with there.
    pub(crate) const fn speaks(&self) -> Speaks {
        self.speaks
    }

    /// Where the process before sends the steps that come to it.
    pub(crate) fn of_former(socket: StdUnix, file: SocketFile) -> std::io::Result<Self> {
        let kind = Kind::Former(UnixListener::from_std(socket)?);
        Ok(Self { kind, speaks: Speaks::Plain, door: Arc::default(), file: Some(file) })
    }

    /// Whether that process is at the other end.
    pub(crate) const fn is_of_former(&self) -> bool {
        matches!(self.kind, Kind::Former(_))
    }

    /// Ends it without its socket's file: another process listens there.
    pub(crate) fn leave(mut self) {
        if let Some(file) = &mut self.file {
            file.leave();
        }
    }

    async fn accept(&self) -> std::io::Result<(Bare, Peer)> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // A head and a body in two writes must not wait for each other's acknowledgement. It only fails where
                // the client is gone already.
                let _ = stream.set_nodelay(true);
                Ok((stream.into(), Peer::Tcp(address)))
            }
            Kind::Unix(listener) => Ok((listener.accept().await?.0.into(), Peer::Unix)),
            Kind::Former(listener) => Ok((listener.accept().await?.0.into(), Peer::Former)),
        }
    }
}

/// Accepts until `stop` turns true or its sender is gone, and gives the listener back. Each connection that gets a seat is a task on `tracker` that
/// runs `serve`; who gets none is hung up on before anything is read.
pub(crate) async fn accept<F>(
    listener: Listener,
    seats: Arc<Seats>,
    bounds: Arc<Bounds>,
    tracker: TaskTracker,
    mut stop: watch::Receiver<bool>,
    serve: impl Fn(Arrival) -> F,
) -> Listener
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return listener,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((bare, peer)) => {
                let Some(seat) = seats.admit(peer) else { continue };
                let slot = seat.slot();
                let (door, bounds) = (Arc::clone(&listener.door), Arc::clone(&bounds));
                let served = serve(Arrival { bare, peer, seat, door, bounds });
                seats.served_by(&slot, tracker.spawn(served).abort_handle());
            }
            Err(error) if is_shortage(&error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(PAUSE).await;
            }
            // The client is gone already.
            Err(_) => {}
        }
    }
}

/// Descriptors or memory are short: the next attempt fails as well unless time passes.
fn is_shortage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NotConnected};
    !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | NotConnected)
}
