//! A wire to a server whose answers can be held back, so that a test decides when the slow is done.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::soon;

pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    held: Arc<watch::Sender<bool>>,
    /// Whether to hold from the next PATCH on.
    trap: Arc<AtomicBool>,
    /// Connections and pieces of requests that came while it was held.
    came: Arc<watch::Sender<u64>>,
}

impl Wire {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Self { address, held: Arc::default(), trap: Arc::default(), came: Arc::default() };
        let (held, came, trap) = (Arc::clone(&wire.held), Arc::clone(&wire.came), Arc::clone(&wire.trap));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *held.borrow() {
                    came.send_modify(|count| *count += 1);
                }
                let Ok(server) = TcpStream::connect(server).await else { continue };
                pass(client, server, &held, &came, &trap);
            }
        });
        wire
    }

    /// From now on requests pass, and answers wait.
    pub(crate) fn hold(&self) {
        self.came.send_replace(0);
        self.held.send_replace(true);
    }

    /// The next PATCH passes, and its answer waits with all that follow.
    pub(crate) fn hold_at_patch(&self) {
        self.came.send_replace(0);
        self.trap.store(true, Ordering::SeqCst);
    }

    /// Something came whose answer is held.
    pub(crate) async fn holds(&self) {
        let _ = soon("something to hold", self.came.subscribe().wait_for(|count| *count > 0)).await.unwrap();
    }

    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }
}

fn pass(
    client: TcpStream,
    server: TcpStream,
    held: &Arc<watch::Sender<bool>>,
    came: &Arc<watch::Sender<u64>>,
    trap: &Arc<AtomicBool>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (hold, came, trap) = (Arc::clone(held), Arc::clone(came), Arc::clone(trap));
    tokio::spawn(async move {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
            if bytes.starts_with(b"PATCH ") && trap.swap(false, Ordering::SeqCst) {
                hold.send_replace(true);
            }
            if *hold.borrow() {
                came.send_modify(|count| *count += 1);
            }
            if to_server.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    });
    let mut now = held.subscribe();
    tokio::spawn(async move {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
            if now.wait_for(|held| !held).await.is_err() || to_client.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    });
}
