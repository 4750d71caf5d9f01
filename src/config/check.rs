//! From the file to [`Config`]: reads every section to its end, and only then says whether there is a configuration.

use std::{fs, path::Path};

use toml::de::DeTable;

use super::{
    Config, Log, LogFormat,
    codes::codes,
    edge::edge,
    fault::Fault,
    identity::identity,
    limits::limits,
    listen::{admin, listen},
    mail::mail,
    raw::{Notes, Section},
    reset::{process_file, reset},
    secret::{Surroundings, token},
    units,
    upstream::upstream,
};

/// Reads and checks a configuration file and all that it names. The second part of a success is what is unwise.
///
/// # Errors
/// Every fault of every file, those of the configuration file first, each file's by line.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<(Config, Vec<Fault>), Vec<Fault>> {
    let text = fs::read_to_string(path).map_err(|e| vec![Fault::of_file(path, format!("cannot be read: {e}"))])?;
    let (table, errors) = DeTable::parse_recoverable(&text);
    let notes = Notes::new(path, &text);
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let config = read_all(Section::root(table.get_ref(), &notes), &Surroundings { folder, env });
    notes.syntax(&errors);
    let (faults, warnings) = (notes.faults.take(), notes.warnings.take());
    match config {
        Some(config) if faults.is_empty() => Ok((config, sorted(path, warnings))),
        _ => Err(sorted(path, faults)),
    }
}

/// In the order in which one would mend them.
fn sorted(first: &Path, mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort_by_key(|fault| (fault.file != first, fault.line.unwrap_or(usize::MAX)));
    faults
}

fn read_all(mut root: Section<'_>, around: &Surroundings<'_>) -> Option<Config> {
    let listen = listen(root.section("listen"));
    let admin = admin(root.section("admin"), listen.as_ref());
    let upstream = upstream(root.section("upstream"), listen.as_ref());
    let edge = edge(root.section("edge"));
    let identity = identity(root.section("identity"), around);
    let limits = limits(root.section("limits"));
    let mut section = root.section("reset");
    let file = process_file(&mut section, around);
    let mail = mail(root.section("mail"), file.as_ref(), around);
    let reset = reset(section, file, limits.as_ref().and_then(|limits| limits.mail_per_account));
    let token = token(root.section("token"), around);
    let codes = codes(root.section("codes"), limits.as_ref());
    let log = log(root.section("log"));
    root.finish();
    Some(Config {
        listen: listen?,
        admin: admin?,
        upstream: upstream?,
        edge: edge?,
        identity: identity?,
        reset: reset?,
        token: token?,
        codes: codes?,
        limits: limits?,
        mail: mail?,
        log: log?,
    })
}

fn log(mut section: Section<'_>) -> Option<Log> {
    let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    let format = section.or("format", "json", |text| units::one_of(text, &formats));
    section.finish();
    Some(Log { format: format? })
}
