//! An address that nobody else is given, whether anybody listens there or not.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

pub(crate) struct Reserved {
    pub(crate) address: SocketAddr,
    /// Bound, and never listening: who connects is refused.
    _socket: TcpSocket,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        let socket = shared("127.0.0.1:0".parse().unwrap());
        Self { address: socket.local_addr().unwrap(), _socket: socket }
    }

    /// For others, there too, as long as what is returned lives.
    pub(crate) fn listen(&self) -> TcpListener {
        shared(self.address).listen(1024).unwrap()
    }
}

fn shared(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}
