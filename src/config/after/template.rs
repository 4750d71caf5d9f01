//! Texts with placeholders: `{id}`, `{time}`, `{request}`, or the name of an attribute of the account.

/// A text in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// A piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// It stands as it is.
    Text(String),
    /// `{id}`: the account's id.
    Id,
    /// `{time}`: when the password was set, such as `2026-01-02T03:04:05.006Z`.
    Time,
    /// `{request}`: the `X-Request-Id` of the request that set it.
    Request,
    /// Any other name: that attribute of the account.
    Attribute(String),
}

impl Template {
    /// Reads one. A brace before anything but a name stands for itself, as in JSON.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            match after.split_once('}').filter(|(name, _)| is_attribute(name)) {
                Some((name, after)) => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(match name {
                        "id" => Piece::Id,
                        "time" => Piece::Time,
                        "request" => Piece::Request,
                        name => Piece::Attribute(name.to_owned()),
                    });
                    rest = after;
                }
                None => {
                    plain.push('{');
                    rest = after;
                }
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// The attributes that it needs.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Attribute(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The text, with what `value` gives for each placeholder, as `spelled` spells it; `None` if one has none.
    pub fn fill<'v>(
        &self,
        value: impl Fn(&Piece) -> Option<&'v str>,
        spelled: impl Fn(&str) -> String,
    ) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                placeholder => text.push_str(&spelled(value(placeholder)?)),
            }
        }
        Some(text)
    }

    /// The text, with the same for each placeholder.
    pub(super) fn sample(&self, value: &str) -> String {
        self.fill(|_| Some(value), str::to_owned).unwrap_or_default()
    }
}

/// A body that is JSON when it is filled in, whatever with: so placeholders stand within texts.
pub(super) fn json(text: &str) -> Result<Template, String> {
    let template = Template::parse(text)?;
    let is_json = |value: &str| serde_json::from_str::<serde_json::Value>(&template.sample(value)).is_ok();
    if is_json("a") && is_json("1 2") {
        return Ok(template);
    }
    Err("must be JSON, with placeholders such as {id} within texts alone".to_owned())
}

/// Whether an attribute may be called that: a JSON pointer without its first slash.
pub(super) fn is_attribute(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/' | b'.');
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.bytes().all(plain) && text.len() <= 128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart_and_put_together() {
        let parsed = |text| Template::parse(text).unwrap();
        let template = parsed(r#"{"user": "{userName}", "n": {}, "at": "{time}{id}", "{request}": "{1}"}"#);
        assert_eq!(template.attributes().collect::<Vec<_>>(), ["userName"]);
        let value = |piece: &Piece| match piece {
            Piece::Id => Some("ID"),
            Piece::Time => Some("T"),
            Piece::Request => Some("R"),
            Piece::Attribute(name) => (name == "userName").then_some("zo\"e"),
            Piece::Text(_) => None,
        };
        let filled = template.fill(value, |text| text.replace('"', "\\\"")).unwrap();
        assert_eq!(filled, r#"{"user": "zo\"e", "n": {}, "at": "TID", "R": "{1}"}"#);
        assert_eq!(parsed("{mail}").fill(value, str::to_owned), None);
        for plain in ["", "{", "}", "{}", "a{b", "{ id }", "{{", "x}y"] {
            assert_eq!(parsed(plain).sample("VALUE"), plain);
        }
    }

    #[test]
    fn placeholders_of_json_stand_in_texts() {
        for good in [r#"{"username": "{userName}"}"#, r#"["{id}", 1]"#, "\"{id}\"", "{}", "null"] {
            assert!(json(good).is_ok(), "{good}");
        }
        for bad in ["", "{id}", r#"{"a": {id}}"#, r#"{"a": 1{id}}"#, "{\"a\": }"] {
            assert!(json(bad).is_err(), "{bad}");
        }
    }
}
