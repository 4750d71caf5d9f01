//! Lines on their way out of the process, as many at a time as there are: under load a write for each would cost more
//! than the lines themselves.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Bytes that go out at once. A longer line goes alone.
const TOGETHER: usize = 32 << 10;

/// Lines that were given up because what they were written to is full or broken.
static LOST: AtomicUsize = AtomicUsize::new(0);

/// So many were.
pub(super) fn lost() -> usize {
    LOST.load(Ordering::Relaxed)
}

/// Takes whole lines. It never fails: what cannot be written now (a full disk) is counted, and the next is tried anew.
pub(super) struct Batch<W> {
    to: W,
    held: Vec<u8>,
    lines: usize,
}

impl<W: Write> Batch<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, held: Vec::with_capacity(TOGETHER), lines: 0 }
    }

    fn send(&mut self) {
        if !self.held.is_empty() && self.to.write_all(&self.held).is_err() {
            LOST.fetch_add(self.lines, Ordering::Relaxed);
        }
        self.held.clear();
        self.held.shrink_to(TOGETHER);
        self.lines = 0;
    }
}

impl<W: Write> Write for Batch<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.held.len() + line.len() > TOGETHER {
            self.send();
        }
        self.held.extend_from_slice(line);
        self.lines += 1;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        let mut batch = Batch::new(Disk::default());
        batch.write_all(b"a\n").unwrap();
        batch.write_all(b"b\n").unwrap();
        batch.flush().unwrap();
        assert_eq!((&batch.to.0[..], lost()), (&[b"a\nb\n".to_vec()][..], 0));
        batch.write_all(b"c\n").unwrap();
        batch.write_all(b"d\n").unwrap();
        batch.flush().unwrap();
        batch.flush().unwrap();
        assert_eq!((batch.to.0.len(), lost()), (2, 2));
        let long = vec![b'x'; TOGETHER + 1];
        batch.write_all(b"e\n").unwrap();
        batch.write_all(&long).unwrap();
        batch.write_all(b"f\n").unwrap();
        batch.flush().unwrap();
        assert_eq!((&batch.to.0[2..], lost()), (&[b"e\n".to_vec(), long, b"f\n".to_vec()][..], 2));
        assert!(batch.held.capacity() <= TOGETHER * 2);
    }
}
