use std::{fs, path::Path, process::Command};

use super::{folder, seconds, table};
use crate::support::skip;

/// What systemd itself thinks may be at most: 10 is "unsafe", and below 2 few services are.
const EXPOSURE: f64 = 1.5;

/// The units, with the program where this test has it.
fn units() -> tempfile::TempDir {
    let units = tempfile::tempdir().unwrap();
    for name in ["resetgate.service", "resetgate.socket"] {
        let text = fs::read_to_string(folder().join("systemd").join(name)).unwrap();
        assert!(name.ends_with("socket") || text.contains("=/usr/local/bin/resetgate "), "{text}");
        let text = text.replace("/usr/local/bin/resetgate", env!("CARGO_BIN_EXE_resetgate"));
        fs::write(units.path().join(name), text).unwrap();
    }
    units
}

fn analyze(arguments: &[&str], unit: &Path) -> Option<(bool, String)> {
    let ran = Command::new("systemd-analyze").args(arguments).arg(unit).output();
    if skip("systemd-analyze", ran.is_ok()) {
        return None;
    }
    let ran = ran.unwrap();
    Some((ran.status.success(), String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap()))
}

#[test]
fn systemd_takes_the_units_and_finds_little_exposed() {
    let units = units();
    for name in ["resetgate.service", "resetgate.socket"] {
        let Some((holds, told)) = analyze(&["verify", "--man=no"], &units.path().join(name)) else { return };
        assert!(holds && told.is_empty(), "{told}");
    }
    let service = units.path().join("resetgate.service");
    let (_, told) = analyze(&["security", "--offline=true", "--no-pager"], &service).unwrap();
    let level = told.split_once("Overall exposure level for resetgate.service: ").unwrap_or_else(|| panic!("{told}")).1;
    let level: f64 = level.split(' ').next().unwrap().parse().unwrap();
    assert!(level <= EXPOSURE, "{told}");

    // It would not hold with a slip, nor without what protects it.
    let text = fs::read_to_string(&service).unwrap();
    fs::write(&service, text.replace("WatchdogSec=30s", "WatchdogSec=soon")).unwrap();
    let (_, told) = analyze(&["verify", "--man=no"], &service).unwrap();
    assert!(told.contains("Failed to parse sec value"), "{told}");
}

#[test]
fn the_unit_gives_an_end_its_time_and_the_configuration_its_folders() {
    let unit = fs::read_to_string(folder().join("systemd/resetgate.service")).unwrap();
    let value = |key: &str| {
        let found = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("{key} in {unit}"))
    };
    let reference = table(include_str!("../../../conf/resetgate.toml"));
    let within = seconds(reference["drain"]["within"].as_str().unwrap());
    assert!(seconds(value("TimeoutStopSec")) >= within + 5);
    assert_eq!(value("RestartPreventExitStatus"), "64");
    assert_eq!(value("StateDirectory"), "resetgate");
    let edge = table(include_str!("../../../conf/edge.toml"));
    assert_eq!(edge["codes"]["state_file"].as_str(), Some("/var/lib/resetgate/codes"));
    // Two for each connection, and 256 besides.
    assert!(value("LimitNOFILE").parse::<u32>().unwrap() >= 2 * 10_000 + 256);
}
