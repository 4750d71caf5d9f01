//! The process file: a process that works, or faults that say what to mend.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use resetgate::reset::process::Process;

fuzz_target!(|text: &str| match Process::parse(text) {
    Ok((process, _)) => {
        assert!(process.email().is_some(), "nothing proves the account's owner");
        assert_eq!(process.binding().lines().count(), process.stages.len());
    }
    Err(faults) => {
        assert!(!faults.is_empty());
        assert!(faults.iter().all(|fault| !fault.rule.is_empty()));
    }
});
