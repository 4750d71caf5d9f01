//! The way to the trail: a bounded queue, so that whoever has something to record never waits, and one thread that writes.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::{sync::oneshot, time::timeout};

use super::{
    super::{metrics::Metrics, throttle::Throttle},
    entry::Entry,
    keys::Keys,
    sink::{Sink, To},
    writer::Writer,
};
use crate::reset::ports::Clock;

/// Records that may wait: some hundred kilobytes, and what comes in half a minute of a flood that the limits let in.
const MAX_WAITING: usize = 2048;
/// How often is told that records are lost.
const ALARM: Duration = Duration::from_secs(60);
/// How long an end waits for what is not written yet.
const FAREWELL: Duration = Duration::from_secs(2);

/// The trail cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("audit.to {path}: {source}")]
pub struct NoTrail {
    path: PathBuf,
    source: io::Error,
}

/// Where records are handed in.
#[derive(Clone, Default)]
pub struct Trail(Option<Arc<Handle>>);

/// Ends the trail when nobody has it any more.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state.lock().end = true;
        self.0.bell.notify_one();
    }
}

impl Trail {
    /// No trail: what is handed in is forgotten.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Begins a trail, which [`Trail::end`] ends, or nobody having it any more. `run` tells its process from all others.
    ///
    /// # Errors
    /// If it cannot be begun. A pipe that nobody reads yet is no error.
    pub fn start(
        to: To,
        keys: Keys,
        run: [u8; 8],
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, NoTrail> {
        let path = match &to {
            To::Stdout => PathBuf::from("stdout"),
            To::File(path) => path.clone(),
        };
        let failed = |source| NoTrail { path: path.clone(), source };
        let mut sink = Sink::new(to);
        let found = match sink.ready(false, Instant::now()) {
            Ok(found) => found,
            // ENXIO, for which there is no kind.
            Err(why) if why.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => None,
            Err(why) => return Err(failed(why)),
        };
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            bell: Condvar::new(),
            metrics,
            alarm: Throttle::new(ALARM),
            clock: Arc::clone(&clock),
        });
        let writer = Writer::new(Arc::clone(&shared), sink, found, keys, run, clock);
        thread::Builder::new().name("audit".to_owned()).spawn(move || writer.work()).map_err(failed)?;
        Ok(Self(Some(Arc::new(Handle(shared)))))
    }

    /// Whether anything is written.
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands a record in. It never waits: if too many do, this one is lost, and counted.
    pub(super) fn note(&self, entry: Entry) {
        let Some(Handle(shared)) = self.0.as_deref() else { return };
        if !shared.push(entry) {
            shared.lost(1, None);
        }
    }

    /// Has the file looked for by its name, as whoever has put it aside wants.
    pub fn reopen(&self) {
        if let Some(Handle(shared)) = self.0.as_deref() {
            shared.state.lock().reopen = true;
            shared.bell.notify_one();
        }
    }

    /// Ends the trail: what waits is written, and its last line, if that does not take too long.
    pub async fn end(&self) {
        let Some(Handle(shared)) = self.0.as_deref() else { return };
        let (done, is_done) = oneshot::channel();
        {
            let mut state = shared.state.lock();
            state.done = Some(done);
            state.end = true;
        }
        shared.bell.notify_one();
        if timeout(FAREWELL, is_done).await.is_err() {
            tracing::error!("the audit trail could not be written to its end");
        }
    }
}

/// What those who record share with the one who writes.
pub(super) struct Shared {
    state: Mutex<State>,
    bell: Condvar,
    metrics: Arc<Metrics>,
    alarm: Throttle,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Item>,
    /// Records lost since the last one that waits.
    lost: u64,
    reopen: bool,
    end: bool,
    done: Option<oneshot::Sender<()>>,
}

/// What waits.
pub(super) enum Item {
    Note(Box<Entry>),
    /// So many records were lost in this place.
    Lost(u64),
}

/// What there is to do.
#[derive(Default)]
pub(super) struct Work {
    pub(super) item: Option<Item>,
    pub(super) reopen: bool,
    pub(super) end: bool,
}

impl Shared {
    /// Whether it found a place.
    fn push(&self, entry: Entry) -> bool {
        let entry = Box::new(entry);
        let mut state = self.state.lock();
        if state.waiting.len() >= MAX_WAITING {
            state.lost = state.lost.saturating_add(1);
            return false;
        }
        let lost = std::mem::take(&mut state.lost);
        if lost > 0 {
            state.waiting.push_back(Item::Lost(lost));
        }
        state.waiting.push_back(Item::Note(entry));
        drop(state);
        self.bell.notify_one();
        true
    }

    /// Takes what waits the longest, as soon as there is something to do.
    pub(super) fn take(&self) -> Work {
        let mut state = self.state.lock();
        loop {
            let item = state.waiting.pop_front().or_else(|| match std::mem::take(&mut state.lost) {
                0 => None,
                lost => Some(Item::Lost(lost)),
            });
            let work = Work { item, reopen: std::mem::take(&mut state.reopen), end: state.end };
            if work.item.is_some() || work.reopen || work.end {
                return work;
            }
            self.bell.wait(&mut state);
        }
    }

    /// Waits for so long, unless it is to end, or the file is another.
    pub(super) fn rest(&self, span: Duration) -> Work {
        let mut state = self.state.lock();
        let until = Instant::now() + span;
        while !state.reopen && !state.end && !self.bell.wait_until(&mut state, until).timed_out() {}
        Work { item: None, reopen: std::mem::take(&mut state.reopen), end: state.end }
    }

    /// Takes away what waits, and says how many records that was.
    pub(super) fn clear(&self) -> u64 {
        let mut state = self.state.lock();
        let lost = std::mem::take(&mut state.lost);
        let waiting = state.waiting.drain(..).fold((0, 0), |(all, new), item| match item {
            Item::Note(_) => (all + 1, new + 1),
            Item::Lost(lost) => (all + lost, new),
        });
        drop(state);
        self.lost(waiting.1, None);
        lost + waiting.0
    }

    /// Counts what is lost, and tells it now and then.
    pub(super) fn lost(&self, count: u64, why: Option<&io::Error>) {
        self.metrics.audit_dropped(count);
        if count > 0 || why.is_some() {
            let now = Duration::from_millis(self.clock.now().millis());
            if self.alarm.pass(now).is_some() {
                let error = why.map(|why| match why.kind() {
                    ErrorKind::WouldBlock => "nobody reads it".to_owned(),
                    _ => why.to_string(),
                });
                tracing::error!(error, "the audit trail cannot be written: what waits too long for it is lost");
            }
        }
    }

    pub(super) fn written(&self) {
        self.metrics.audit_written();
    }

    /// It has ended.
    pub(super) fn over(&self) {
        let done = self.state.lock().done.take();
        // Whoever waited for it may have given up.
        let _ = done.map(|done| done.send(()));
    }
}
