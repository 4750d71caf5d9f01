//! The command line: each command is a file of [`cli`](self), or a few lines here.

mod audit;
mod doctor;
mod manual;
mod probe;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{ExitCode, exit},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{CommandFactory, Parser, Subcommand};

pub use self::{
    audit::Audit,
    doctor::{Doctor, Examination},
    manual::Shell,
    probe::Probe,
};
use crate::config::{self, Config, Fault, Secret, TokenKey};

/// The exit code of a bad command line and of a bad configuration: BSD's `EX_USAGE`.
pub const BAD_CONFIG: u8 = 64;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve
    ///
    /// Nothing is bound before the whole configuration holds. Then it starts although upstream, store, mail server or DNS
    /// are down, and says so on standard error, where the log goes.
    Run {
        /// The configuration, such as conf/resetgate.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Take over from the process that runs: its sockets, and its open resets (at upgrade.folder)
        #[arg(long)]
        upgrade: bool,
    },
    /// Report everything that is wrong or unwise in a configuration, and exit: 0 if it would run, 64 if not
    Check {
        /// The configuration, such as conf/resetgate.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Look at what is around it as well, as `resetgate doctor` does
        #[arg(long)]
        connect: bool,
        /// What to look at then
        #[command(flatten)]
        examination: Examination,
    },
    /// Find what is wrong with a set-up, by asking all that is around it, and exit: 0 if nothing, 1 if something, 64 if
    /// the configuration does not hold
    ///
    /// One line a check: ok, warn, fail or skip, what was seen, and what to do. Nothing is changed, no mail is sent, and
    /// the store is asked for nobody who is there. Run it as the user that resetgate runs as.
    Doctor(Doctor),
    /// Print a new key, for a file that token.keys or log.hash_key names
    Key,
    /// Check an audit trail, or show what happened to somebody
    Audit {
        /// What to do with it
        #[command(subcommand)]
        what: Audit,
    },
    /// Serve a whole reset inside one process, with an identity store and a mailbox of its own
    Demo,
    /// Ask a running resetgate how it is, where there is no shell to ask with: 0 if it is well, 1 if not
    Probe(Probe),
    /// Print what a shell completes of this command line
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print the manual page, or write that of each command into a folder
    Man {
        /// The folder, which must be there
        #[arg(long, value_name = "FOLDER")]
        into: Option<PathBuf>,
    },
}

const LONG: &str = "A reverse proxy that puts a safe password reset in front of an identity store that it does not own.\n\n\
    It answers /openidm/selfservice/reset itself, with the stages that the identity management server's own \
    selfservice-reset.json names, and passes every other path on. `resetgate demo` shows a whole reset without any \
    configuration; `resetgate check` says what is wrong with one; `resetgate run` serves by it.";

#[derive(Parser)]
#[command(name = "resetgate", version, about, long_about = LONG, propagate_version = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

/// Reads the program's own arguments. A bad command line ends it with 64; `--help` and `--version` with 0.
pub fn parse() -> Command {
    match read(std::env::args_os()) {
        Ok(command) => command,
        Err(told) => {
            // Nobody is left to tell where even standard error is closed.
            let _ = told.print();
            exit(i32::from(code(&told)))
        }
    }
}

/// Loads the configuration for a run: tells standard error all that is wrong or unwise.
///
/// # Errors
/// The exit code, where there is no configuration to run with.
pub fn load(config: &Path) -> Result<Config, ExitCode> {
    report(config, &mut io::stderr().lock())
}

/// `resetgate check`
pub fn check(config: &Path) -> ExitCode {
    match load(config) {
        Ok(config) => {
            for told in &config.told {
                let _ = writeln!(io::stderr(), "note: {told}");
            }
            say("ok")
        }
        Err(code) => code,
    }
}

/// `resetgate doctor`
pub fn doctor(doctor: Doctor) -> ExitCode {
    doctor::run(doctor)
}

/// `resetgate probe`
pub fn probe(probe: &Probe) -> ExitCode {
    match probe.ask() {
        Ok(told) => say(&told),
        Err(failed) => {
            let _ = writeln!(io::stderr(), "{failed}");
            ExitCode::from(failed.code())
        }
    }
}

/// `resetgate completions`
pub fn completions(shell: Shell) -> ExitCode {
    told(io::stdout().write_all(&manual::completions(shell, CommandLine::command())))
}

/// `resetgate man`
pub fn man(into: Option<&Path>) -> ExitCode {
    let pages = manual::pages(CommandLine::command());
    told(match into {
        None => pages.first().map_or(Ok(()), |(_, text)| io::stdout().write_all(text)),
        Some(folder) => pages.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text)),
    })
}

fn told(outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let _ = writeln!(io::stderr(), "resetgate: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// `resetgate audit`
pub fn audit(what: &Audit) -> ExitCode {
    audit::run(what)
}

/// `resetgate key`
pub fn key() -> ExitCode {
    match TokenKey::draw() {
        Some(key) => say(Secret::new(STANDARD.encode(key.0.expose())).expose()),
        None => {
            let _ = writeln!(io::stderr(), "the system's randomness failed");
            ExitCode::FAILURE
        }
    }
}

fn read(args: impl Iterator<Item = OsString>) -> Result<Command, clap::Error> {
    match CommandLine::try_parse_from(args)?.command {
        Command::Check { config, connect: true, examination } => Ok(Command::Doctor(Doctor { config, examination })),
        Command::Check { connect: false, examination, .. } if examination != Examination::default() => {
            let kind = clap::error::ErrorKind::MissingRequiredArgument;
            Err(CommandLine::command().error(kind, "--canary, --mail-to, --gate and --json need --connect"))
        }
        command => Ok(command),
    }
}

fn code(told: &clap::Error) -> u8 {
    if told.use_stderr() { BAD_CONFIG } else { 0 }
}

fn report(config: &Path, to: &mut dyn Write) -> Result<Config, ExitCode> {
    match config::load(config, &|name| std::env::var(name).ok()) {
        Ok((config, warnings)) => {
            for warning in warnings {
                let _ = writeln!(to, "warning: {warning}");
            }
            Ok(config)
        }
        Err(faults) => Err(refuse(&faults, to)),
    }
}

fn refuse(faults: &[Fault], to: &mut dyn Write) -> ExitCode {
    for fault in faults {
        let _ = writeln!(to, "{fault}");
    }
    ExitCode::from(BAD_CONFIG)
}

/// What was asked for goes to standard output, and a reader that is gone is a failure.
fn say(line: &str) -> ExitCode {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Result<Command, u8> {
        read(line.split(' ').map(OsString::from)).map_err(|told| code(&told))
    }

    #[test]
    fn commands_are_read() {
        let config = PathBuf::from("conf/edge.toml");
        assert_eq!(
            read_line("resetgate run --config conf/edge.toml"),
            Ok(Command::Run { config: config.clone(), upgrade: false })
        );
        let upgrade = Command::Run { config: config.clone(), upgrade: true };
        assert_eq!(read_line("resetgate run --upgrade --config conf/edge.toml"), Ok(upgrade));
        let examination = Examination::default();
        let check = Command::Check { config: config.clone(), connect: false, examination: examination.clone() };
        assert_eq!(read_line("resetgate check --config=conf/edge.toml"), Ok(check));
        let doctor = Command::Doctor(Doctor { config, examination });
        assert_eq!(read_line("resetgate doctor --config=conf/edge.toml"), Ok(doctor.clone()));
        assert_eq!(read_line("resetgate check --connect --config=conf/edge.toml"), Ok(doctor));
        let [one, other] = ["check --connect", "doctor"].map(|command| {
            read_line(&format!(
                "resetgate {command} --config x --json --canary c --mail-to a@b --gate https://b.example"
            ))
        });
        assert!(one.is_ok() && one == other, "{one:?} {other:?}");
        assert_eq!(read_line("resetgate key"), Ok(Command::Key));
        assert_eq!(read_line("resetgate demo"), Ok(Command::Demo));
        assert_eq!(read_line("resetgate completions zsh"), Ok(Command::Completions { shell: Shell::Zsh }));
        assert_eq!(read_line("resetgate man"), Ok(Command::Man { into: None }));
        for line in ["--config conf/edge.toml", "--live 127.0.0.1:9090", "--within 500ms --reset http://[::1]:9090"] {
            assert!(matches!(read_line(&format!("resetgate probe {line}")), Ok(Command::Probe(_))), "{line}");
        }
    }

    #[test]
    fn help_is_no_failure_and_a_slip_is_64() {
        for line in ["resetgate --help", "resetgate --version", "resetgate run --help", "resetgate run --version"] {
            assert_eq!(read_line(line), Err(0), "{line}");
        }
        for line in [
            "resetgate",
            "resetgate run",
            "resetgate serve",
            "resetgate key --config x",
            "resetgate --verbose",
            "resetgate probe",
            "resetgate probe --config x 127.0.0.1:9090",
            "resetgate probe --live --ready 127.0.0.1:9090",
            "resetgate probe --within 2 127.0.0.1:9090",
            "resetgate completions csh",
        ] {
            assert_eq!(read_line(line), Err(64), "{line}");
        }
    }

    /// The README's commands are such as can be given, and its links lead to what is there.
    #[test]
    fn the_readme_names_what_there_is() {
        let readme = std::fs::read_to_string("README.md").unwrap();
        let mut command = CommandLine::command();
        command.build();
        let mut named = 0;
        let ends = |c: char| !(c.is_ascii_alphanumeric() || " -_./=:".contains(c));
        for given in readme.split("resetgate ").skip(1) {
            let given: Vec<_> = given.split(ends).next().unwrap_or_default().split(' ').collect();
            // Where a flag is, it is a command and no prose.
            let flags: Vec<_> = given.iter().filter_map(|word| word.strip_prefix("--")).collect();
            let Some(mut sub) = command.find_subcommand(given[0]).or_else(|| {
                assert!(flags.is_empty(), "{given:?}");
                None
            }) else {
                continue;
            };
            sub = given.get(1).and_then(|word| sub.find_subcommand(word)).unwrap_or(sub);
            for flag in flags {
                let known = sub.get_arguments().any(|argument| argument.get_long() == flag.split('=').next());
                assert!(known, "resetgate {}: --{flag}", given[0]);
            }
            named += 1;
        }
        assert!(named > 10, "{named}");
        for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(link.starts_with("https://") || Path::new(link).exists(), "{link}");
        }
    }

    #[test]
    fn a_check_tells_a_line_a_fault() {
        let mut told = Vec::new();
        assert!(report(Path::new("conf/none.toml"), &mut told).is_err());
        let told = String::from_utf8(told).unwrap();
        assert!(told.starts_with("conf/none.toml: cannot be read: "), "{told}");
        assert_eq!(told.lines().count(), 1);
    }
}
