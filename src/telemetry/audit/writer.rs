//! Writes the trail, line by line, each holding on to the one before.
//!
//! Each process has a chain of its own, so that two may write to one file: while one takes over from the other, and where
//! both write to what systemd reads. Its first line holds on to the last that it found in the file.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    keys::{Keys, Link, hex},
    line::{self, DROPPED, Line, MAX_LINE, NOTHING, REOPENED, RUN_ENDED, RUN_STARTED, SCHEMA},
    sink::{Failed, Sink, Tail},
    trail::{Item, Shared, Work},
};
use crate::reset::ports::{Clock, Time};

/// How often is tried again what failed.
const RETRY: Duration = Duration::from_millis(250);
/// How long what waits is kept while nothing can be written.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Writer {
    shared: Arc<Shared>,
    sink: Sink,
    keys: Keys,
    run: String,
    clock: Arc<dyn Clock>,
    /// Lines written.
    seq: u64,
    /// What the next one holds on to.
    last: Link,
    /// The line that must come first in a file.
    first: Option<Line>,
    /// Whether the rest of an unfinished line is to be told, and whether the file ends with one.
    torn: bool,
    unfinished: bool,
    /// Records lost since the last line.
    lost: u64,
    /// Since when nothing could be written.
    failing: Option<Instant>,
}

impl Writer {
    /// For a sink that ends like that, if it is open.
    pub(super) fn new(
        shared: Arc<Shared>,
        sink: Sink,
        found: Option<Tail>,
        keys: Keys,
        run: [u8; 8],
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut writer = Self {
            shared,
            sink,
            run: hex(&run),
            clock,
            seq: 0,
            last: NOTHING,
            first: None,
            torn: false,
            unfinished: false,
            lost: 0,
            failing: None,
            keys,
        };
        // Until a line is there, it is not begun.
        writer.first = Some(writer.opening());
        if let Some(tail) = found {
            writer.meet(&tail);
        }
        writer
    }

    /// Until it is told to end.
    pub(super) fn work(mut self) {
        let mut held = None;
        let mut work = Work::default();
        loop {
            held = held.or(work.item.take());
            match self.step(held.as_ref(), work.reopen) {
                Ok(()) => {
                    held = None;
                    if self.failing.take().is_some() {
                        tracing::info!("the audit trail is written again");
                    }
                }
                Err(failed) => {
                    self.torn |= failed.torn;
                    self.unfinished |= failed.torn;
                    let since = *self.failing.get_or_insert_with(Instant::now);
                    let give_up = work.end || since.elapsed() >= PATIENCE;
                    self.shared.lost(0, Some(&failed.why));
                    if give_up {
                        self.give_up(held.take().as_ref());
                    }
                    if work.end {
                        break;
                    }
                }
            }
            if work.end {
                work = self.shared.take();
                if work.item.is_none() {
                    let _ = self.write(self.own(RUN_ENDED));
                    break;
                }
                continue;
            }
            work = if self.failing.is_some() { self.shared.rest(RETRY) } else { self.shared.take() };
        }
        self.shared.over();
    }

    /// Writes an item, and before it what has to come before it.
    fn step(&mut self, item: Option<&Item>, asked: bool) -> Result<(), Failed> {
        let found = self.sink.ready(asked, Instant::now()).map_err(|why| Failed { why, torn: false })?;
        if let Some(why) = self.sink.trouble() {
            self.shared.lost(0, Some(&why));
        }
        if let Some(tail) = found {
            self.meet(&tail);
        }
        if let Some(first) = self.first.take() {
            self.write(first.clone()).inspect_err(|_| self.first = Some(first))?;
        }
        let lost = match item {
            Some(Item::Lost(lost)) => self.lost.saturating_add(*lost),
            _ => self.lost,
        };
        if lost > 0 {
            self.write(Line { count: Some(lost), ..self.own(DROPPED) })?;
            self.lost = 0;
        }
        match item {
            Some(Item::Note(entry)) => self.write(entry.line(&self.keys)),
            _ => Ok(()),
        }
    }

    /// A file that is new to it.
    fn meet(&mut self, tail: &Tail) {
        self.torn |= tail.torn;
        self.unfinished = tail.torn;
        let reason = tail.truncated.then(|| "truncated".to_owned());
        if self.seq > 0 {
            self.first = Some(Line { reason, ..self.own(REOPENED) });
            return;
        }
        let last = tail.last.as_deref().and_then(|last| line::read(last, &self.keys));
        self.last = last.map_or(NOTHING, |last| last.hash);
        self.first = Some(self.opening());
    }

    fn give_up(&mut self, held: Option<&Item>) {
        let mut lost = self.shared.clear();
        match held {
            Some(Item::Note(_)) => {
                self.shared.lost(1, None);
                lost = lost.saturating_add(1);
            }
            Some(Item::Lost(before)) => lost = lost.saturating_add(*before),
            None => {}
        }
        self.lost = self.lost.saturating_add(lost);
    }

    fn write(&mut self, line: Line) -> Result<(), Failed> {
        let seq = self.seq.saturating_add(1);
        let line = Line { run: self.run.clone(), seq, torn: self.torn, prev: hex(&self.last), ..line };
        let (mut text, link) = line.write(&self.keys);
        if text.len() > MAX_LINE {
            // Nothing makes one; should anything, the trail goes on.
            self.lost = self.lost.saturating_add(1);
            self.shared.lost(1, None);
            return Ok(());
        }
        if self.unfinished {
            text.insert(0, b'\n');
        }
        self.sink.write(&text)?;
        (self.seq, self.last, self.torn, self.unfinished) = (seq, link, false, false);
        self.shared.written();
        Ok(())
    }

    /// The first line of all.
    fn opening(&self) -> Line {
        Line {
            schema: Some(SCHEMA),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            key: self.keys.id().map(str::to_owned),
            ..self.own(RUN_STARTED)
        }
    }

    /// A line that is about the trail.
    fn own(&self, event: &str) -> Line {
        Line { time: line::time(self.now()), event: event.to_owned(), ..Line::default() }
    }

    fn now(&self) -> Time {
        self.clock.now()
    }
}
