//! `validateActiveAccount`: only accounts with the valid status go on.

use crate::reset::process::Reader;

/// The stage's name.
pub const NAME: &str = "validateActiveAccount";

/// The stage's part of the process file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The status that may reset; compared without regard to ASCII case.
    pub valid_status: String,
}

impl Settings {
    pub(in crate::reset) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        // IDM stores `accountStatusField` and never uses it: the attribute is userQuery's `identityAccountStatusField`.
        reader.ignore(&["accountStatusField"]);
        Some(Self { valid_status: reader.text("validStatusValue")? })
    }
}
