//! Lines on their way out of the process, by a thread of their own: as many at a time as there are, and at most so often.
//! Under load, to wake it and to write for each line would cost more than the lines themselves.

use std::{
    io::{self, Write},
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that wait for a slow reader, and as many are on their way to it.
const WAITING: usize = 4 << 20;
/// Bytes that go out at once. A longer line goes alone.
const TOGETHER: usize = 32 << 10;
/// Bytes that there is room for, however few are needed.
const ROOM: usize = 8 * TOGETHER;
/// How long others are gathered when some have gone out. The first after a while goes at once.
const GATHERED: Duration = Duration::from_millis(10);
/// How long the last ones may take.
const LAST: Duration = Duration::from_secs(1);

/// Takes whole lines. Where nobody takes them from it, or what they are written to is full or broken, they are dropped and
/// counted, and the next is tried anew.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    news: Condvar,
    ended: Condvar,
    dropped: AtomicUsize,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Whether the thread waits to be told of a line.
    idle: bool,
    ending: bool,
    ended: bool,
}

/// Waits for what is still to be written, for a second at most, when it is dropped.
#[derive(Debug)]
pub struct Rest(Arc<Shared>);

impl Queue {
    /// Has what it takes written to `to`.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub(super) fn written_to(&self, to: impl Write + Send + 'static) -> io::Result<Rest> {
        let shared = Arc::clone(&self.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write(to))?;
        Ok(Rest(Arc::clone(&self.0)))
    }

    /// Takes a line, with its end.
    pub(super) fn put(&self, line: &[u8]) {
        let mut waiting = self.0.waiting.lock();
        if waiting.ended || waiting.lines.len() + line.len() > WAITING {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.lines.extend_from_slice(line);
        if mem::take(&mut waiting.idle) {
            drop(waiting);
            self.0.news.notify_one();
        }
    }

    /// Lines that were dropped.
    pub(super) fn dropped(&self) -> usize {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn write(&self, mut to: impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.lines.is_empty() {
                if waiting.ending {
                    waiting.ended = true;
                    self.ended.notify_all();
                    return;
                }
                waiting.idle = true;
                self.news.wait(&mut waiting);
            }
            waiting.idle = false;
            mem::swap(&mut waiting.lines, &mut lines);
            drop(waiting);
            self.dropped.fetch_add(send(&lines, &mut to), Ordering::Relaxed);
            lines.clear();
            lines.shrink_to(ROOM);
            let mut waiting = self.waiting.lock();
            if !waiting.ending {
                self.news.wait_for(&mut waiting, GATHERED);
            }
        }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock();
        waiting.ending = true;
        self.0.news.notify_one();
        self.0.ended.wait_while_for(&mut waiting, |waiting| !waiting.ended, LAST);
    }
}

/// How many lines were lost.
fn send(mut lines: &[u8], to: &mut impl Write) -> usize {
    let mut lost = 0;
    let ends = |byte: &u8| *byte == b'\n';
    while !lines.is_empty() {
        let last = lines.iter().take(TOGETHER).rposition(ends).or_else(|| lines.iter().position(ends));
        let (together, rest) =
            lines.split_at_checked(last.map_or(lines.len(), |last| last + 1)).unwrap_or((lines, &[]));
        if to.write_all(together).is_err() {
            lost += together.iter().filter(|byte| ends(byte)).count();
        }
        lines = rest;
    }
    lost
}

/// What prints events hands over each with one call.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    /// Takes each write but the second.
    #[derive(Default)]
    struct Disk(Vec<Vec<u8>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            if self.0.len() == 2 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_go_together_and_those_that_are_lost_are_counted() {
        let mut disk = Disk::default();
        let long = [b"l".repeat(TOGETHER), b"\n".to_vec()].concat();
        assert_eq!(send(b"a\nb\n", &mut disk), 0);
        assert_eq!(send(b"c\nd\n", &mut disk), 2);
        assert_eq!(send(&[&b"e\n"[..], &long, b"f\ng\n"].concat(), &mut disk), 0);
        assert_eq!(disk.0, [b"a\nb\n", b"c\nd\n", &b"e\n"[..], &long, b"f\ng\n"]);
        let many = b"0123456\n".repeat(TOGETHER / 4);
        let mut disk = Disk::default();
        assert_eq!(send(&many, &mut disk), TOGETHER / 8);
        assert_eq!(disk.0.iter().map(Vec::len).collect::<Vec<_>>(), [TOGETHER, TOGETHER]);
    }

    /// Shows what it is to write, and takes it when it is told to.
    struct Reader(Sender<Vec<u8>>, Receiver<()>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            let _ = self.1.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_comes_while_others_are_written_goes_together_and_what_does_not_fit_is_counted() {
        let ((show, shown), (take, taken)) = (mpsc::channel(), mpsc::channel());
        let queue = Queue::default();
        let rest = queue.written_to(Reader(show, taken)).unwrap();
        queue.put(b"a\n");
        assert_eq!(shown.recv().unwrap(), b"a\n");
        queue.put(b"b\n");
        queue.put(b"c\n");
        take.send(()).unwrap();
        assert_eq!(shown.recv().unwrap(), b"b\nc\n");
        let line = [b"d".repeat(1023), b"\n".to_vec()].concat();
        (0..WAITING / line.len()).for_each(|_| queue.put(&line));
        assert_eq!(queue.dropped(), 0);
        queue.put(b"e\n");
        assert_eq!(queue.dropped(), 1);
        // All that waits is written before it ends.
        drop(take);
        drop(rest);
        assert_eq!(shown.iter().map(|bytes| bytes.len()).sum::<usize>(), WAITING);
        queue.put(b"f\n");
        assert_eq!(queue.dropped(), 2);
    }

    #[test]
    fn a_reader_that_takes_nothing_is_not_waited_for_long() {
        let ((show, shown), (_take, taken)) = (mpsc::channel(), mpsc::channel());
        let queue = Queue::default();
        let rest = queue.written_to(Reader(show, taken)).unwrap();
        queue.put(b"a\n");
        shown.recv().unwrap();
        drop(rest);
    }
}
