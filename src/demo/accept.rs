//! One accept loop for every listener of the demo. What it returns owns the listener and its connections: dropping it
//! closes them all, so a test can take a server away.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// Connections of one listener at a time; the next one waits in the backlog.
const CONNECTIONS: usize = 1024;
/// After a failed accept (no file descriptor left, mostly) trying again at once would only burn the processor.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves each connection of `listener` with `serve` until the handle is dropped.
pub(super) fn accept<S, F>(listener: TcpListener, serve: S) -> AbortOnDropHandle<()>
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((socket, _)) => {
                    // Small answers on loopback: Nagle's delay would be most of their time.
                    let _ = socket.set_nodelay(true);
                    let connection = serve(socket);
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
            while connections.try_join_next().is_some() {}
        }
    }))
}
