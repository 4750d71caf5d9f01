//! The token: nothing opens that was not minted here, whatever was minted opens, and a state has one meaning.
#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use resetgate::{
    config::TokenKey,
    keys::RingKeys,
    reset::{
        ports::{Keys, Secret, Time},
        token,
    },
};

static KEYS: LazyLock<RingKeys> = LazyLock::new(|| {
    let key = TokenKey(Secret::of(std::array::from_fn(|byte| byte as u8)));
    RingKeys::new(&[key], &[7; 32]).expect("keys")
});

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(KEYS.open(text).is_none(), "a stranger made a token");
    }
    if let Some((state, binding)) = token::unpack(data) {
        assert_eq!(token::unpack(token::pack(&state, &binding).expose()), Some((state, binding)));
    }
    let Some(minted) = KEYS.seal(data, Time::from_millis(1_000)) else { return };
    let opened = KEYS.open(&minted).expect("a token of ours");
    assert_eq!(opened.state.expose(), data);
    assert!(KEYS.open(&minted[1..]).is_none());
});
