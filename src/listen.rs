//! Where requests come in: our own sockets and accept loops, so that a port that is taken ends the program at once, a
//! cap holds before anything is read, and tests can start on port 0.

mod connection;
mod seats;
mod socket;

use std::{future::Future, net::SocketAddr, os::fd::AsRawFd, sync::Arc, time::Duration};

use pingora::protocols::{GetSocketDigest, SocketDigest, Stream, l4::stream::Stream as L4Stream};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{Semaphore, watch},
    time::sleep,
};
use tokio_util::task::TaskTracker;

use self::socket::SocketFile;
pub use self::{
    connection::Connection,
    socket::{BindError, Socket, bind},
};
pub(crate) use self::{seats::seats, socket::bind_tcp};

/// How long to pause when the process has no file descriptors left: some may be given back meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address.
    Tcp(SocketAddr),
    /// Somebody on this machine.
    Unix,
}

/// A socket on the runtime. A Unix socket's file goes with it.
pub(crate) struct Listener {
    kind: Kind,
    _file: Option<SocketFile>,
}

enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> std::io::Result<(L4Stream, Peer)> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // A head and a body in two writes must not wait for each other's acknowledgement. It only fails where
                // the client is gone already.
                let _ = stream.set_nodelay(true);
                Ok((stream.into(), Peer::Tcp(address)))
            }
            Kind::Unix(listener) => Ok((listener.accept().await?.0.into(), Peer::Unix)),
        }
    }
}

/// Accepts until `stop` turns true or its sender is gone. Each connection is a task on `tracker` that runs `serve`.
pub(crate) async fn accept<F>(
    listener: Listener,
    seats: Arc<Semaphore>,
    tracker: TaskTracker,
    mut stop: watch::Receiver<bool>,
    serve: impl Fn(Connection) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = async {
            // Waited for first: a connection that is not accepted costs us nothing.
            let seat = Arc::clone(&seats).acquire_owned().await;
            (listener.accept().await, seat)
        };
        let (accepted, seat) = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = accepted => accepted,
        };
        match (accepted, seat) {
            (Ok((stream, peer)), Ok(seat)) => {
                let served = serve(Connection::new(digested(stream, peer), peer));
                tracker.spawn(async move {
                    served.await;
                    drop(seat);
                });
            }
            (Err(error), _) if is_shortage(&error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(PAUSE).await;
            }
            // The client is gone already.
            _ => {}
        }
    }
}

/// Notes the peer where Pingora looks for it.
fn digested(mut stream: L4Stream, peer: Peer) -> Stream {
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    let address = match peer {
        Peer::Tcp(address) => Some(address.into()),
        Peer::Unix => None,
    };
    // A fresh cell takes its first value.
    let _ = digest.peer_addr.set(address);
    stream.set_socket_digest(digest);
    Box::new(stream)
}

/// Descriptors or memory are short: the next attempt fails as well unless time passes.
fn is_shortage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NotConnected};
    !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | NotConnected)
}
