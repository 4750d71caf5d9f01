//! The image that the Containerfile makes, as far as it can be shown without a registry: what its last stage has is enough.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::folder;
use crate::support::{
    program::Program,
    setup::{Files, Plan},
    skip,
};

const USER: &str = "65532";

fn containerfile() -> String {
    fs::read_to_string(folder().join("Containerfile")).unwrap()
}

/// The arguments of an instruction of the last stage.
fn said(instruction: &str) -> String {
    let text = containerfile().replace("\\\n", " ");
    let last = text.rsplit_once("\nFROM ").unwrap().1.to_owned();
    let found = last.lines().find_map(|line| line.strip_prefix(instruction)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{instruction} in {last}")).trim().to_owned()
}

#[test]
fn the_image_is_small_and_nobodys_root() {
    let text = containerfile();
    let bases: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert_eq!(bases.len(), 2);
    for base in &bases {
        let image = base.split(' ').next().unwrap();
        let tag = image.rsplit_once('/').unwrap().1.split_once(':').unwrap().1;
        assert!(!tag.is_empty() && tag != "latest", "{base}");
    }
    // The compiler is no older than what the program needs.
    let manifest: toml::Table = include_str!("../../../Cargo.toml").parse().unwrap();
    let wanted = manifest["package"]["rust-version"].as_str().unwrap();
    assert!(bases[0].contains(&format!("/rust:{wanted}-")), "{} {wanted}", bases[0]);
    let version = manifest["package"]["version"].as_str().unwrap();
    assert!(said("LABEL").contains(&format!("image.version=\"{version}\"")));

    assert_eq!(said("USER"), format!("{USER}:{USER}"));
    assert_eq!(said("STOPSIGNAL"), "SIGTERM");
    // There is no shell to read a line.
    for instruction in ["ENTRYPOINT", "CMD"] {
        assert!(serde_json::from_str::<Vec<String>>(&said(instruction)).is_ok(), "{instruction}");
    }
    let health = said("HEALTHCHECK");
    let asks: Vec<String> = serde_json::from_str(health.split_once("CMD ").unwrap().1).unwrap();
    assert_eq!(asks, ["/usr/bin/resetgate", "probe", "--config", "/etc/resetgate/resetgate.toml"]);
}

/// What a build is sent is what it reads: each file that the manifest and the sources name, and no configuration.
#[test]
fn the_build_is_sent_what_it_reads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignore = fs::read_to_string(root.join(".dockerignore")).unwrap();
    let sent: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignore.lines().any(|line| line == "*"));
    for needed in ["Cargo.lock", "Cargo.toml", "LICENSE", "benches", "src", "tests/fuzz"] {
        assert!(sent.contains(&needed) && root.join(needed).exists(), "{needed}");
    }
    assert_eq!(sent.len(), 6, "{sent:?}");
}

/// The shared libraries that the program needs, where they are.
fn libraries(of: &Path) -> Vec<PathBuf> {
    let told = Command::new("ldd").arg(of).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    told.lines().filter_map(path).collect()
}

/// In a folder that has nothing but the program, the libraries of the last stage, and its configuration; as its user, with
/// no rights, and nothing that it may write to but its state.
#[tokio::test]
async fn it_runs_on_what_the_last_stage_has() {
    let program = Path::new(env!("CARGO_BIN_EXE_resetgate"));
    let found = libraries(program);
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    // Of distroless/cc: glibc and libgcc.
    for library in found.iter().map(name) {
        let known =
            ["libc.so.6", "libm.so.6", "libgcc_s.so.1"].contains(&library.as_str()) || library.starts_with("ld-linux");
        assert!(known, "the last stage has no {library}");
    }
    let inside = |root: &Path, wanted: &str| {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-user", USER, "--map-group", USER, "--root"])
            .arg(root)
            .args(["--wd", "/", wanted]);
        command.env_clear().env("PATH", "/usr/bin");
        command
    };
    let root = tempfile::tempdir().unwrap();
    let put = |from: &Path, to: &str| {
        let to = root.path().join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    put(program, "/usr/bin/resetgate");
    for library in &found {
        put(library, library.to_str().unwrap());
    }
    // And the roots of trust.
    put(Path::new("/etc/ssl/certs/ca-certificates.crt"), "/etc/ssl/certs/ca-certificates.crt");
    let version = inside(root.path(), "/usr/bin/resetgate").arg("--version").output();
    if skip("a user namespace of its own", version.is_ok_and(|ran| ran.status.success())) {
        return;
    }

    // Its configuration, as it would be mounted.
    let plan = Plan { more: "[codes]\nstate_file = \"/var/lib/resetgate/codes\"".into(), ..Plan::alone() };
    let files = Files::of(&plan).with_keys("a");
    for entry in fs::read_dir(files.path()).unwrap() {
        let path = entry.unwrap().path();
        put(&path, &format!("/etc/resetgate/{}", name(&path)));
    }
    fs::create_dir_all(root.path().join("var/lib/resetgate")).unwrap();
    let all = || {
        let listed = Command::new("find").arg(root.path()).output().unwrap();
        let mut listed: Vec<_> = String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
        listed.sort();
        listed
    };
    let before = all();
    let mut command = inside(root.path(), "/usr/bin/resetgate");
    command.args(["run", "--config", "/etc/resetgate/resetgate.toml"]);
    let mut gate = Program::spawn(command);
    let ready: serde_json::Value = serde_json::from_str(&gate.stderr.find("\"ready\"").await).unwrap();
    let admin = ready["fields"]["admin"].as_str().unwrap();
    let probed = inside(root.path(), "/usr/bin/resetgate").args(["probe", admin]).output().unwrap();
    assert!(probed.status.success(), "{probed:?}");
    gate.signal("TERM");
    assert_eq!(gate.ended().await, 0);
    let written: Vec<_> = all().into_iter().filter(|path| !before.contains(path)).collect();
    assert_eq!(written, [root.path().join("var/lib/resetgate/codes").to_str().unwrap()]);

    // The demo needs not even that.
    let mut command = inside(root.path(), "/usr/bin/resetgate");
    command.arg("demo");
    let mut demo = Program::spawn(command);
    demo.stdout.find("http://").await;
    demo.signal("INT");
    assert_eq!(demo.ended().await, 0);
}
