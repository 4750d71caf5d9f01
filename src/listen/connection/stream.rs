//! A connection's bytes: what is read, with its deadlines, and what is written, a little later.

use std::{
    io,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{Connection, FAST, Phase, TOGETHER};

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_in(Phase::Over) {
            ready!(self.wait_for_others(cx));
            ready!(self.send_all(cx))?;
            self.enter(Phase::Idle);
            let now = Instant::now();
            self.since = now;
            (self.coming, self.taking) = (None, None);
            self.due.store(0, Ordering::Relaxed);
            self.write_alarm.clear();
            self.seat.waits(now);
        } else {
            // Whoever waits for the client has said all that he has to say. If it cannot be sent, a write will tell.
            let _ = self.send(cx);
            let _ = Pin::new(&mut self.io).poll_flush(cx);
        }
        if !self.unread.is_empty() {
            let most = buf.remaining().min(self.unread.len());
            buf.put_slice(&self.unread.split_to(most));
            self.given += most as u64;
            if self.unread.is_empty() {
                self.unread = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let came = buf.filled().len().saturating_sub(before);
        self.given += came as u64;
        match self.keep_time(came, read.is_pending(), cx) {
            Ok(()) => read,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.holds(buf.len()) {
            self.unsent.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.before_writing(cx))?;
        let most = if self.taken_at_once < FAST { TOGETHER } else { buf.len() };
        let piece = buf.get(..most).unwrap_or(buf);
        let written = Pin::new(&mut self.io).poll_write(cx, piece);
        self.unless_too_slow(cx, written)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = bufs.iter().map(|buf| buf.len()).sum();
        if self.holds(bytes) {
            bufs.iter().for_each(|buf| self.unsent.extend_from_slice(buf));
            return Poll::Ready(Ok(bytes));
        }
        if self.taken_at_once < FAST {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| &**buf);
            return self.poll_write(cx, first);
        }
        ready!(self.before_writing(cx))?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.unless_too_slow(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_in(Phase::Whole) {
            return Poll::Ready(Ok(()));
        }
        ready!(self.wait_for_others(cx));
        ready!(self.before_writing(cx))?;
        self.send_all(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(cx))?;
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.unless_too_slow(cx, shut)
    }
}
