//! Sockets that systemd opened and holds: it listens before this program runs, and while it is restarted.

use std::{
    env,
    io::{self, ErrorKind},
    os::fd::OwnedFd,
};

use listenfd::ListenFd;

/// All that this process was given (`LISTEN_FDS`, see sd_listen_fds(3)).
pub(super) struct Given {
    sockets: ListenFd,
    /// Theirs, in the same order.
    names: Vec<String>,
}

impl Given {
    /// What the environment tells of is there once: whoever asks again finds nothing.
    pub(super) fn take() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self { sockets: ListenFd::from_env(), names: names.split(':').map(str::to_owned).collect() }
    }

    /// Those of that name, at least one.
    pub(super) fn named(&mut self, name: &str) -> io::Result<Vec<OwnedFd>> {
        let places: Vec<_> = self.names.iter().enumerate().filter(|(_, own)| *own == name).map(|(at, _)| at).collect();
        let mut found = Vec::new();
        for at in places {
            found.extend(self.socket(at)?);
        }
        if found.is_empty() {
            let why = "systemd gave this process no socket of that name; see FileDescriptorName= in the socket unit";
            return Err(io::Error::new(ErrorKind::NotFound, why));
        }
        Ok(found)
    }

    fn socket(&mut self, at: usize) -> io::Result<Option<OwnedFd>> {
        match self.sockets.take_tcp_listener(at) {
            Ok(socket) => Ok(socket.map(OwnedFd::from)),
            // It is left where it was.
            Err(_) => Ok(self.sockets.take_unix_listener(at)?.map(OwnedFd::from)),
        }
    }
}
