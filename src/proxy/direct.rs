//! Requests for the reset path that are answered without Pingora's `HttpProxy`: what that keeps ready for every request is
//! there to pass it on, and costs more than an answer does.
//!
//! Which requests go this way is told by the first bytes of their head, before anything has parsed it. It is the usual
//! spelling alone; every other way to ask for the path is answered as well, by way of `HttpProxy`, and by the same code
//! ([`Gate::route`]), which also has the last word here.

use std::sync::Arc;

use bytes::BytesMut;
use http::{Version, header};
use pingora::{
    Error, ErrorType,
    apps::{HttpPersistentSettings, ReusedHttpStream},
    protocols::http::ServerSession,
};
use tokio::{io::AsyncWriteExt, sync::watch};

use super::{Gate, Generation, Passage, Steps, passage::connection, phases::Verdict, respond::Answer};
use crate::listen::Connection;

/// What became of a request.
pub(crate) enum Served {
    /// It is over, and its connection may have another.
    Kept(ReusedHttpStream),
    /// It is over, and so is its connection.
    Over,
    /// It is to be passed on: the session begins with it.
    Passes(Box<ServerSession>),
}

impl Gate {
    /// By what a request of HTTP/1 that begins with these bytes is to be served by [`Gate::serve`], if it is.
    pub(crate) fn takes(&self, beginning: &[u8]) -> Option<Arc<Generation>> {
        let target = beginning.strip_prefix(b"GET ").or_else(|| beginning.strip_prefix(b"POST "))?;
        // A target may hold blanks, which Pingora then encodes: only the line's end tells that this is all of it.
        let is_asked = |rest: &[u8]| rest.starts_with(b"?") || rest.starts_with(b" HTTP/1.1\r\n");
        let generation = self.generation.load();
        let is_here = target.strip_prefix(generation.router.path()).is_some_and(is_asked);
        (is_here && matches!(*self.steps.borrow(), Steps::Here)).then(|| Arc::clone(&generation))
    }

    /// Answers that request, of whose session nothing has been read.
    pub(crate) async fn serve(
        &self,
        mut session: ServerSession,
        generation: Arc<Generation>,
        stopping: &mut watch::Receiver<bool>,
    ) -> Served {
        let read = tokio::select! {
            biased;
            read = session.read_request() => read,
            _ = stopping.wait_for(|stop| *stop) => return Served::Over,
        };
        match read {
            Ok(true) => {}
            Ok(false) => return Served::Over,
            Err(error) => {
                if *error.etype() == ErrorType::InvalidHTTPHeader {
                    // Nobody is left to tell if this fails as well.
                    let _ = session.respond_error(400).await;
                }
                session.shutdown().await;
                return Served::Over;
            }
        }
        if *stopping.borrow() {
            session.set_keepalive(None);
        }
        let mut passage = Passage::new(generation);
        let judged = match self.begins(&mut session, &mut passage) {
            Ok(()) => self.route(&mut session, &mut passage).await,
            Err(error) => Err(error),
        };
        let sent = match judged {
            Ok(Verdict::Answer(answer)) => {
                if is_whole(&mut session) {
                    let Some(whole) = Whole::of(session) else { return Served::Over };
                    return self.send(whole, answer, passage).await;
                }
                answer.send(&mut session, passage.request.as_ref()).await
            }
            Ok(Verdict::Pass) => {
                // Whoever passes it on tells of it.
                passage.head = None;
                return again(session).map_or(Served::Over, |again| Served::Passes(Box::new(again)));
            }
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            self.failed(&mut session, &error, &passage).await;
            self.is_over(&session, Some(&error), &mut passage);
            return Served::Over;
        }
        self.is_over(&session, None, &mut passage);
        let settings = HttpPersistentSettings::for_session(&session);
        match session.finish().await {
            Ok(Some(stream)) => Served::Kept(ReusedHttpStream::from_reusable_stream(stream, settings)),
            Ok(None) | Err(_) => Served::Over,
        }
    }

    /// Sends an answer as one piece, past Pingora.
    async fn send(&self, whole: Whole, answer: Answer, mut passage: Passage) -> Served {
        let Whole { mut connection, settings, keeps, received } = whole;
        let status = answer.reply.status;
        let (bytes, length) = answer.bytes(passage.request.as_ref(), keeps);
        let sent = async {
            connection.write_all(&bytes).await?;
            connection.flush().await
        };
        let error = sent.await.err().map(|error| Error::because(ErrorType::WriteError, "an answer", error).into_down());
        self.ended(Some(&connection), Some(status), error.as_deref(), [received, length], &mut passage);
        if error.is_none() && keeps {
            return Served::Kept(ReusedHttpStream::new(connection, Some(settings)));
        }
        let _ = connection.shutdown().await;
        Served::Over
    }
}

/// Whether nothing is left to be read of its request, and nothing is known of what follows it.
fn is_whole(session: &mut ServerSession) -> bool {
    session.req_header().version == Version::HTTP_11
        && session.is_body_done()
        && connection(session).is_some_and(Connection::is_used_up)
}

/// What is left of a session whose request [`is_whole`]: only the answer is missing.
struct Whole {
    connection: Box<Connection>,
    settings: HttpPersistentSettings,
    /// Whether the connection stays.
    keeps: bool,
    /// Bytes of the request's body.
    received: usize,
}

impl Whole {
    /// None if it is not over a connection of ours.
    fn of(session: ServerSession) -> Option<Self> {
        let (settings, received) = (HttpPersistentSettings::for_session(&session), session.body_bytes_read());
        let ServerSession::H1(session) = session else { return None };
        let keeps = session.will_keepalive();
        let connection = session.into_inner().into_any().downcast().ok()?;
        Some(Self { connection, settings, keeps, received })
    }
}

/// A session in which the request comes once more, with the body that was read of it. It is its connection's last: the
/// process that it is passed on to takes the others.
fn again(session: ServerSession) -> Option<ServerSession> {
    let ServerSession::H1(session) = session else { return None };
    let mut bytes = BytesMut::from(&*session.get_headers_raw_bytes());
    let body = session.get_retry_buffer().unwrap_or_default();
    if session.req_header().headers.contains_key(header::TRANSFER_ENCODING) {
        if !body.is_empty() {
            bytes.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(&body);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    } else {
        bytes.extend_from_slice(&body);
    }
    let mut again = ServerSession::new_http1(session.into_inner());
    again.set_pipelined_prefix(bytes);
    again.set_keepalive_reuses_remaining(Some(0));
    Some(again)
}
