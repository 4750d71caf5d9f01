//! `parameters`: takes what the caller wants back at the end, such as `returnParams`.

use crate::reset::process::Reader;

/// The stage's name.
pub const NAME: &str = "parameters";

/// The stage's part of the process file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which inputs are kept.
    pub names: Vec<String>,
}

impl Settings {
    pub(in crate::reset) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        Some(Self { names: reader.texts("parameterNames")? })
    }
}
