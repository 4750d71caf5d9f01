//! `resetgate doctor`, which is `resetgate check --connect`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use url::Url;

use crate::{
    config,
    doctor::{self, Line, Outcome, Questions},
};

/// Which set-up, and what to look at.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Doctor {
    /// The configuration, such as conf/resetgate.toml
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    #[command(flatten)]
    pub(super) examination: Examination,
}

/// What to look at beside what the configuration names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Examination {
    /// An account that nobody needs, by what people call themselves in a reset: whether all that a reset needs of it can
    /// be read, and its password set, for which a PATCH is sent with a revision that it never had. A store that does not
    /// heed If-Match would set it, to one that nobody knows
    #[arg(long, value_name = "NAME")]
    canary: Option<String>,
    /// Send one letter there, in the first language, with a link that leads nowhere
    #[arg(long, value_name = "ADDRESS")]
    mail_to: Option<String>,
    /// Where clients reach the gate, past all that stands before it, such as `https://id.example.com`; without it, where the
    /// configuration has it listen
    #[arg(long, value_name = "URL", value_parser = gate)]
    gate: Option<Url>,
    /// One JSON object a line, and nothing else: {"check", "outcome", "seen", "do"}
    #[arg(long)]
    json: bool,
}

/// Looks at all of it, and tells.
pub(super) fn run(doctor: Doctor) -> ExitCode {
    let Doctor { config, examination: Examination { canary, mail_to, gate, json } } = doctor;
    let environment = |name: &str| std::env::var(name).ok();
    let (config, warnings) = match config::load(&config, &environment) {
        Ok(loaded) => loaded,
        Err(faults) => return super::refuse(&faults, &mut io::stderr().lock()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return super::told(Err(fault)),
    };
    let questions = Questions { canary, mail_to, gate };
    let lines = runtime.block_on(doctor::examine(config, &warnings, &questions, &environment));
    runtime.shutdown_background();
    let fails = lines.iter().any(|line| line.outcome == Outcome::Fail);
    match tell(&lines, json, &mut io::stdout().lock()) {
        Ok(()) if !fails => ExitCode::SUCCESS,
        Ok(()) | Err(_) => ExitCode::FAILURE,
    }
}

fn tell(lines: &[Line], json: bool, to: &mut dyn Write) -> io::Result<()> {
    for line in lines {
        if json {
            writeln!(to, "{}", serde_json::to_string(line)?)?;
        } else {
            writeln!(to, "{line}")?;
        }
    }
    to.flush()
}

fn gate(text: &str) -> Result<Url, &'static str> {
    const RULE: &str = "must be an http:// or https:// URL of a host, without a path";
    let url = Url::parse(text).map_err(|_| RULE)?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if bare && matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(RULE) }
}
