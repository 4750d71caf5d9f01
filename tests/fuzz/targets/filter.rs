//! The query filter: what a store is asked reads as what was understood of the client's text.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use resetgate::reset::{filter::Filter, ports::Field};

fuzz_target!(|text: &str| {
    let allowed = ["userName", "mail", "profile/sn"].map(Field::new);
    let Ok(filter) = Filter::parse(text, &allowed) else { return };
    assert_eq!(Filter::parse(&filter.to_crest(), &allowed).as_ref(), Ok(&filter), "{}", filter.to_crest());
    assert!(filter.fields().iter().all(|field| allowed.contains(field)));
    assert!(!filter.matches(|_| None), "an account without attributes is nobody's");
});
