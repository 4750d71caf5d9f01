//! What `conf/deploy` brings: it is as its readers want it, and says the same as the configuration beside it.

mod kubernetes;
mod rootfs;
mod systemd;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// `conf/deploy`
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/deploy")
}

/// `resetgate check` on a configuration with all that it names beside it: made up, but for the process file.
fn check(toml: &str, names: &[&str]) -> (bool, String) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    put("selfservice-reset.json", include_str!("../../conf/selfservice-reset.json"));
    let authority = rcgen::generate_simple_self_signed(["idm".to_owned()]).unwrap().cert.pem();
    for name in names {
        let made = match *name {
            "keys/current" | "keys/audit" => format!("{}A", "k".repeat(42)),
            name if name.ends_with(".crt") => authority.clone(),
            _ => "a-secret".to_owned(),
        };
        put(name, &made);
    }
    let config = put("resetgate.toml", toml);
    let ran = Command::new(env!("CARGO_BIN_EXE_resetgate")).arg("check").arg("--config").arg(config).output().unwrap();
    (ran.status.success(), String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap())
}

/// What is bound, in a configuration file's own words.
fn table(toml: &str) -> toml::Table {
    toml.parse().unwrap()
}

/// `25s`
fn seconds(text: &str) -> u64 {
    text.strip_suffix('s').unwrap().parse().unwrap()
}
