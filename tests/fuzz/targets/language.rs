//! `Accept-Language`: whatever it says, there is a translation, and it is one of the file's.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use resetgate::mail::letter::choose;

fuzz_target!(|header: &str| {
    let translations = ["en", "de", "de-CH", "zh_Hant_TW", "pt-BR"].map(|tag| (tag.to_owned(), ()));
    let chosen = choose(&translations, header).expect("one of several");
    assert!(translations.contains(chosen));
    assert!(choose::<()>(&[], header).is_none());
});
