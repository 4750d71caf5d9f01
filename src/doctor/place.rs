//! Where the gate itself is to stand: its listeners, its files, and what `check` warns of.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use super::{
    clock::spelled,
    sheet::{Sheet, listed},
};
use crate::{
    config::{At, AuditTo, Config, Fault},
    listen,
    reset::ports::Time,
    tls,
};

/// A certificate that ends in less is warned of.
const SOON: u64 = 21 * 86_400;
/// Connections, where the configuration does not say how many.
const USUAL: usize = 10_000;
/// Of warnings that there are checks for, the ends of their keys.
const CHECKED: [&str; 2] = ["/verificationLink", "listen.trusted_proxies"];

/// What `check` warns of, but for what is looked at more closely here.
pub(super) fn warnings(sheet: &mut Sheet, warnings: &[Fault]) {
    let own = |warning: &&Fault| !CHECKED.iter().any(|key| warning.key.ends_with(key));
    for warning in warnings.iter().filter(own) {
        let file = warning
            .line
            .map_or_else(|| warning.file.display().to_string(), |line| format!("{}:{line}", warning.file.display()));
        let key = if warning.key.is_empty() { "it" } else { &warning.key };
        sheet.warn("", format!("{key} {}", warning.rule), format!("see {file}"));
    }
    if sheet.lines.is_empty() {
        sheet.ok("", "it holds, and nothing in it is unwise");
    }
}

/// The listeners, before anybody is asked.
pub(super) fn listeners(sheet: &mut Sheet, config: &Config, now: Time) {
    clients(sheet, config);
    if let Some(tls) = &config.listen.tls {
        let ends = tls.pairs.iter().filter_map(|pair| tls::ends(&pair.chain)).min();
        let left = ends.and_then(|end| u64::try_from(end).ok()).map(|end| end.saturating_sub(now.secs()));
        match left {
            Some(0) => {
                sheet.fail("certificate", "it, or one that vouches for it, has ended", "renew what [listen.tls] names");
            }
            Some(left @ ..SOON) => {
                let seen = format!("it, or one that vouches for it, ends in {}", spelled(left));
                sheet.warn("certificate", seen, "renew what [listen.tls] names, in time");
            }
            Some(left) => sheet.ok("certificate", format!("good for {} yet", spelled(left))),
            None => sheet.skip("certificate", "it does not say when it ends"),
        }
    }
    descriptors(sheet, config.listen.connections.max);
}

/// Whether the limits can tell people apart.
fn clients(sheet: &mut Sheet, config: &Config) {
    const CHECK: &str = "clients";
    let listen = &config.listen;
    let local = listen.addresses.iter().all(|address| match &address.at {
        At::Tcp(tcp) => tcp.ip().is_loopback(),
        At::Unix(_) => true,
        At::Systemd(_) => false,
    });
    let trusts = |at: &At| match at {
        At::Tcp(_) => !listen.trusted_proxies.is_empty(),
        At::Unix(_) => listen.trust_unix,
        At::Systemd(_) => listen.trust_unix || !listen.trusted_proxies.is_empty(),
    };
    let addresses = listed(&listen.addresses);
    if local && !listen.addresses.iter().any(|address| trusts(&address.at)) {
        return sheet.warn(
            CHECK,
            format!("all on loopback: {addresses} can be reached from this machine only, and nobody there is trusted, so \
                     that everyone is one client to the limits"),
            "put the proxy that stands before it in listen.trusted_proxies (\"127.0.0.1\", \"::1\", or \"unix\"); or listen \
             where clients come",
        );
    }
    match listen.trusted_proxies.is_empty() && !listen.trust_unix {
        true => sheet.ok(CHECK, format!("{addresses}; nobody is trusted, so a client is whoever connects")),
        false => sheet.ok(CHECK, format!("{addresses}; {} say who a client is", trusted(config))),
    }
}

fn trusted(config: &Config) -> String {
    let networks = config.listen.trusted_proxies.iter().map(ToString::to_string);
    listed(networks.chain(config.listen.trust_unix.then(|| "Unix sockets".to_owned())))
}

fn descriptors(sheet: &mut Sheet, wanted: Option<usize>) {
    const CHECK: &str = "connections";
    const CURE: &str = "raise the limit of open files (LimitNOFILE= in a systemd unit, ulimit -n)";
    match listen::connections(wanted) {
        Ok(most) if wanted.is_none() && most < USUAL => {
            sheet.warn(CHECK, format!("{most} at a time: no more files may be open, as the limits are here"), CURE);
        }
        Ok(most) => sheet.ok(CHECK, format!("{most} at a time, for which files enough may be open")),
        Err(fault) => sheet.fail(CHECK, fault.to_string(), CURE),
    }
}

/// Files and folders that it is to write to.
pub(super) fn files(sheet: &mut Sheet, config: &Config) {
    if let Some(file) = &config.codes.state_file {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mode = fs::metadata(folder).map(|found| found.mode()).unwrap_or(0o700);
        match writable(folder) {
            Ok(()) if mode & 0o022 != 0 => {
                let seen = format!("{}: others can put another file in its place", folder.display());
                sheet.warn("state", seen, "chmod 700 the folder of codes.state_file");
            }
            Ok(()) => sheet.ok("state", format!("{} can be written to", folder.display())),
            Err(fault) => {
                let cure = "let the user that runs resetgate write to the folder of codes.state_file";
                sheet.fail("state", format!("{}: {fault}", folder.display()), cure);
            }
        }
    }
    if let AuditTo::File(file) = &config.audit.to {
        match appendable(file) {
            Ok(()) => sheet.ok("audit", format!("{} can be written to", file.display())),
            Err(fault) => {
                let cure = "let the user that runs resetgate write to the file of audit.to, and to its folder";
                sheet.fail("audit", format!("{}: {fault}", file.display()), cure);
            }
        }
    }
    if let Some(folder) = &config.upgrade {
        let found = fs::metadata(folder);
        let shared = found.is_ok_and(|found| found.mode() & 0o077 != 0);
        match writable(folder) {
            Ok(()) if shared => {
                let seen = format!("{} can be entered by others", folder.display());
                sheet.fail("upgrade", seen, "chmod 700 upgrade.folder: it must be one user's alone");
            }
            Ok(()) => sheet.ok("upgrade", format!("{} can be written to", folder.display())),
            Err(fault) => {
                let cure = "let the user that runs resetgate write to upgrade.folder";
                sheet.fail("upgrade", format!("{}: {fault}", folder.display()), cure);
            }
        }
    }
    if sheet.lines.is_empty() {
        sheet.ok("", "there are none that it writes to");
    }
}

/// Whether more can be put at the end of a file, or it can be made.
fn appendable(file: &Path) -> io::Result<()> {
    match OpenOptions::new().append(true).open(file) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
            writable(file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
        }
        opened => opened.map(|_| ()),
    }
}

/// Whether files can be put into a folder, which may yet have to be made. What is made for the trial goes at once: a
/// folder that is left behind could be another user's than the one who is to write there.
pub(super) fn writable(folder: &Path) -> io::Result<()> {
    let name = format!(".resetgate-doctor-{}", std::process::id());
    let here = folder.ancestors().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let there = here.into_iter().find(|folder| fs::symlink_metadata(folder).is_ok());
    let there = there.ok_or(io::ErrorKind::NotFound)?;
    if !fs::metadata(there)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let trial = there.join(name);
    if there == folder {
        drop(OpenOptions::new().write(true).create_new(true).mode(0o600).open(&trial)?);
        fs::remove_file(trial)
    } else {
        DirBuilder::new().mode(0o700).create(&trial)?;
        fs::remove_dir(trial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(writable(path).is_ok());
        assert!(writable(&path.join("a/b")).is_ok());
        fs::write(path.join("file"), "").unwrap();
        assert!(writable(&path.join("file")).is_err());
        assert!(writable(&path.join("file/below")).is_err());
        assert!(appendable(&path.join("file")).is_ok() && appendable(&path.join("new/file")).is_ok());
        assert!(appendable(path).is_err());
        assert!(writable(Path::new("/proc/self/none")).is_err());
        let left: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["file"]);
    }
}
