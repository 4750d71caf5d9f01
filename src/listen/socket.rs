//! Binding: TCP and Unix sockets, ready before anything else starts.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener as StdTcp},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener as StdUnix, UnixStream},
    },
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixListener};

use super::{Kind, Listener, pace::UNSEEN};
use crate::config::Address;

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
    Unix(StdUnix, SocketFile),
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    address: String,
    source: io::Error,
}

/// Listens on an address.
///
/// # Errors
/// If the system refuses it, with the address and the system's reason.
pub fn bind(address: &Address) -> Result<Socket, BindError> {
    match address {
        Address::Tcp(address) => {
            let (socket, address) = bind_tcp(*address)?;
            Ok(Socket { address: Address::Tcp(address), bound: Bound::Tcp(socket) })
        }
        Address::H2c(address) => {
            let (socket, address) = bind_tcp(*address)?;
            Ok(Socket { address: Address::H2c(address), bound: Bound::Tcp(socket) })
        }
        Address::Unix(path) => {
            unix(path).map_err(|source| BindError { address: format!("unix:{}", path.display()), source })
        }
    }
}

/// Listens on a TCP address, and tells the port.
///
/// # Errors
/// As [`bind`].
pub(crate) fn bind_tcp(address: SocketAddr) -> Result<(StdTcp, SocketAddr), BindError> {
    tcp(address).map_err(|source| BindError { address: address.to_string(), source })
}

impl Socket {
    /// Where it listens: with the port that the system chose, if that was left to it.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Hands it to the runtime that this runs in.
    pub(crate) fn into_listener(self) -> io::Result<Listener> {
        let http2 = matches!(self.address, Address::H2c(_));
        let (kind, file) = match self.bound {
            Bound::Tcp(socket) => (Kind::Tcp(TcpListener::from_std(socket)?), None),
            Bound::Unix(socket, file) => (Kind::Unix(UnixListener::from_std(socket)?), Some(file)),
        };
        Ok(Listener { kind, http2, _file: file })
    }
}

fn tcp(address: SocketAddr) -> io::Result<(StdTcp, SocketAddr)> {
    use socket2::{Domain, Socket as Raw, Type};
    let socket = Raw::new(Domain::for_address(address), Type::STREAM, None)?;
    // Without it a restart has to wait until the last run's connections are forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    make_progress_seen(&socket);
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let socket = StdTcp::from(socket);
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// What is accepted here takes no more into the kernel than the line carries soon, and [`UNSEEN`] besides. Else megabytes
/// would wait there for each slow reader, and how much it takes would not be seen for minutes.
fn make_progress_seen(socket: &socket2::Socket) {
    // Without it memory and time are worse, and nothing is wrong.
    let _ = socket.set_tcp_notsent_lowat(UNSEEN);
}

/// Binds under another name first, so that nobody ever finds the socket with permissions that are not its own.
fn unix(path: &Path) -> io::Result<Socket> {
    may_replace(path)?;
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    let file =
        |path: &Path| SocketFile { path: path.to_owned(), inode: fs::symlink_metadata(path).ok().map(|m| m.ino()) };
    let socket = StdUnix::bind(&hidden)?;
    let cleanup = file(&hidden);
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o660))?;
    fs::rename(&hidden, path)?;
    drop(cleanup);
    socket.set_nonblocking(true)?;
    Ok(Socket { address: Address::Unix(path.to_owned()), bound: Bound::Unix(socket, file(path)) })
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
pub(super) struct SocketFile {
    path: PathBuf,
    inode: Option<u64>,
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

    #[test]
    fn a_free_port_is_told() {
        let socket = bind(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let Address::Tcp(address) = *socket.address() else { panic!("TCP") };
        assert_ne!(address.port(), 0);
        let error = bind(socket.address()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }

    #[test]
    fn what_is_accepted_shows_its_progress() {
        let socket = bind(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let Bound::Tcp(listener) = &socket.bound else { panic!("TCP") };
        listener.set_nonblocking(false).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(socket2::SockRef::from(&accepted).tcp_notsent_lowat().unwrap(), UNSEEN);
        drop(client);
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        drop(StdUnix::bind(&path).unwrap());
        let socket = bind(&Address::Unix(path.clone())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(bind(&Address::Unix(path.clone())).unwrap_err().to_string().contains("unix:"));
        assert!(UnixStream::connect(&path).is_ok());
        drop(socket);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "x").unwrap();
        assert!(bind(&Address::Unix(path.clone())).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "x");
        assert!(bind(&Address::Unix(folder.path().join("no/such"))).is_err());
    }
}
