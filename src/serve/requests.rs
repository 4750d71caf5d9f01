//! A connection of HTTP/1.1: its requests, one after the other. Pingora has a loop like this, but holds a session for a
//! request that may never come; connections are mostly idle, and many.

use pingora::{
    apps::HttpServerApp,
    protocols::{Shutdown, http::ServerSession},
};
use tokio::{io, sync::watch};

use super::{Front, or_stopped};
use crate::{listen::Connection, proxy::Served};

/// Pingora's own, which [`Connection`] does not let it come to.
const KEEP_ALIVE_SECONDS: u64 = 60;

/// Serves a connection until it ends. `max_requests` are at least one.
pub(super) async fn serve(
    front: &Front,
    connection: Connection,
    mut stopping: watch::Receiver<bool>,
    max_requests: u32,
) {
    let (mut connection, mut kept) = (Box::new(connection), None);
    loop {
        let goes_on = match connection.is_used_up() {
            // Else it is late, or time to go, or the client is gone.
            true => matches!(or_stopped(connection.next_comes(), &mut stopping).await, Some(Ok(true))),
            // What may be here already of the next, Pingora has.
            false => io::AsyncWriteExt::flush(&mut connection).await.is_ok(),
        };
        if !goes_on {
            return connection.shutdown().await;
        }
        let beginning = connection.beginning();
        let taken = front.gate.takes(&beginning);
        let _place = match taken {
            Some(_) => None,
            None => Some(front.admission.admit().await),
        };
        let mut session = ServerSession::new_http1(connection);
        match kept.take() {
            Some(Some(settings)) => pingora::apps::HttpPersistentSettings::apply_to_session(settings, &mut session),
            Some(None) => {}
            None => {
                session.set_keepalive((!*stopping.borrow()).then_some(KEEP_ALIVE_SECONDS));
                // It counts those that come after the first.
                session.set_keepalive_reuses_remaining(Some(max_requests.saturating_sub(1)));
            }
        }
        if !beginning.is_empty() {
            session.set_pipelined_prefix(beginning);
        }
        let reused = match taken {
            Some(generation) => match front.gate.serve(session, generation, &mut stopping).await {
                Served::Kept(reused) => Some(reused),
                Served::Over => None,
                Served::Passes(session) => front.proxy.process_new_http(*session, &stopping).await,
            },
            None => front.proxy.process_new_http(session, &stopping).await,
        };
        let Some(reused) = reused else { return };
        let (stream, settings) = reused.consume();
        let Ok(stream) = stream.into_any().downcast() else { return };
        (connection, kept) = (stream, Some(settings));
    }
}
