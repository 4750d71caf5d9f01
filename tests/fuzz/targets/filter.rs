//! The query filter: what a store is asked reads as what was understood of the client's text.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use resetgate::reset::{filter::Filter, ports::Field};

/// In characters.
const LONGEST: usize = 512;

fuzz_target!(|text: &str| {
    let allowed = ["userName", "mail", "profile/sn"].map(Field::new);
    let Ok(filter) = Filter::parse(text, &allowed) else { return };
    let rebuilt = filter.to_crest();
    // With its escapes it may be longer than a stranger's may be.
    if rebuilt.chars().count() <= LONGEST {
        assert_eq!(Filter::parse(&rebuilt, &allowed).as_ref(), Ok(&filter), "{rebuilt}");
    }
    assert!(filter.fields().iter().all(|field| allowed.contains(field)));
    assert!(!filter.matches(|_| None), "an account without attributes is nobody's");
});
