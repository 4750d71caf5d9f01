//! Whether a trail is as it was written: what was changed, removed or put in between shows in the hashes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    io::{self, BufRead},
};

use super::{
    keys::{Keys, Link},
    line::{self, DROPPED, NOTHING, REOPENED, RUN_ENDED, RUN_STARTED, Read, SCHEMA},
    reader::{self, Piece},
};

/// Processes whose chains are followed at a time.
const MAX_RUNS: usize = 4096;
/// Lines that a process which begins may hold on to: more than one writes while another takes over from it.
const MAX_RECENT: usize = 65_536;
/// Findings that are kept.
const MAX_FINDINGS: usize = 1000;

/// Something to be told of a trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, as it was named.
    pub file: String,
    /// The line in it, from 1 on.
    pub line: u64,
    /// What about it.
    pub what: String,
    /// Whether the trail is not what was written.
    pub broken: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.broken { "BROKEN: " } else { "" };
        write!(f, "{}:{}: {kind}{}", self.file, self.line, self.what)
    }
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// In the order of the lines; of very many, the first.
    pub findings: Vec<Finding>,
    /// Lines of the trail.
    pub lines: u64,
    /// Other lines, where there may be such.
    pub others: u64,
    /// Processes.
    pub runs: usize,
    /// Records that the trail itself says were lost.
    pub lost: u64,
    /// How many findings say that it is broken.
    pub broken: u64,
}

/// Checks the files of a trail, in the order of time.
pub struct Verify<'k> {
    keys: &'k Keys,
    mixed: bool,
    place: Place,
    runs: BTreeMap<String, Run>,
    recent: Recent,
    /// What stands between two lines and is not one: where, and whether nothing came after it in its file.
    between: Vec<(Place, bool)>,
    out: Verified,
}

#[derive(Clone, Debug, Default)]
struct Place {
    file: String,
    line: u64,
}

/// A process, as far as it was read.
struct Run {
    seq: u64,
    last: Link,
    ended: bool,
    /// Its lines are vouched for by a key that is not at hand.
    foreign: bool,
    place: Place,
}

impl<'k> Verify<'k> {
    /// A check by these keys. `mixed`: lines of others may stand between those of the trail, and it may begin anywhere.
    pub fn new(keys: &'k Keys, mixed: bool) -> Self {
        Self {
            keys,
            mixed,
            place: Place::default(),
            runs: BTreeMap::new(),
            recent: Recent::default(),
            between: Vec::new(),
            out: Verified::default(),
        }
    }

    /// Reads the next file, of whatever size.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn file(&mut self, name: &str, from: &mut impl BufRead) -> io::Result<()> {
        self.place = Place { file: name.to_owned(), line: 0 };
        while let Some(piece) = reader::next(from)? {
            self.place.line += 1;
            let (text, rest) = match &piece {
                Piece::Line(text) => (text.as_slice(), false),
                Piece::Rest(text) => (text.as_slice(), true),
                Piece::TooLong => (&[][..], false),
            };
            match line::read(text, self.keys) {
                Some(found) => self.line(found),
                None if self.mixed => self.out.others += 1,
                // A thousand of them say no more than the first.
                None if self.between.len() < 2 => self.between.push((self.place.clone(), rest)),
                None => {}
            }
        }
        Ok(())
    }

    /// What came out.
    pub fn finish(mut self) -> Verified {
        for (place, rest) in std::mem::take(&mut self.between) {
            if rest {
                self.tell(place, false, "is not finished: it is being written, or was cut off".to_owned());
            } else {
                self.tell(place, true, "is not a line of the trail".to_owned());
            }
        }
        let open: Vec<_> = self.runs.iter().filter(|(_, run)| !run.ended).collect();
        let open: Vec<_> = open
            .into_iter()
            .map(|(id, run)| {
                let what = if self.recent.taken_up.contains(&run.last) {
                    format!("{id} ended here without its last line: it was killed")
                } else {
                    format!(
                        "{id} has not ended: it still runs, was killed, or lines are missing after line {}",
                        run.seq
                    )
                };
                (run.place.clone(), what)
            })
            .collect();
        for (place, what) in open {
            self.tell(place, false, what);
        }
        self.out
    }

    fn line(&mut self, found: Read) {
        let Read { line, prev, hash, due } = found;
        self.out.lines += 1;
        for (place, _) in std::mem::take(&mut self.between) {
            if line.torn {
                self.tell(place, false, "is the rest of a line that was not finished, as the next one says".to_owned());
            } else {
                self.tell(place, true, "is not a line of the trail".to_owned());
            }
        }
        let here = self.place.clone();
        let known = self.runs.remove(&line.run);
        let mut foreign = known.as_ref().is_some_and(|run| run.foreign);
        match &known {
            Some(run) if line.seq > run.seq + 1 => {
                let (from, to) = (run.seq + 1, line.seq - 1);
                self.broken(format!("{} lines of {} are missing before it ({from} to {to})", to - from + 1, line.run));
            }
            Some(run) if line.seq <= run.seq => {
                self.broken(format!("line {} of {} stands here after line {}", line.seq, line.run, run.seq));
            }
            Some(run) if prev != run.last => {
                self.broken("does not hold on to the line before it, which is another than was written".to_owned());
            }
            Some(_) => {}
            None => {
                self.out.runs += 1;
                foreign = self.first(&line, prev);
            }
        }
        if hash != due && !foreign {
            let what = if known.is_some() || line.event == RUN_STARTED {
                "was changed: its hash is not its own"
            } else {
                "was changed, or is vouched for by another key: its hash is not its own"
            };
            self.broken(what.to_owned());
        }
        if line.event == DROPPED {
            let count = line.count.unwrap_or_default();
            self.out.lost = self.out.lost.saturating_add(count);
            self.tell(here.clone(), false, format!("{count} records were lost here, as the trail says itself"));
        }
        self.recent.note(hash);
        while self.runs.len() >= MAX_RUNS {
            self.runs.pop_first();
        }
        let ended = line.event == RUN_ENDED;
        self.runs.insert(line.run, Run { seq: line.seq, last: hash, ended, foreign, place: here });
    }

    /// The first line of a process that is read; whether it is vouched for by a key that is not at hand.
    fn first(&mut self, line: &line::Line, prev: Link) -> bool {
        let run = &line.run;
        match line.event.as_str() {
            RUN_STARTED if line.seq == 1 => {
                if prev != NOTHING && !self.recent.take_up(prev) {
                    let what = format!("{run} goes on from a line that is not here");
                    if self.out.lines == 1 {
                        self.note(format!("{what}: it is in an earlier file, or was taken away"));
                    } else {
                        self.broken(format!("{what}: lines before it are missing, or an earlier file comes later"));
                    }
                }
                if line.schema != Some(SCHEMA) {
                    self.note(format!("{run} writes in a form that this program does not know all of"));
                }
                return self.judge_key(line);
            }
            REOPENED => self.note(format!("{run} goes on from its line {}, in an earlier file", line.seq - 1)),
            _ if self.mixed => self.note(format!("{run} is read from its line {} on", line.seq)),
            _ => self.broken(format!("{run} begins here with its line {}: what was before it is missing", line.seq)),
        }
        false
    }

    fn judge_key(&mut self, line: &line::Line) -> bool {
        let run = &line.run;
        match (&line.key, self.keys.id()) {
            (theirs, ours) if theirs.as_deref() == ours => return false,
            (Some(theirs), None) => {
                self.broken(format!("{run} is vouched for by key {theirs}: name it with --config or --key"));
            }
            (Some(theirs), Some(ours)) => {
                self.broken(format!("{run} is vouched for by key {theirs}, and the one that was named is {ours}"));
            }
            (None, _) => self.broken(format!(
                "{run} is vouched for by no key: whoever may write the file may have written it; checked without a key only"
            )),
        }
        true
    }

    fn broken(&mut self, what: String) {
        self.tell(self.place.clone(), true, what);
    }

    fn note(&mut self, what: String) {
        self.tell(self.place.clone(), false, what);
    }

    fn tell(&mut self, place: Place, broken: bool, what: String) {
        self.out.broken += u64::from(broken);
        if self.out.findings.len() < MAX_FINDINGS {
            self.out.findings.push(Finding { file: place.file, line: place.line, what, broken });
        }
    }
}

/// The hashes of the last lines of all processes.
#[derive(Default)]
struct Recent {
    order: VecDeque<Link>,
    all: BTreeSet<Link>,
    /// Those that a process held on to at its start.
    taken_up: BTreeSet<Link>,
}

impl Recent {
    fn note(&mut self, link: Link) {
        if self.all.insert(link) {
            self.order.push_back(link);
        }
        if self.order.len() > MAX_RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    fn take_up(&mut self, link: Link) -> bool {
        if self.taken_up.len() >= MAX_RUNS {
            self.taken_up.pop_first();
        }
        self.taken_up.insert(link);
        self.all.contains(&link)
    }
}
