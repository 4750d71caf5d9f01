//! A client of HTTP/1.1 on a connection that it keeps.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{Ask, Dial, Tally, dial::Stream};
use crate::support::{PATIENCE, answer::Answer};

pub(crate) struct Http1 {
    dial: Dial,
    tally: Arc<Tally>,
    kept: Option<Connection>,
}

/// What became of a request.
enum Fate {
    /// And whether the connection can have another.
    Answered(Answer, bool),
    /// The connection ended, and not a byte of an answer had come.
    Closed(String),
    /// An answer that broke off, or is none.
    Broken(String),
}

impl Http1 {
    pub(super) fn new(dial: Dial, tally: &Arc<Tally>) -> Self {
        Self { dial, tally: Arc::clone(tally), kept: None }
    }

    pub(super) async fn ask(&mut self, ask: &Ask) -> Option<Answer> {
        let (hasty, close) = (self.dial.is_hasty(), if self.dial.is_hasty() { "Connection: close\r\n" } else { "" });
        let request = match &ask.body {
            None => format!("GET {} HTTP/1.1\r\nHost: id.example.com\r\n{close}\r\n", ask.target),
            Some(body) => format!(
                "POST {} HTTP/1.1\r\nHost: id.example.com\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n{close}\r\n{body}",
                ask.target,
                body.len()
            ),
        };
        loop {
            let was_kept = self.kept.is_some();
            let mut connection = match self.kept.take() {
                Some(kept) => kept,
                None => match timeout(PATIENCE, self.dial.connect()).await {
                    Ok(Ok(stream)) => {
                        if !hasty {
                            self.tally.connected();
                        }
                        Connection { stream, read: Vec::new() }
                    }
                    Ok(Err(fault)) => return self.fails(ask, format!("no connection: {fault}")),
                    Err(_) => return self.fails(ask, "no connection in time"),
                },
            };
            match timeout(PATIENCE, connection.exchange(request.as_bytes(), &self.tally)).await {
                Ok(Fate::Answered(answer, goes_on)) => {
                    if goes_on {
                        self.kept = Some(connection);
                    } else if !hasty {
                        self.tally.is_told_to_close();
                    }
                    return self.tally.judge(ask, answer);
                }
                // It was closed while it was idle, and that and the request have crossed.
                Ok(Fate::Closed(why)) if was_kept => self.tally.retries(why),
                Ok(Fate::Closed(why)) => return self.fails(ask, format!("no answer on a new connection: {why}")),
                Ok(Fate::Broken(why)) => return self.fails(ask, format!("half an answer: {why}")),
                Err(_) => return self.fails(ask, "no answer in time"),
            }
        }
    }

    fn fails(&self, ask: &Ask, why: impl std::fmt::Display) -> Option<Answer> {
        self.tally.fails(&ask.target, why);
        None
    }
}

struct Connection {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

impl Connection {
    async fn exchange(&mut self, request: &[u8], tally: &Tally) -> Fate {
        // A server that refuses may close before it has read all, and be right: what it says counts.
        let sent = self.stream.write_all(request).await.and(self.stream.flush().await);
        tally.asks();
        match self.answer().await {
            Ok((answer, goes_on)) => Fate::Answered(answer, goes_on && sent.is_ok()),
            Err(why) if self.read.is_empty() => Fate::Closed(why),
            Err(why) => Fate::Broken(why),
        }
    }

    /// All of it stays in `read` until it is complete.
    async fn answer(&mut self) -> Result<(Answer, bool), String> {
        let end = self.find(0, b"\r\n\r\n").await? + 4;
        let head = String::from_utf8(self.read[..end].to_vec()).map_err(|fault| fault.to_string())?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| head.clone())?;
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|fault| fault.to_string())?;
            headers.append(name, HeaderValue::from_str(value.trim()).map_err(|fault| fault.to_string())?);
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let goes_on = !text("connection").eq_ignore_ascii_case("close");
        let (body, end) = if text("transfer-encoding").eq_ignore_ascii_case("chunked") {
            self.chunks(end).await?
        } else {
            let length: usize = text("content-length").parse().map_err(|_| format!("no length: {head}"))?;
            self.until(end + length).await?;
            (self.read[end..end + length].to_vec(), end + length)
        };
        let body = String::from_utf8_lossy(&body).into_owned();
        if self.read.len() > end {
            return Err(format!("more than one answer: {}", String::from_utf8_lossy(&self.read)));
        }
        self.read.clear();
        Ok((Answer { status, headers, body }, goes_on))
    }

    async fn chunks(&mut self, mut at: usize) -> Result<(Vec<u8>, usize), String> {
        let mut body = Vec::new();
        loop {
            let end = self.find(at, b"\r\n").await?;
            let line = String::from_utf8_lossy(&self.read[at..end]).into_owned();
            let length = usize::from_str_radix(line.trim(), 16).map_err(|_| format!("no chunk: {line}"))?;
            at = end + 2;
            self.until(at + length + 2).await?;
            body.extend_from_slice(&self.read[at..at + length]);
            at += length + 2;
            if length == 0 {
                return Ok((body, at));
            }
        }
    }

    async fn find(&mut self, from: usize, what: &[u8]) -> Result<usize, String> {
        loop {
            if let Some(at) = self.read[from..].windows(what.len()).position(|window| window == what) {
                return Ok(from + at);
            }
            self.more().await?;
        }
    }

    async fn until(&mut self, length: usize) -> Result<(), String> {
        while self.read.len() < length {
            self.more().await?;
        }
        Ok(())
    }

    async fn more(&mut self) -> Result<(), String> {
        match self.stream.read_buf(&mut self.read).await {
            Ok(1..) => Ok(()),
            Ok(0) => Err(format!("the end after {} bytes", self.read.len())),
            Err(fault) => Err(format!("{fault} after {} bytes", self.read.len())),
        }
    }
}
