//! A POST's body: read whole and strictly, or refused.
#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use resetgate::reset::wire::Submission;

fuzz_target!(|body: &[u8]| {
    let Ok(submission) = Submission::parse(body) else { return };
    let Ok(input) = submission.input() else { return };
    for name in ["queryFilter", "code", "value", "password", "/", ""] {
        let text = input.text(name);
        let required = input.required_text(name);
        assert_eq!(required.is_ok(), matches!(text, Ok(Some(_))), "{name}");
        if !input.is_object() || input.raw(name).expose().is_empty() {
            assert!(matches!(text, Ok(None)), "{name}");
        }
    }
});
