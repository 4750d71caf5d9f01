//! `resetgate audit`: checks an audit trail, or shows what happened to somebody.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::BAD_CONFIG;
use crate::{
    config::{self, AuditTo, TokenKey},
    telemetry::audit::{Find, Found, Keys, Line, Verified, Verify, explain},
};

/// What to do with a trail.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Audit {
    /// Tell whether a trail is as it was written, and exit: 0 if it is, 1 if a line was changed, removed or put in
    Verify {
        /// Where it is
        #[command(flatten)]
        trail: Trail,
        /// Lines of others stand between those of the trail, which may begin anywhere: the output of a container
        #[arg(long)]
        mixed: bool,
    },
    /// Show what happened to somebody's resets, and exit: 0 if there is anything, 1 if not
    Find {
        /// A user name, a mail address or the account's id in its store, as somebody may have typed it
        #[arg(long, value_name = "NAME")]
        account: String,
        /// The lines as they are, instead of sentences
        #[arg(long)]
        json: bool,
        /// Where it is
        #[command(flatten)]
        trail: Trail,
    },
}

/// Where a trail is, and what vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Trail {
    /// The configuration, for its log.hash_key, and its audit.to where no file is named
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where log.hash_key is, without a configuration: env:NAME or file:path
    #[arg(long, value_name = "SECRET", conflicts_with = "config")]
    key: Option<String>,
    /// The files of the trail, the oldest first; "-" is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs it.
pub(super) fn run(what: &Audit) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match what {
        Audit::Verify { trail, mixed } => trail.open().and_then(|open| verify(&open, *mixed, &mut out)),
        Audit::Find { account, json, trail } => trail.open().and_then(|open| find(&open, account, *json, &mut out)),
    };
    let flushed = out.flush();
    let failed = match done {
        Ok(true) if flushed.is_ok() => return ExitCode::SUCCESS,
        Ok(_) => return ExitCode::FAILURE,
        Err(failed) => failed,
    };
    match failed {
        // Whoever read along has read enough.
        Failed::Out => ExitCode::FAILURE,
        Failed::In(told) => {
            let _ = writeln!(io::stderr(), "{told}");
            ExitCode::FAILURE
        }
        Failed::Usage(told) => {
            let _ = writeln!(io::stderr(), "{told}");
            ExitCode::from(BAD_CONFIG)
        }
    }
}

enum Failed {
    Usage(String),
    In(String),
    Out,
}

impl From<io::Error> for Failed {
    fn from(_: io::Error) -> Self {
        Self::Out
    }
}

/// A trail that is about to be read.
struct Open {
    keys: Keys,
    has_key: bool,
    files: Vec<PathBuf>,
}

impl Trail {
    fn open(&self) -> Result<Open, Failed> {
        let env = |name: &str| std::env::var(name).ok();
        let (mut key, mut files): (Option<TokenKey>, _) = (None, self.files.clone());
        if let Some(path) = &self.config {
            let (config, _) = config::load(path, &env).map_err(|faults| {
                let faults = faults.iter().map(|fault| format!("{fault}\n")).collect::<String>();
                Failed::Usage(format!(
                    "{faults}without a configuration that holds, name log.hash_key itself with --key"
                ))
            })?;
            if let (true, AuditTo::File(path)) = (files.is_empty(), config.audit.to) {
                files.push(path);
            }
            key = config.audit.hash_key;
        }
        if let Some(reference) = &self.key {
            key = Some(config::named_key(reference, &env).map_err(|rule| Failed::Usage(format!("--key: {rule}")))?);
        }
        if files.is_empty() {
            return Err(Failed::Usage(
                "which file? Name those of the trail, the oldest first; - is standard input".into(),
            ));
        }
        let keys = key.as_ref().map_or_else(Keys::none, |key| Keys::lasting(&key.0));
        Ok(Open { keys: keys.map_err(|fault| Failed::In(fault.to_string()))?, has_key: key.is_some(), files })
    }
}

fn verify(open: &Open, mixed: bool, out: &mut dyn Write) -> Result<bool, Failed> {
    let mut verify = Verify::new(&open.keys, mixed);
    for file in &open.files {
        let name = file.display().to_string();
        verify.file(&name, &mut read(file)?).map_err(|fault| Failed::In(format!("{name}: {fault}")))?;
    }
    let Verified { findings, lines, others, runs, lost, broken } = verify.finish();
    for finding in &findings {
        writeln!(out, "{}", plain(&finding.to_string()))?;
    }
    let others = if others > 0 { format!(", between {others} others") } else { String::new() };
    let vouched = if open.has_key { "" } else { "; nobody vouches for them, for there was no key" };
    writeln!(
        out,
        "{lines} lines of {runs} processes{others}; {lost} records were lost before they were written{vouched}"
    )?;
    let verdict = match (broken, lines) {
        (0, 0) => "NOTHING: there is no line of a trail".to_owned(),
        (0, _) => "ok".to_owned(),
        (broken, _) => format!("BROKEN in {broken} places"),
    };
    writeln!(out, "{verdict}")?;
    Ok(broken == 0 && lines > 0)
}

fn find(open: &Open, account: &str, json: bool, out: &mut dyn Write) -> Result<bool, Failed> {
    if !open.has_key {
        return Err(Failed::Usage("names are hashed: name log.hash_key with --config or --key".into()));
    }
    let mut find = Find::new(&open.keys, account);
    // What goes by once cannot be learnt from first.
    let again = open.files.iter().all(|file| file != Path::new("-"));
    let rounds = if again { 3 } else { 1 };
    for round in 1..=rounds {
        for file in &open.files {
            let mut from = read(file)?;
            let done = if round == rounds { find.collect(&mut from) } else { find.learn(&mut from) };
            done.map_err(|fault| Failed::In(format!("{}: {fault}", file.display())))?;
        }
    }
    let others = find.others();
    let (found, more) = find.finish();
    let mut changed = 0_u64;
    for Found { line, text, intact } in &found {
        changed += u64::from(!intact);
        let told = if json { text.clone() } else { told(line) };
        writeln!(out, "{}", plain(&told))?;
    }
    out.flush()?;
    let mut aside = io::stderr().lock();
    if found.is_empty() {
        let _ = writeln!(aside, "nothing about that name, by this key");
    }
    if changed > 0 {
        let _ = writeln!(
            aside,
            "{changed} of these lines were changed, or are not vouched for by this key: see audit verify"
        );
    }
    if more {
        let _ = writeln!(aside, "there are more lines than are shown: name fewer files");
    }
    if others > 0 {
        let _ = writeln!(aside, "{others} lines were not of the trail");
    }
    Ok(!found.is_empty())
}

/// `time client request flow event reason: what that means`
fn told(line: &Line) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let flow = line.flow.as_deref().map_or("-", |flow| flow.get(..8).unwrap_or(flow));
    let reason = line.reason.as_ref().map(|reason| format!(" {reason}")).unwrap_or_default();
    let (client, request) = (or_none(&line.client), or_none(&line.request));
    format!("{} {client} {request} {flow} {}{reason}: {}", line.time, line.event, explain(line))
}

/// Files may have been written by anybody.
fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

fn read(path: &Path) -> Result<Box<dyn BufRead>, Failed> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let failed = |fault: io::Error| Failed::In(format!("{}: {fault}", path.display()));
    let mut from = BufReader::new(File::open(path).map_err(failed)?);
    let begin = from.fill_buf().map_err(failed)?;
    if let Some((_, program)) = PACKED.iter().find(|(magic, _)| begin.starts_with(magic)) {
        let path = path.display();
        return Err(Failed::In(format!("{path}: is compressed: unpack it first, such as by {program}, and name that")));
    }
    Ok(Box::new(from))
}

/// How files begin that were put aside and packed, and what unpacks them.
const PACKED: &[(&[u8], &str)] =
    &[(b"\x1f\x8b", "gunzip"), (b"\x28\xb5\x2f\xfd", "unzstd"), (b"\xfd7zXZ\0", "unxz"), (b"BZh", "bunzip2")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_trail_is_named_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let verified = |path: PathBuf| {
            let open = Open { keys: Keys::none().unwrap(), has_key: false, files: vec![path] };
            let mut out = Vec::new();
            match verify(&open, false, &mut out) {
                Ok(well) => (well, String::from_utf8(out).unwrap()),
                Err(Failed::In(told) | Failed::Usage(told)) => (false, told),
                Err(Failed::Out) => panic!("nobody listens"),
            }
        };
        for (path, expected) in [
            (put("trail.1.gz", b"\x1f\x8b\x08\0"), "trail.1.gz: is compressed: unpack it first, such as by gunzip,"),
            (
                put("trail.1.zst", b"\x28\xb5\x2f\xfd\0"),
                "trail.1.zst: is compressed: unpack it first, such as by unzstd,",
            ),
            (put("empty", b""), "NOTHING: there is no line of a trail"),
            (put("other", b"{}\n"), "other:1: BROKEN: is not a line of the trail"),
            (folder.path().to_owned(), ": Is a directory"),
            (folder.path().join("missing"), "missing: No such file or directory"),
        ] {
            let (well, told) = verified(path);
            assert!(!well && told.contains(expected), "{expected} in {told}");
        }
    }
}
