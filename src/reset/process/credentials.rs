//! Secrets that a process file may hold.

use std::sync::Arc;

use super::Reader;
use crate::reset::secret::Secret;

impl Reader<'_, '_> {
    /// A text that must never be told. None where there is none, or one that only IDM can read: the configuration may say
    /// it in its place.
    pub fn secret(&mut self, key: &'static str) -> Option<Arc<Secret>> {
        let text = self.value(key)?.as_str()?;
        (!text.trim().is_empty()).then(|| Arc::new(Secret::new(text.trim())))
    }
}
