//! When to reload: at SIGHUP with what the operator has written since, and when a file changes that the configuration
//! names, with the configuration as it was: what somebody is still writing takes effect when they say so.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Reloader;
use crate::{
    config::{Config, Fault, Texts},
    supervisor::Supervisor,
};

/// Where secrets are that are not in files.
pub type Environment = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Reloads for ever; `told` resolves each time that somebody asks for it.
pub async fn watch(
    reloader: Arc<Reloader>,
    environment: Arc<Environment>,
    supervisor: Arc<Supervisor>,
    mut told: impl AsyncFnMut(),
) {
    let every = reloader.present.load().config.watch;
    let mut ticks = interval(every.max(std::time::Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut files = Files::of(&reloader.present.load().config);
    loop {
        let asked = tokio::select! {
            () = told() => true,
            _ = ticks.tick(), if !every.is_zero() => false,
        };
        if !asked {
            let now = files.look();
            if now == files.used {
                continue;
            }
            // Whoever replaces a certificate and its key does so in two steps, and writes each in more than one.
            sleep(every).await;
            if files.look() != now {
                continue;
            }
            files.used = now;
        }
        let texts = if asked {
            // Whoever puts a file aside says so by this signal, too.
            reloader.lasting.trail.reopen();
            supervisor.reloading().await;
            Texts::read(&reloader.present.load().config.texts.path).map_err(|fault| vec![fault])
        } else {
            Ok(reloader.present.load().config.texts.clone())
        };
        // What changes from here on is found at the next look.
        let seen = files.look();
        let done = match checked(texts, &environment).await {
            Ok((config, warnings)) => {
                tell(&warnings, |fault, at| tracing::warn!(fault, at, "unwise"));
                let named = config.files.clone();
                let done = reloader.attempt(config).await;
                files = if named == files.named { Files { named, used: seen } } else { Files::named(named) };
                done
            }
            Err(faults) => {
                tell(&faults, |fault, at| tracing::error!(fault, at, "not reloaded: the configuration does not hold"));
                reloader.note(false);
                false
            }
        };
        supervisor.reloaded(done).await;
    }
}

/// What they come to. Long files may be among those that they name, so nobody else waits for it.
async fn checked(
    texts: Result<Texts, Vec<Fault>>,
    environment: &Arc<Environment>,
) -> Result<(Config, Vec<Fault>), Vec<Fault>> {
    let (texts, environment) = (texts?, Arc::clone(environment));
    let checked = tokio::task::spawn_blocking(move || texts.check(&*environment)).await;
    // Whatever came of it, it does not hold.
    checked.unwrap_or_else(|_| Err(Vec::new()))
}

/// Without values: who reads the log is not always who may read the configuration.
fn tell(faults: &[Fault], line: impl Fn(String, String)) {
    for fault in faults {
        let at = fault.line.map_or_else(String::new, |line| format!(":{line}"));
        let key = if fault.key.is_empty() { String::new() } else { format!("{}: ", fault.key) };
        line(format!("{key}{}", fault.rule), format!("{}{at}", fault.file.display()));
    }
}

/// The files that a configuration names, and how they looked when they were last read.
struct Files {
    named: Vec<PathBuf>,
    used: Vec<Look>,
}

/// What changes with a file, whether it is written anew, replaced, or reached by another link.
type Look = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

impl Files {
    fn of(config: &Config) -> Self {
        Self::named(config.files.clone())
    }

    fn named(named: Vec<PathBuf>) -> Self {
        let used = named.iter().map(|path| look(path)).collect();
        Self { named, used }
    }

    fn look(&self) -> Vec<Look> {
        self.named.iter().map(|path| look(path)).collect()
    }
}

fn look(path: &Path) -> Look {
    let found = fs::metadata(path).ok()?;
    let written = (found.mtime(), found.mtime_nsec());
    Some((found.dev(), found.ino(), found.size(), written, (found.ctime(), found.ctime_nsec())))
}
