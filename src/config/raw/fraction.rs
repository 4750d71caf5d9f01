//! A key that is a part of one.

use toml::de::DeValue;

use super::Section;

impl Section<'_> {
    /// A number from 0 to 1 that may be missing: the outer option is none where it is there and wrong.
    #[allow(clippy::option_option, reason = "missing and wrong are two things")]
    pub(in crate::config) fn fraction(&mut self, key: &'static str) -> Option<Option<f64>> {
        let Some(value) = self.value(key) else {
            self.comes_to(key, None);
            return Some(None);
        };
        let number = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(whole) => whole.as_str().parse().ok(),
            _ => None,
        };
        if let Some(number) = number.filter(|number| (0.0..=1.0).contains(number)) {
            self.comes_to(key, Some(format!("{number:?}")));
            return Some(Some(number));
        }
        self.none(key, "must be a number from 0 to 1, without quotes")
    }
}
