//! Where lines go: standard output, or a file that is appended to and may be put aside at any moment.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::OFlags;

use super::line::MAX_LINE;

/// How often the file is looked for under its name.
const LOOK: Duration = Duration::from_secs(1);
/// How long the old one is written to when there is none by that name: whoever puts one aside makes the next, or says when
/// to.
const GRACE: Duration = Duration::from_secs(2);

/// Where a trail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// The program's standard output.
    Stdout,
    /// A file, made if there is none (0600).
    File(PathBuf),
}

/// The end of a file that is new to whoever writes to it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Its last whole line.
    pub(super) last: Option<Vec<u8>>,
    /// Whether something stands after that.
    pub(super) torn: bool,
    /// Whether it is the file that there was, cut short by somebody.
    pub(super) truncated: bool,
}

/// A line was not written.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) why: io::Error,
    /// A part of it was.
    pub(super) torn: bool,
}

/// What is written to.
#[derive(Debug)]
pub(super) struct Sink {
    to: To,
    open: Option<File>,
    /// Device and number of the file that was written to last.
    id: Option<(u64, u64)>,
    /// Where it ended.
    end: u64,
    looked: Option<Instant>,
    missing: Option<Instant>,
    trouble: Option<io::Error>,
}

impl Sink {
    pub(super) const fn new(to: To) -> Self {
        Self { to, open: None, id: None, end: 0, looked: None, missing: None, trouble: None }
    }

    /// Sees to it that there is something to write to. What it ends with is returned, if it is not what there was before.
    /// `asked`: whatever goes by the file's name now is to be written to.
    pub(super) fn ready(&mut self, asked: bool, now: Instant) -> io::Result<Option<Tail>> {
        let To::File(path) = &self.to else {
            let first = self.open.is_none();
            if first {
                self.open = Some(io::stdout().as_fd().try_clone_to_owned()?.into());
            }
            return Ok((first && self.id.replace((0, 0)).is_none()).then(Tail::default));
        };
        let path = path.clone();
        if self.open.is_none() {
            return self.open(&path);
        }
        if !asked && self.looked.is_some_and(|looked| now.duration_since(looked) < LOOK) {
            return Ok(None);
        }
        self.looked = Some(now);
        match fs::metadata(&path) {
            Ok(found) if self.id == Some(id(&found)) => {
                self.missing = None;
                let truncated = found.is_file() && found.len() < self.end;
                self.end = found.len();
                Ok(if truncated { Some(Tail { truncated, ..tail(&path, &found) }) } else { None })
            }
            Ok(_) => self.replace(&path),
            Err(_) => {
                let missing = *self.missing.get_or_insert(now);
                if asked || now.duration_since(missing) >= GRACE { self.replace(&path) } else { Ok(None) }
            }
        }
    }

    /// What went wrong although there is still something to write to.
    pub(super) fn trouble(&mut self) -> Option<io::Error> {
        self.trouble.take()
    }

    /// Opens what goes by that name. While that cannot be, the old one is written to, as long as it goes by any name.
    fn replace(&mut self, path: &Path) -> io::Result<Option<Tail>> {
        self.open(path).or_else(|why| {
            let is_there = |file: &File| file.metadata().is_ok_and(|found| found.nlink() > 0);
            if self.open.as_ref().is_some_and(is_there) {
                self.trouble = Some(why);
                return Ok(None);
            }
            // It is gone for good: what is there next is another, even if the system gives it the same number.
            (self.open, self.id) = (None, None);
            Err(why)
        })
    }

    /// Writes a line at the end, all at once if the system allows.
    pub(super) fn write(&mut self, line: &[u8]) -> Result<(), Failed> {
        let Some(file) = &mut self.open else {
            return Err(Failed { why: ErrorKind::NotConnected.into(), torn: false });
        };
        let mut rest = line;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return self.failed(ErrorKind::WriteZero.into(), rest.len() < line.len()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return self.failed(why, rest.len() < line.len()),
            }
        }
        self.end = self.end.saturating_add(u64::try_from(line.len()).unwrap_or_default());
        Ok(())
    }

    /// The next attempt begins with opening it.
    fn failed(&mut self, why: io::Error, torn: bool) -> Result<(), Failed> {
        if matches!(self.to, To::File(_)) {
            self.open = None;
        }
        Err(Failed { why, torn })
    }

    /// Never waits: a pipe that nobody reads is an error.
    fn open(&mut self, path: &Path) -> io::Result<Option<Tail>> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
        let found = file.metadata()?;
        let before = self.id.replace(id(&found));
        (self.open, self.missing, self.end) = (Some(file), None, found.len());
        Ok((before != self.id).then(|| tail(path, &found)))
    }
}

fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// What a file ends with, as far as that can be read.
fn tail(path: &Path, found: &Metadata) -> Tail {
    if !found.is_file() || found.len() == 0 {
        return Tail::default();
    }
    let most = 2 * u64::try_from(MAX_LINE).unwrap_or_default();
    let read = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(found.len().saturating_sub(most)))?;
        let mut end = Vec::new();
        file.take(most).read_to_end(&mut end)?;
        io::Result::Ok(end)
    };
    let end = read().unwrap_or_default();
    let mut lines = end.rsplit(|byte| *byte == b'\n');
    let torn = lines.next().is_some_and(|rest| !rest.is_empty());
    Tail { last: lines.next().map(<[u8]>::to_vec), torn, truncated: false }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Folder(tempfile::TempDir, Instant);

    impl Folder {
        fn new() -> (Self, Sink) {
            let folder = Self(tempfile::tempdir().unwrap(), Instant::now());
            let sink = Sink::new(To::File(folder.path("a/trail")));
            (folder, sink)
        }
        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.path(name)).unwrap()
        }
        fn after(&self, secs: u64) -> Instant {
            self.1 + Duration::from_secs(secs)
        }
    }

    #[test]
    fn a_file_is_made_for_its_owner_alone_and_appended_to() {
        let (folder, mut sink) = Folder::new();
        assert_eq!(sink.ready(false, folder.after(0)).unwrap(), Some(Tail::default()));
        sink.write(b"one\n").unwrap();
        assert_eq!(sink.ready(false, folder.after(5)).unwrap(), None);
        assert_eq!(fs::metadata(folder.path("a/trail")).unwrap().permissions().mode() & 0o777, 0o600);
        let mut next = Sink::new(To::File(folder.path("a/trail")));
        let tail = next.ready(false, folder.after(5)).unwrap().unwrap();
        assert_eq!(tail, Tail { last: Some(b"one".to_vec()), ..Tail::default() });
        next.write(b"two").unwrap();
        assert_eq!(folder.text("a/trail"), "one\ntwo");
        let mut last = Sink::new(To::File(folder.path("a/trail")));
        let tail = last.ready(false, folder.after(5)).unwrap().unwrap();
        assert_eq!(tail, Tail { last: Some(b"one".to_vec()), torn: true, ..Tail::default() });
    }

    #[test]
    fn what_goes_by_its_name_is_written_to() {
        let (folder, mut sink) = Folder::new();
        sink.ready(false, folder.after(0)).unwrap();
        // Put aside by somebody who will say so.
        fs::rename(folder.path("a/trail"), folder.path("a/old")).unwrap();
        assert_eq!(sink.ready(false, folder.after(1)).unwrap(), None);
        sink.write(b"to the old one\n").unwrap();
        assert_eq!(sink.ready(true, folder.after(1)).unwrap(), Some(Tail::default()));
        sink.write(b"to the new one\n").unwrap();
        // Put aside by somebody who makes the next.
        fs::rename(folder.path("a/trail"), folder.path("a/older")).unwrap();
        fs::write(folder.path("a/trail"), "").unwrap();
        assert_eq!(sink.ready(false, folder.after(2)).unwrap(), Some(Tail::default()));
        // Removed with its folder, by somebody who says nothing.
        fs::remove_dir_all(folder.path("a")).unwrap();
        assert_eq!(sink.ready(false, folder.after(3)).unwrap(), None);
        assert_eq!(sink.ready(false, folder.after(5)).unwrap(), Some(Tail::default()));
        sink.write(b"again\n").unwrap();
        assert_eq!(folder.text("a/trail"), "again\n");
        // Put aside, and there can be no other.
        fs::rename(folder.path("a"), folder.path("b")).unwrap();
        fs::write(folder.path("a"), "").unwrap();
        assert_eq!(sink.ready(true, folder.after(5)).unwrap(), None);
        assert!(sink.trouble().is_some());
        sink.write(b"on\n").unwrap();
        assert_eq!(folder.text("b/trail"), "again\non\n");
        fs::remove_dir_all(folder.path("b")).unwrap();
        assert!(sink.ready(true, folder.after(5)).is_err());
        fs::remove_file(folder.path("a")).unwrap();
        assert_eq!(sink.ready(false, folder.after(5)).unwrap(), Some(Tail::default()));
        sink.write(b"again\n").unwrap();
        // Cut short.
        fs::write(folder.path("a/trail"), "x\n").unwrap();
        let tail = sink.ready(false, folder.after(7)).unwrap();
        assert_eq!(tail, Some(Tail { last: Some(b"x".to_vec()), torn: false, truncated: true }));
        assert_eq!(sink.ready(true, folder.after(7)).unwrap(), None);
    }

    #[test]
    fn a_file_is_another_one_although_it_has_the_number_of_one_that_is_gone() {
        let (folder, mut sink) = Folder::new();
        for _ in 0..50 {
            assert_eq!(sink.ready(true, folder.after(0)).unwrap(), Some(Tail::default()));
            fs::remove_dir_all(folder.path("a")).unwrap();
            fs::write(folder.path("a"), "").unwrap();
            assert!(sink.ready(true, folder.after(0)).is_err());
            fs::remove_file(folder.path("a")).unwrap();
        }
    }

    #[test]
    fn a_full_disk_and_a_pipe_without_a_reader_are_errors() {
        let now = Instant::now();
        let mut full = Sink::new(To::File("/dev/full".into()));
        assert_eq!(full.ready(false, now).unwrap(), Some(Tail::default()));
        assert_eq!(full.write(b"line\n").unwrap_err().why.kind(), ErrorKind::StorageFull);
        assert_eq!(full.ready(false, now).unwrap(), None);
        let (folder, _) = Folder::new();
        let made = std::process::Command::new("mkfifo").arg(folder.path("pipe")).status().unwrap();
        assert!(made.success());
        assert!(Sink::new(To::File(folder.path("pipe"))).ready(false, now).is_err());
    }
}
