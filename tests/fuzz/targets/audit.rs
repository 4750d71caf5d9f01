//! Files that are said to be an audit trail: whatever is in them is read to its end, and nobody without the key can write
//! a line that holds.
#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use resetgate::{
    reset::ports::Secret,
    telemetry::audit::{Find, Keys, Verify, explain},
};

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::lasting(&Secret::of([7; 32])).expect("keys"));

fuzz_target!(|data: &[u8]| {
    for mixed in [false, true] {
        let mut verify = Verify::new(&KEYS, mixed);
        verify.file("trail", &mut &*data).expect("memory can be read");
        let told = verify.finish();
        assert!(told.lines == 0 || told.broken > 0, "a stranger made a line");
    }
    let mut find = Find::new(&KEYS, "bjensen");
    find.learn(&mut &*data).expect("memory can be read");
    find.collect(&mut &*data).expect("memory can be read");
    for found in find.finish().0 {
        assert!(!found.intact);
        let _ = explain(&found.line);
    }
});
