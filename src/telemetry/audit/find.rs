//! What happened to somebody: the lines that are about a name, its account, and the resets that were asked for by it.

use std::{
    collections::BTreeSet,
    io::{self, BufRead},
};

use super::{
    keys::Keys,
    line::{self, Line},
    reader::{self, Piece},
};

/// Accounts, resets and requests that are followed.
const MAX_FOLLOWED: usize = 100_000;
/// Lines that are shown.
const MAX_FOUND: usize = 100_000;

/// A line about whom was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What is in it.
    pub line: Line,
    /// As it stands in the file.
    pub text: String,
    /// Whether its hash is its own.
    pub intact: bool,
}

/// Looks for somebody.
///
/// What was typed leads to accounts and resets, and accounts to other resets, of which the lines may stand before: so files
/// are read twice to learn from them, and a third time for what is to be shown.
pub struct Find<'k> {
    keys: &'k Keys,
    name: String,
    accounts: BTreeSet<String>,
    flows: BTreeSet<String>,
    requests: BTreeSet<String>,
    found: Vec<Found>,
    others: u64,
    more: bool,
}

impl<'k> Find<'k> {
    /// For a user name, a mail address or an id, whatever it was asked by.
    pub fn new(keys: &'k Keys, name: &str) -> Self {
        Self {
            keys,
            name: keys.name(name),
            accounts: BTreeSet::new(),
            flows: BTreeSet::new(),
            requests: BTreeSet::new(),
            found: Vec::new(),
            others: 0,
            more: false,
        }
    }

    /// Learns from a file whose lines are about whom.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn learn(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        while let Some(piece) = reader::next(from)? {
            if let Some(found) = self.read(&piece) {
                self.judge(&found.line);
            }
        }
        Ok(())
    }

    /// Collects from a file what is to be shown.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn collect(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        while let Some(piece) = reader::next(from)? {
            let Some(Found { line, text, intact }) = self.read(&piece) else {
                self.others += 1;
                continue;
            };
            if !self.judge(&line) && !self.is_of_request(&line) {
                continue;
            }
            if self.found.len() < MAX_FOUND {
                self.found.push(Found { line, text, intact });
            } else {
                self.more = true;
            }
        }
        Ok(())
    }

    /// In the order of time, and whether there is more.
    pub fn finish(mut self) -> (Vec<Found>, bool) {
        self.found.sort_by_cached_key(|found| (found.line.time.clone(), found.line.run.clone(), found.line.seq));
        (self.found, self.more)
    }

    /// Lines that were not of the trail.
    pub const fn others(&self) -> u64 {
        self.others
    }

    fn read(&self, piece: &Piece) -> Option<Found> {
        let (Piece::Line(text) | Piece::Rest(text)) = piece else { return None };
        let read = line::read(text, self.keys)?;
        let intact = read.hash == read.due;
        Some(Found { line: read.line, text: String::from_utf8_lossy(text).into_owned(), intact })
    }

    /// Whether a line is about whom; if so, it tells what else is.
    fn judge(&mut self, line: &Line) -> bool {
        let Self { name, accounts, flows, .. } = self;
        let named = line.asked.contains(name) || [&line.account, &line.mail].into_iter().flatten().any(|is| is == name);
        let known = |of: &Option<String>, all: &BTreeSet<String>| of.as_ref().is_some_and(|of| all.contains(of));
        let is = named || known(&line.account, accounts) || known(&line.flow, flows);
        if is {
            follow(&mut self.accounts, line.account.as_ref());
            follow(&mut self.flows, line.flow.as_ref());
            follow(&mut self.requests, line.request.as_ref());
        }
        is
    }

    /// Clients may choose the ids of requests, so what is about anybody else is never taken for whom.
    fn is_of_request(&self, line: &Line) -> bool {
        let of_nobody = line.account.is_none() && line.flow.is_none() && line.asked.is_empty();
        of_nobody && line.request.as_ref().is_some_and(|request| self.requests.contains(request))
    }
}

fn follow(all: &mut BTreeSet<String>, one: Option<&String>) {
    if let Some(one) = one.filter(|_| all.len() < MAX_FOLLOWED)
        && !all.contains(one)
    {
        all.insert(one.clone());
    }
}
