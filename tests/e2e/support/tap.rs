//! A wire that keeps the requests that pass it, as a browser sends them.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

use super::upstream::Seen;

/// Bound before what it leads to is there, so that links can name it.
pub(crate) struct Tap {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    leads_to: Arc<Mutex<Option<SocketAddr>>>,
    _server: AbortOnDropHandle<()>,
}

impl Tap {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, leads_to) = (Arc::default(), Arc::new(Mutex::new(None)));
        let (all, server) = (Arc::clone(&seen), Arc::clone(&leads_to));
        let accept = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Some(server) = *server.lock() else { continue };
                tokio::spawn(pass(client, server, Arc::clone(&all)));
            }
        });
        Self { address, seen, leads_to, _server: AbortOnDropHandle::new(accept) }
    }

    pub(crate) fn lead_to(&self, server: SocketAddr) {
        *self.leads_to.lock() = Some(server);
    }

    /// The requests so far whose path begins so, oldest first.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        self.seen.lock().iter().filter(|seen| seen.target().starts_with(path)).cloned().collect()
    }
}

async fn pass(client: TcpStream, server: SocketAddr, seen: Arc<Mutex<Vec<Seen>>>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move {
        // Either side may go at any time.
        let _ = copy(&mut from_server, &mut to_client).await;
    });
    let (mut bytes, mut rest) = (vec![0; 64 << 10], Vec::new());
    while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
        rest.extend_from_slice(&bytes[..read]);
        while let Some(request) = first(&mut rest) {
            // Before it goes on: whoever has its answer finds it here.
            seen.lock().push(request);
        }
        if to_server.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// Takes the first whole request away. Browsers send no chunks.
fn first(rest: &mut Vec<u8>) -> Option<Seen> {
    let end = rest.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let mut seen = Seen { head: rest[..end].to_vec(), ..Seen::default() };
    let length: usize = seen.header("content-length").first().map_or(0, |length| length.parse().unwrap());
    seen.body = rest.get(end..end + length)?.to_vec();
    rest.drain(..end + length);
    Some(seen)
}

impl Seen {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("JSON, not {:?}", self.text()))
    }
}
