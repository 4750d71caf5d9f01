//! Clients of HTTP/2 that share a connection, and open another when they are told that it ends.

use std::sync::Arc;

use bytes::Bytes;
use h2::{
    Error, Reason,
    client::{SendRequest, handshake},
};
use http::Request;
use tokio::{sync::Mutex, time::timeout};

use super::{Ask, Dial, Tally};
use crate::support::{PATIENCE, answer::Answer};

/// One of them.
pub(crate) struct Http2 {
    shared: Arc<Shared>,
    tally: Arc<Tally>,
}

struct Shared {
    dial: Dial,
    /// With its number.
    connection: Mutex<(u64, Option<SendRequest<Bytes>>)>,
}

/// What became of a request.
enum Fate {
    Answered(Answer),
    /// The connection has no more streams.
    Unsent,
    /// It was on its way when the connection had no more streams, and was not looked at: it is sent again.
    Crossed,
    /// It was not looked at although the connection goes on, as the server says.
    Refused(String),
    Broken(String),
}

impl Http2 {
    /// All who share one.
    pub(super) fn connection(dial: &Dial, tally: &Arc<Tally>, clients: usize) -> impl Iterator<Item = Self> {
        let shared = Arc::new(Shared { dial: dial.clone(), connection: Mutex::default() });
        let tally = Arc::clone(tally);
        (0..clients).map(move |_| Self { shared: Arc::clone(&shared), tally: Arc::clone(&tally) })
    }

    pub(super) async fn ask(&mut self, ask: &Ask) -> Option<Answer> {
        let mut last = 0;
        loop {
            let (number, send) = match timeout(PATIENCE, self.shared.open(last, &self.tally)).await {
                Ok(Ok(open)) => open,
                Ok(Err(why)) => return self.fails(ask, format!("no connection: {why}")),
                Err(_) => return self.fails(ask, "no connection in time"),
            };
            match timeout(PATIENCE, exchange(send, ask, &self.tally)).await {
                Ok(Fate::Answered(answer)) => return self.tally.judge(ask, answer),
                Ok(Fate::Unsent) => {}
                Ok(Fate::Crossed) => self.tally.crossed(),
                Ok(Fate::Refused(why)) => self.tally.retries(why),
                Ok(Fate::Broken(why)) => return self.fails(ask, why),
                Err(_) => return self.fails(ask, "no answer in time"),
            }
            last = number;
        }
    }

    fn fails(&self, ask: &Ask, why: impl std::fmt::Display) -> Option<Answer> {
        self.tally.fails(&ask.target, why);
        None
    }
}

impl Shared {
    /// The connection, if it still takes streams and is a later one than that, or a new one.
    async fn open(&self, later: u64, tally: &Tally) -> Result<(u64, SendRequest<Bytes>), String> {
        let mut connection = self.connection.lock().await;
        let (number, open) = &mut *connection;
        if let Some(open) = open.clone().filter(|_| *number > later) {
            match open.ready().await {
                Ok(open) => return Ok((*number, open)),
                Err(fault) if is_told(&fault) => {}
                // A correct server says that it goes before it does.
                Err(fault) => return Err(format!("the last one ended with {fault}")),
            }
        }
        if open.is_some() {
            tally.is_told_to_close();
        }
        let stream = self.dial.connect().await.map_err(|fault| fault.to_string())?;
        tally.connected();
        let (fresh, driver) = handshake(stream).await.map_err(|fault| fault.to_string())?;
        tokio::spawn(driver);
        // The bound of the server's streams is not known before.
        let fresh = fresh.ready().await.map_err(|fault| fault.to_string())?;
        *number += 1;
        *open = Some(fresh.clone());
        Ok((*number, fresh))
    }
}

async fn exchange(mut send: SendRequest<Bytes>, ask: &Ask, tally: &Tally) -> Fate {
    let method = if ask.body.is_some() { "POST" } else { "GET" };
    let request = Request::builder().method(method).uri(format!("http://id.example.com{}", ask.target));
    let request = request.header("content-type", "application/json").body(()).unwrap();
    let (answer, mut body) = match send.send_request(request, ask.body.is_none()) {
        Ok(sent) => sent,
        Err(fault) if is_told(&fault) => return Fate::Unsent,
        Err(fault) => return Fate::Broken(format!("not sent: {fault}")),
    };
    tally.asks();
    if let Some(text) = &ask.body
        && let Err(fault) = body.send_data(Bytes::copy_from_slice(text.as_bytes()), true)
    {
        return not_answered(&fault);
    }
    let (head, mut body) = match answer.await {
        Ok(answer) => answer.into_parts(),
        Err(fault) => return not_answered(&fault),
    };
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        match piece {
            Ok(piece) => {
                let _ = body.flow_control().release_capacity(piece.len());
                text.extend_from_slice(&piece);
            }
            Err(fault) => return Fate::Broken(format!("half an answer: {fault}")),
        }
    }
    let body = String::from_utf8_lossy(&text).into_owned();
    Fate::Answered(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

/// Streams that come after the last one that the server says it has taken, or that it refuses, it has not looked at.
fn not_answered(fault: &Error) -> Fate {
    let refused = fault.is_remote() && fault.reason() == Some(Reason::REFUSED_STREAM);
    if is_told(fault) {
        Fate::Crossed
    } else if refused {
        Fate::Refused(fault.to_string())
    } else {
        Fate::Broken(format!("no answer: {fault:?}"))
    }
}

/// That the connection ends in good order.
fn is_told(fault: &Error) -> bool {
    fault.is_go_away() && fault.is_remote() && fault.reason() == Some(Reason::NO_ERROR)
}
