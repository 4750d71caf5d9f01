//! A connection of HTTP/2: its streams, each served as a request, and when it has to go. Pingora has a loop like this, but
//! counts no requests, knows no age, and closes an idle connection without a word to its client.
//!
//! What h2 bounds itself: streams at a time and bytes of a head (below); 20 streams that are reset before they are looked
//! at, and 1024 that are reset for its client's faults, over a connection's life; frames of a head; empty data frames;
//! one answer to a ping or to settings at a time.

use std::{future::poll_fn, mem, pin::pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use h2::{Reason, server::Connection as Http2};
use http::{HeaderValue, Request, header, request::Parts};
use pingora::{
    apps::HttpServerApp,
    http::RequestHeader,
    protocols::{
        Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, Ssl, Stream,
        http::{
            ServerSession,
            v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake},
        },
    },
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{Ends, Front};
use crate::listen::{Connection, Exchange, Line};

/// Streams of a connection at a time. One of HTTP/1.1 can hold one connection to the upstream, one of HTTP/2 so many.
const MAX_STREAMS: u32 = 32;
/// Bytes of a stream's answer that wait for its client. h2 would keep 400 KiB, and this for each stream.
const MAX_UNSENT: usize = 32 << 10;
/// Requests that are served for it: more than its streams, since a stream that a client resets is gone before its
/// request is.
const MAX_RUNNING: usize = 2 * MAX_STREAMS as usize;
/// Requests of a connection that are refused for being nonsense or too many, before it is.
const MAX_REFUSED: u32 = 32;
/// How long a client has to take note that its connection is about to go, and streams that it opened meanwhile to come.
const LEAVING: Duration = Duration::from_secs(2);

/// What a connection's task goes on for.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
enum Event {
    /// A stream, or the end.
    Accepted(pingora::Result<Option<H2Accept>>),
    /// All streams are over and their answers are out.
    Quiet,
    /// It is time for something.
    Late,
    /// No more streams.
    Stop,
}

/// One connection.
struct Door<'a> {
    front: &'a Front,
    /// When it is to have no new streams.
    leave: watch::Receiver<bool>,
    /// What its requests are told of the end.
    stop: watch::Receiver<bool>,
    line: Line,
    http2: Http2<Stream, Bytes>,
    digest: Arc<Digest>,
    streams: JoinSet<()>,
    /// Since when it has no stream.
    quiet: Option<Instant>,
    /// Since when its client is told to open no more.
    leaving: Option<Instant>,
    /// How many requests it may still have.
    left: u32,
    refused: u32,
}

/// Serves a connection that began with HTTP/2 until it ends. `max_requests` are at least one.
pub(super) async fn serve(front: &Front, connection: Connection, ends: Ends, max_requests: u32) {
    let line = connection.multiplexes();
    let digest = Arc::new(Digest {
        ssl_digest: connection.get_ssl_digest(),
        timing_digest: connection.get_timing_digest(),
        proxy_digest: connection.get_proxy_digest(),
        socket_digest: connection.get_socket_digest(),
    });
    let shaken = timeout(line.header_timeout(), handshake(Box::new(connection), Some(options()))).await;
    let Ok(Ok(http2)) = shaken else { return };
    // Who comes while others leave stays until the end.
    let leave = if *ends.leave.borrow() { ends.stop.clone() } else { ends.leave };
    let quiet = Some(Instant::now());
    let streams = JoinSet::new();
    let door = Door {
        front,
        leave,
        stop: ends.stop,
        line,
        http2,
        digest,
        streams,
        quiet,
        leaving: None,
        left: max_requests,
        refused: 0,
    };
    door.run().await;
}

fn options() -> H2Options {
    let mut options = default_h2_options();
    options.max_concurrent_streams(MAX_STREAMS).max_send_buffer_size(MAX_UNSENT);
    options
}

impl Door<'_> {
    async fn run(mut self) {
        loop {
            match self.next().await {
                Event::Accepted(Ok(Some(H2Accept::Session(session)))) => {
                    if !self.take(session) {
                        return;
                    }
                }
                Event::Accepted(Ok(Some(H2Accept::Rejected))) => self.refuse(),
                Event::Accepted(Ok(None) | Err(_)) => break,
                Event::Quiet => {
                    self.quiet = Some(Instant::now());
                    self.line.waits();
                }
                Event::Late if self.leaving.is_some() => break,
                Event::Late | Event::Stop => self.leave(),
            }
        }
        // What runs hears that its client is gone.
        let Self { http2, mut streams, .. } = self;
        drop(http2);
        while streams.join_next().await.is_some() {}
    }

    async fn next(&mut self) -> Event {
        let until = match (self.leaving, self.quiet) {
            (Some(leaving), Some(_)) => Some(leaving + LEAVING),
            (Some(_), None) => None,
            (None, None) => Some(self.line.is_old_at()),
            (None, Some(since)) => Some(self.line.is_old_at().min(self.line.waits_until(since))),
        };
        let Self { leave, line, http2, digest, streams, quiet, leaving, .. } = self;
        let frames = poll_fn(|cx| {
            // Its one wait is for the connection's next stream, which is not lost with it.
            if let Poll::Ready(accepted) = pin!(HttpSession::from_h2_conn(http2, Arc::clone(digest))).poll(cx) {
                return Poll::Ready(Event::Accepted(accepted));
            }
            while let Poll::Ready(Some(_)) = streams.poll_join_next(cx) {}
            let over = streams.is_empty() && !http2.has_streams() && line.has_sent_all();
            if over && quiet.is_none() { Poll::Ready(Event::Quiet) } else { Poll::Pending }
        });
        tokio::select! {
            biased;
            _ = leave.wait_for(|leave| *leave), if leaving.is_none() => Event::Stop,
            event = frames => event,
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => Event::Late,
        }
    }

    /// Serves a stream. False if the connection had to go just before.
    fn take(&mut self, mut session: HttpSession) -> bool {
        if !self.line.begins() {
            return false;
        }
        self.quiet = None;
        self.left = self.left.saturating_sub(1);
        if self.left == 0 && self.leaving.is_none() {
            self.leave();
        }
        let too_late = self.leaving.is_some_and(|since| since.elapsed() >= LEAVING);
        if too_late || self.streams.len() >= MAX_RUNNING {
            session.shutdown_with_reason(Reason::REFUSED_STREAM);
            self.refuse();
            return true;
        }
        let Some(exchange) = self.line.exchange().map(Arc::new) else {
            session.shutdown_with_reason(Reason::REFUSED_STREAM);
            return true;
        };
        as_of_one_connection(session.req_header_mut(), &exchange);
        let (front, stop) = (self.front.clone(), self.stop.clone());
        self.streams.spawn(async move {
            let served = async {
                let _place = front.admission.admit().await;
                front.proxy.process_new_http(ServerSession::new_http2(session), &stop).await
            };
            tokio::select! {
                biased;
                _ = served => {}
                // With what serves it the stream is reset.
                () = exchange.is_late() => {}
            }
        });
        true
    }

    fn refuse(&mut self) {
        self.refused += 1;
        if self.refused == MAX_REFUSED {
            self.http2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
    }

    /// Nothing that has begun is cut: the client is told, and opens another connection.
    fn leave(&mut self) {
        self.http2.graceful_shutdown();
        self.leaving = Some(Instant::now());
    }
}

/// Makes a request what it would be in HTTP/1.1: with its authority as Host, and with one line of cookies (RFC 9113
/// §8.2.3). With it goes what the gate must know of its stream.
fn as_of_one_connection(request: &mut RequestHeader, exchange: &Arc<Exchange>) {
    let empty = RequestHeader::from(Request::new(()).into_parts().0);
    let mut parts = Parts::from(mem::replace(request, empty));
    parts.extensions.insert(Arc::clone(exchange));
    if !parts.headers.contains_key(header::HOST)
        && let Some(host) = parts.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok())
    {
        parts.headers.insert(header::HOST, host);
    }
    let crumbs: Vec<_> = parts.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookies) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        parts.headers.insert(header::COOKIE, cookies);
    }
    *request = parts.into();
}
