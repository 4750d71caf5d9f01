//! `[codes]`: the one-time codes.

use super::{Codes, LimitName, Limits, Store, Token, raw::Section, secret::Surroundings, units};

/// Fewer than these are worth a warning: at fifteen guesses an hour for each of ten thousand accounts, eight digits take a
/// month to guess one.
const SAFE_DIGITS: u32 = 8;

/// Reads the rest of the section, after its store.
pub(super) fn codes(
    mut section: Section<'_>,
    store: Option<Store>,
    limits: Option<&Limits>,
    token: Option<&Token>,
    around: &Surroundings<'_>,
) -> Option<Codes> {
    let typed = section.or("format", "opaque", |text| units::one_of(text, &[("opaque", false), ("digits", true)]));
    let digits = section.number("digits", 8, 6..=10);
    if typed == Some(true) {
        let unguarded =
            |limits: &Limits| limits.code_per_account.is_none() || limits.observe.contains(&LimitName::CodePerAccount);
        if limits.is_some_and(unguarded) {
            section.fault("format", "needs limits.code_per_account: digits can be guessed");
        }
        if digits.is_some_and(|digits| digits < SAFE_DIGITS) {
            section.warn("digits", "lets somebody who knows ten thousand accounts guess one of them in hours");
        }
    }
    let tries = section.number("tries", 5, 1..=100);
    let refused = section.number("refused", 10, 1..=100);
    let capacity = section.number("capacity", 1_000_000, 1..=50_000_000);
    let state_file = section.optional("state_file", |text| around.place(text));
    if section.has("state_file") && token.is_some_and(|token| token.ephemeral) {
        section.fault("state_file", "needs token.keys: what one process seals, the next must be able to open");
    }
    if section.has("state_file") && matches!(store, Some(Store::Redis(_))) {
        section.fault("state_file", "means nothing with codes on a server: they outlive this process there");
    }
    section.finish();
    let digits = typed?.then_some(digits?);
    Some(Codes {
        store: store?,
        tries: tries?,
        refused: refused?,
        digits,
        capacity: usize::try_from(capacity?).ok()?,
        state_file: state_file?,
    })
}
