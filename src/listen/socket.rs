//! Binding: TCP and Unix sockets, ready before anything else starts.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener as StdTcp},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener as StdUnix, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::{TcpListener, UnixListener};

use super::{Kind, Listener, ServerTls, arrival::Door, pace::UNSEEN, systemd::Given};
use crate::config::{Address, At, Speaks};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// A listening socket. A Unix socket's file is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    address: Address,
    bound: Bound,
}

#[derive(Debug)]
enum Bound {
    Tcp(StdTcp),
    /// With its file, if that is ours.
    Unix(StdUnix, Option<SocketFile>),
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    address: String,
    source: io::Error,
}

impl BindError {
    fn at(address: &impl ToString) -> impl FnOnce(io::Error) -> Self {
        |source| Self { address: address.to_string(), source }
    }
}

/// Listens on each of the addresses, which may be several sockets where systemd opened them.
///
/// # Errors
/// If the system refuses one, with the address and the system's reason.
pub fn bind(addresses: &[Address]) -> Result<Vec<Socket>, BindError> {
    let mut given = None;
    let mut sockets = Vec::new();
    for address in addresses {
        let failed = BindError::at(address);
        match &address.at {
            At::Tcp(tcp) => {
                let (socket, tcp) = bind_tcp(*tcp).map_err(|BindError { source, .. }| failed(source))?;
                sockets.push(Socket {
                    address: Address { at: At::Tcp(tcp), ..address.clone() },
                    bound: Bound::Tcp(socket),
                });
            }
            At::Unix(path) => {
                let (socket, file) = unix(path).map_err(failed)?;
                sockets.push(Socket { address: address.clone(), bound: Bound::Unix(socket, Some(file)) });
            }
            At::Systemd(name) => {
                for socket in given.get_or_insert_with(Given::take).named(name).map_err(failed)? {
                    sockets.push(Socket::adopt(address, socket)?);
                }
            }
        }
    }
    Ok(sockets)
}

/// Listens on a Unix socket for whoever may enter its folder, in the place of whoever did before.
pub(crate) fn bind_private(path: &Path) -> io::Result<(StdUnix, SocketFile)> {
    hidden(path, 0o600)
}

/// Listens on a TCP address, and tells the port.
///
/// # Errors
/// As [`bind`].
pub(crate) fn bind_tcp(address: SocketAddr) -> Result<(StdTcp, SocketAddr), BindError> {
    tcp(address).map_err(BindError::at(&address))
}

impl Socket {
    /// Takes over a socket that somebody else has opened for that address, and that listens already.
    ///
    /// # Errors
    /// If it is not a socket of that kind, or not at that address.
    pub fn adopt(address: &Address, from: OwnedFd) -> Result<Self, BindError> {
        Self::check(address, socket2::Socket::from(from)).map_err(BindError::at(address))
    }

    fn check(address: &Address, socket: socket2::Socket) -> io::Result<Self> {
        let wrong = |why: &str| io::Error::new(ErrorKind::InvalidInput, format!("what was handed over {why}"));
        if socket.r#type()? != socket2::Type::STREAM || !socket.is_listener()? {
            return Err(wrong("is no stream socket that listens"));
        }
        socket.set_cloexec(true)?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        let (mut address, at) = (address.clone(), local.as_socket());
        let bound = match (&address.at, at) {
            (At::Tcp(wanted), Some(at)) if at.ip() != wanted.ip() || ![0, at.port()].contains(&wanted.port()) => {
                return Err(wrong(&format!("is at {at}")));
            }
            (At::Tcp(_) | At::Systemd(_), Some(_)) => Bound::Tcp(with_progress_seen(socket).into()),
            // Its own name is another, see `unix`.
            (At::Unix(path), None) if local.is_unix() => Bound::Unix(socket.into(), Some(SocketFile::at(path))),
            // The file is systemd's.
            (At::Systemd(_), None) if local.is_unix() => Bound::Unix(socket.into(), None),
            _ => return Err(wrong("is of another family")),
        };
        if let (At::Tcp(wanted), Some(at)) = (&mut address.at, at) {
            *wanted = at;
        }
        Ok(Self { address, bound })
    }

    /// Where it listens: with the port that the system chose, if that was left to it.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// What the system knows it by, to hand it to another process.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.bound {
            Bound::Tcp(socket) => socket.as_fd(),
            Bound::Unix(socket, _) => socket.as_fd(),
        }
    }

    /// Hands it to the runtime that this runs in, to speak TLS by that where it is to.
    pub(crate) fn into_listener(self, tls: Option<&Arc<ServerTls>>) -> io::Result<Listener> {
        let Address { proxied, speaks, .. } = self.address;
        let tls = match (speaks, tls) {
            (Speaks::Tls, None) => return Err(io::Error::new(ErrorKind::NotFound, "no certificate for a listener")),
            (Speaks::Tls, Some(tls)) => Some(Arc::clone(tls)),
            (Speaks::Plain | Speaks::H2c, _) => None,
        };
        let door = Arc::new(Door { proxied, tls });
        let (kind, file) = match self.bound {
            Bound::Tcp(socket) => (Kind::Tcp(TcpListener::from_std(socket)?), None),
            Bound::Unix(socket, file) => (Kind::Unix(UnixListener::from_std(socket)?), file),
        };
        Ok(Listener { kind, speaks, door, file })
    }
}

fn tcp(address: SocketAddr) -> io::Result<(StdTcp, SocketAddr)> {
    use socket2::{Domain, Socket as Raw, Type};
    let socket = Raw::new(Domain::for_address(address), Type::STREAM, None)?;
    // Without it a restart has to wait until the last run's connections are forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let socket = StdTcp::from(with_progress_seen(socket));
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// What is accepted here takes no more into the kernel than the line carries soon, and [`UNSEEN`] besides. Else megabytes
/// would wait there for each slow reader, and how much it takes would not be seen for minutes.
fn with_progress_seen(socket: socket2::Socket) -> socket2::Socket {
    // Without it memory and time are worse, and nothing is wrong.
    let _ = socket.set_tcp_notsent_lowat(UNSEEN);
    socket
}

fn unix(path: &Path) -> io::Result<(StdUnix, SocketFile)> {
    may_replace(path)?;
    hidden(path, 0o660)
}

/// Binds under another name first, so that nobody ever finds the socket with permissions that are not its own.
fn hidden(path: &Path, mode: u32) -> io::Result<(StdUnix, SocketFile)> {
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    let socket = StdUnix::bind(&hidden)?;
    let cleanup = SocketFile::at(&hidden);
    fs::set_permissions(&hidden, fs::Permissions::from_mode(mode))?;
    fs::rename(&hidden, path)?;
    drop(cleanup);
    socket.set_nonblocking(true)?;
    Ok((socket, SocketFile::at(path)))
}

/// What an earlier run left behind is replaced. A socket that somebody answers on, or a file of another kind, is not
/// ours to replace.
fn may_replace(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => Err(io::Error::new(ErrorKind::AlreadyExists, "not a socket")),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(ErrorKind::AddrInUse.into()),
        },
    }
}

/// Removes the file when dropped, if it is still the one that was made.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: Option<u64>,
}

impl SocketFile {
    fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), inode: fs::symlink_metadata(path).ok().map(|found| found.ino()) }
    }

    /// Leaves it: another process listens there.
    pub(super) fn leave(&mut self) {
        self.inode = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).ok().map(|found| found.ino());
        if now.is_some() && now == self.inode {
            // Nothing can be done about a file that stays; the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> Address {
        Address::from("127.0.0.1:0".parse::<SocketAddr>().unwrap())
    }

    fn one(address: Address) -> Result<Socket, BindError> {
        bind(&[address]).map(|mut sockets| sockets.remove(0))
    }

    fn at_path(path: &Path) -> Address {
        Address { proxied: false, speaks: Speaks::Plain, at: At::Unix(path.to_owned()) }
    }

    #[test]
    fn a_free_port_is_told() {
        let socket = one(loopback()).unwrap();
        let address = socket.address().tcp().unwrap();
        assert_ne!(address.port(), 0);
        let error = one(socket.address().clone()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
        let marked = Address { speaks: Speaks::H2c, ..socket.address().clone() };
        let error = one(marked).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on h2c:{address}: ")), "{error}");
    }

    #[test]
    fn what_is_accepted_shows_its_progress() {
        let socket = one(loopback()).unwrap();
        let handed_on = Socket::adopt(socket.address(), socket.fd().try_clone_to_owned().unwrap()).unwrap();
        for socket in [socket, handed_on] {
            let Bound::Tcp(listener) = &socket.bound else { panic!("TCP") };
            listener.set_nonblocking(false).unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            assert_eq!(socket2::SockRef::from(&accepted).tcp_notsent_lowat().unwrap(), UNSEEN);
            drop(client);
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        drop(StdUnix::bind(&path).unwrap());
        let socket = one(at_path(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(one(at_path(&path)).unwrap_err().to_string().contains("unix:"));
        assert!(UnixStream::connect(&path).is_ok());
        drop(socket);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "x").unwrap();
        assert!(one(at_path(&path)).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "x");
        assert!(one(at_path(&folder.path().join("no/such"))).is_err());
    }

    #[test]
    fn a_socket_is_handed_on_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let tcp = one(loopback()).unwrap();
        let unix = one(at_path(&folder.path().join("http.sock"))).unwrap();
        let systemd = Address { proxied: false, speaks: Speaks::Plain, at: At::Systemd("http".to_owned()) };
        let adopt =
            |address: &Address, socket: &Socket| Socket::adopt(address, socket.fd().try_clone_to_owned().unwrap());
        assert_eq!(adopt(&loopback(), &tcp).unwrap().address(), tcp.address());
        assert_eq!(adopt(&systemd, &tcp).unwrap().address(), &systemd);
        assert_eq!(adopt(&systemd, &unix).unwrap().address(), &systemd);
        // That one went without its file, which the others still need.
        assert!(UnixStream::connect(folder.path().join("http.sock")).is_ok());
        assert_eq!(adopt(unix.address(), &unix).unwrap().address(), unix.address());
        assert!(!folder.path().join("http.sock").exists());

        let elsewhere = one(loopback()).unwrap();
        let error = |address: &Address, socket: &Socket| adopt(address, socket).unwrap_err().to_string();
        assert!(error(elsewhere.address(), &tcp).contains("is at 127.0.0.1:"));
        assert!(error(unix.address(), &tcp).contains("another family"));
        assert!(error(tcp.address(), &unix).contains("another family"));
        let client = std::net::TcpStream::connect(tcp.address().tcp().unwrap()).unwrap();
        let error = Socket::adopt(&systemd, client.into()).unwrap_err().to_string();
        assert_eq!(error, "cannot listen on systemd:http: what was handed over is no stream socket that listens");
    }
}
