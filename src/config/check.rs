//! From the file to [`Config`]: reads every section to its end, and only then says whether there is a configuration.

use std::{
    cell::RefCell,
    fmt, fs,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

use super::{
    Config,
    after::after,
    audit::audit,
    captcha::captcha,
    codes::codes,
    edge::edge,
    effective::Effective,
    fault::Fault,
    identity::identity,
    life::{drain, reload, upgrade},
    limits::limits,
    listen::{admin, listen},
    log::log,
    mail::mail,
    policy::policy,
    raw::{Notes, Section},
    redis::store,
    reset::{process_file, reset},
    secret::{Surroundings, token},
    tracing::tracing,
    upstream::upstream,
};

/// Reads and checks a configuration file and all that it names. The second part of a success is what is unwise.
///
/// # Errors
/// Every fault of every file, those of the configuration file first, each file's by line.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<(Config, Vec<Fault>), Vec<Fault>> {
    Texts::read(path).map_err(|fault| vec![fault])?.check(env)
}

/// Where a configuration file says that operators are answered, as it is written there. Nothing else of it is looked at,
/// and nothing that it names is read: whoever asks a running process how it is must not fail for what changed since.
///
/// # Errors
/// If it cannot be read, or says no such address.
pub fn admin_address(path: &Path) -> Result<String, Vec<Fault>> {
    let texts = Texts::read(path).map_err(|fault| vec![fault])?;
    let (table, _) = DeTable::parse_recoverable(&texts.toml);
    let notes = Notes::new(&texts.path, &texts.toml);
    let found = admin(Section::root(table.get_ref(), &notes).section("admin"), None);
    found.map(|admin| admin.address.to_string()).ok_or_else(|| sorted(path, notes.faults.take()))
}

/// What an operator writes: it is read when they say so, while keys and certificates change by themselves.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Texts {
    /// The configuration file, from whose folder on all that it names is.
    pub path: PathBuf,
    /// Its text.
    pub toml: String,
    /// The text of the process file; none, as long as it is to be read from where the configuration says.
    pub process: Option<String>,
}

/// Which file it is, and nothing of what is in it.
impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Texts {
    /// Reads the configuration file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let toml = fs::read_to_string(path).map_err(|e| Fault::of_file(path, format!("cannot be read: {e}")))?;
        Ok(Self { path: path.to_owned(), toml, process: None })
    }

    /// Checks them, and reads all else that they name. The second part of a success is what is unwise.
    ///
    /// # Errors
    /// As [`load`].
    pub fn check(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<(Config, Vec<Fault>), Vec<Fault>> {
        let (table, errors) = DeTable::parse_recoverable(&self.toml);
        let notes = Notes::new(&self.path, &self.toml);
        let folder = self.path.parent().map(Path::to_owned).unwrap_or_default();
        let around = Surroundings { folder, env, texts: RefCell::new(self.clone()), files: RefCell::default() };
        let config = read_all(Section::root(table.get_ref(), &notes), &around);
        let config = config.map(|config| {
            let told = sorted(&self.path, notes.told.take());
            Config { effective: effective(&notes, &config.texts), told, ..config }
        });
        notes.syntax(&errors);
        let (faults, warnings) = (notes.faults.take(), notes.warnings.take());
        match config {
            Some(config) if faults.is_empty() => Ok((config, sorted(&self.path, warnings))),
            _ => Err(sorted(&self.path, faults)),
        }
    }
}

fn effective(notes: &Notes<'_>, texts: &Texts) -> Effective {
    let mut effective = notes.effective.take();
    effective.process(texts.process.as_deref().unwrap_or_default());
    effective
}

/// In the order in which one would mend them.
fn sorted(first: &Path, mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort_by_key(|fault| (fault.file != first, fault.line.unwrap_or(usize::MAX)));
    faults
}

fn read_all(mut root: Section<'_>, around: &Surroundings<'_>) -> Option<Config> {
    let listen = listen(root.section("listen"), around);
    let admin = admin(root.section("admin"), listen.as_ref());
    let upstream = upstream(root.section("upstream"), listen.as_ref(), around);
    let edge = edge(root.section("edge"));
    let identity = identity(root.section("identity"), around);
    let token = token(root.section("token"), around);
    let mut of_codes = root.section("codes");
    let store = store(&mut of_codes, token.as_ref(), around);
    let limits = limits(root.section("limits"), store.as_ref());
    let mut section = root.section("reset");
    let file = process_file(&mut section, around);
    let mail = mail(root.section("mail"), file.as_ref(), around);
    let captcha = captcha(root.section("captcha"), file.as_ref(), around);
    let reset = reset(section, file, limits.as_ref());
    let policy = policy(root.section("policy"), reset.as_ref(), around);
    let after = after(root.section("after"), mail.as_ref(), around);
    let codes = codes(of_codes, store, limits.as_ref(), token.as_ref(), around);
    let mut section = root.section("log");
    let audit = audit(root.section("audit"), &mut section, around);
    let log = log(section);
    let tracing = tracing(root.section("tracing"), around);
    let drain = drain(root.section("drain"));
    let watch = reload(root.section("reload"));
    let upgrade = upgrade(root.section("upgrade"), around);
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
        policy: policy?,
        after: after?,
        captcha: captcha?,
        log: log?,
        audit: audit?,
        tracing: tracing?,
        drain: drain?,
        watch: watch?,
        upgrade: upgrade?,
        texts: around.texts.take(),
        files: around.files.take(),
        effective: Effective::default(),
        told: Vec::new(),
    })
}
