//! Our own accept loops: TCP and Unix sockets. What cannot be bound is an error before anything is served; pingora's own
//! listeners would retry for half a minute and then leave a process that serves nothing.

use std::{
    fs, io,
    os::{
        fd::AsRawFd,
        unix::{fs::PermissionsExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pingora::{
    apps::ServerApp,
    protocols::{GetSocketDigest, SocketDigest, Stream, l4::socket::SocketAddr as PeerAddr, l4::stream::Stream as L4},
    proxy::Session,
    server::ShutdownWatch,
};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;

use crate::config::Address;

/// Connections that the kernel holds for us while all of ours are taken.
const BACKLOG: i32 = 1024;
/// Owner and group, so that a mesh's proxy under another user can be let in by its group.
const SOCKET_MODE: u32 = 0o660;
/// The pause after a failed accept, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct BindError {
    /// The address as configured.
    pub address: String,
    /// The system's reason.
    #[source]
    pub reason: io::Error,
}

/// A bound address.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket; its file goes when this does.
    Unix(UnixListener, SocketFile),
}

/// Removes the socket's file when dropped: nobody listens there any more.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it already; there is nobody left to tell.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Binds. Must be called within the runtime that will serve it.
    ///
    /// # Errors
    /// [`BindError`] with the system's reason.
    pub fn bind(address: &Address) -> Result<Self, BindError> {
        let bound = match address {
            Address::Tcp(address) => bind_tcp(*address).map(Self::Tcp),
            Address::Unix(path) => bind_unix(path).map(|socket| Self::Unix(socket, SocketFile(path.clone()))),
        };
        bound.map_err(|reason| BindError { address: text(address), reason })
    }

    /// Where it listens: with the port that was given for port 0.
    ///
    /// # Errors
    /// The system's, for a socket that has none.
    pub fn address(&self) -> io::Result<Address> {
        Ok(match self {
            Self::Tcp(listener) => Address::Tcp(listener.local_addr()?),
            Self::Unix(_, file) => Address::Unix(file.0.clone()),
        })
    }

    async fn accept(&self) -> io::Result<Stream> {
        let (mut stream, digest) = match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                socket.set_nodelay(true)?;
                // A peer that vanished without a word is noticed by the kernel and does not keep its place for ever.
                SockRef::from(&socket).set_keepalive(true)?;
                let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
                // Known here: a peer that has gone by the time it is asked for has no address any more.
                let _ = digest.peer_addr.set(Some(PeerAddr::Inet(peer)));
                (L4::from(socket), digest)
            }
            Self::Unix(listener, _) => {
                let (socket, _) = listener.accept().await?;
                let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
                (L4::from(socket), digest)
            }
        };
        stream.set_socket_digest(digest);
        Ok(Box::new(stream))
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address.
    Tcp(std::net::SocketAddr),
    /// A process on this machine that may open the socket's file.
    Unix,
}

impl Peer {
    /// The peer of a connection that [`serve`] accepted.
    pub fn of(session: &Session) -> Option<Self> {
        match session.client_addr() {
            Some(PeerAddr::Inet(address)) => Some(Self::Tcp(*address)),
            Some(PeerAddr::Unix(_)) => Some(Self::Unix),
            // A Unix socket's client has no name, so pingora has no address for it.
            None => session.digest()?.socket_digest.as_ref().map(|_| Self::Unix),
        }
    }
}

/// Accepts until the shutdown, each connection a task on `connections`. No more are open than `room` has permits: the
/// next wait in the kernel's backlog.
pub async fn serve<A: ServerApp + Send + Sync + 'static>(
    listener: Listener,
    app: Arc<A>,
    room: Arc<Semaphore>,
    connections: TaskTracker,
    mut shutdown: ShutdownWatch,
) {
    loop {
        let accepted = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            _ = shutdown.wait_for(|down| *down) => return,
        };
        match accepted {
            Ok(stream) => {
                let (app, shutdown) = (Arc::clone(&app), shutdown.clone());
                connections.spawn(async move {
                    // Keep-alive happens inside; what comes back is a connection that has nothing more to say.
                    drop(app.process_new(stream, &shutdown).await);
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn bind_tcp(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    // A file that a process left behind is in the way; a socket that somebody answers on is not ours to take.
    let left_behind =
        matches!(UnixStream::connect(path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused);
    if left_behind {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

fn text(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => format!("unix:{}", path.display()),
    }
}
