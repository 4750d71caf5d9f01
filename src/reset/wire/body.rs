//! The body of a POST: what a stranger sent, read strictly.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::reset::{
    error::Stop,
    secret::{Json, Secret},
};

/// How deep objects and lists may lie in each other; the flow itself needs two.
const DEPTH: usize = 16;

/// A POST's body, `{"token": …, "input": …}`.
pub struct Submission {
    /// `token`, where there is one.
    pub token: Option<Secret>,
    input: Option<Input>,
}

impl Submission {
    /// Reads a body: JSON of one object without repeated keys. A body that is no object has no `input`, as in IDM.
    ///
    /// # Errors
    /// [`Stop::Bad`] with IDM's text for what is not JSON, for more than one value, and for a token that is no string.
    pub fn parse(body: &[u8]) -> Result<Self, Stop> {
        // IDM's own reader finds nothing in what is blank.
        let body = body.trim_ascii_start();
        if body.is_empty() {
            return Ok(Self { token: None, input: None });
        }
        let mut json = serde_json::Deserializer::from_slice(body);
        let mut value = Strict { room: DEPTH }.deserialize(&mut json).map_err(|_| Stop::bad(NOT_JSON))?;
        json.end().map_err(|_| Stop::bad(TRAILING))?;
        let Some(members) = value.expose_mut().0.as_object_mut() else {
            return Ok(Self { token: None, input: None });
        };
        let token = match members.remove("token") {
            None | Some(Value::Null) => None,
            Some(Value::String(token)) => Some(Secret::new(token)),
            Some(_) => return Err(Stop::bad("/token: Expecting a java.lang.String")),
        };
        let input = members.remove("input").filter(|input| !input.is_null());
        Ok(Self { token, input: input.map(|input| Input(Secret::of(Json(input)))) })
    }

    /// The stage's input.
    ///
    /// # Errors
    /// [`Stop::Bad`] where there is none.
    pub fn input(self) -> Result<Input, Stop> {
        self.input.ok_or_else(|| Stop::bad("No input provided"))
    }
}

/// `input`: what the current stage may read. Its texts are wiped when dropped, for one of them may be a password.
pub struct Input(Secret<Json>);

impl Input {
    /// What a stage is given that is entered in passing.
    pub fn nothing() -> Self {
        Self(Secret::of(Json(Value::Object(Map::new()))))
    }

    /// Whether it is an object, the only shape with members.
    pub fn is_object(&self) -> bool {
        self.json().is_object()
    }

    /// The text of that name; `None` where it is missing or null, or where the input is no object.
    ///
    /// # Errors
    /// [`Stop::Bad`] where it is anything but a text.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Stop> {
        match self.json().get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Stop::Bad(Cow::Owned(format!("/input/{name}: Expecting a java.lang.String")))),
        }
    }

    /// The text of that name, which must be there.
    ///
    /// # Errors
    /// [`Stop::Bad`] where it is missing, null or no text.
    pub fn required_text(&self, name: &str) -> Result<&str, Stop> {
        self.text(name)?.ok_or_else(|| Stop::Bad(Cow::Owned(format!("/input/{name}: Expecting a value"))))
    }

    /// The member of that name as JSON, whatever it is; empty where there is none.
    pub fn raw(&self, name: &str) -> Secret<Vec<u8>> {
        let Some(value) = self.json().get(name) else { return Secret::of(Vec::new()) };
        // JSON spells a byte in six at most.
        let mut raw = Secret::of(Vec::with_capacity(6 * value.as_str().map_or(0, str::len) + 2));
        // Whatever was parsed can be written, and a Vec takes it.
        let _ = serde_json::to_writer(raw.expose_mut(), value);
        raw
    }

    fn json(&self) -> &Value {
        &self.0.expose().0
    }
}

const NOT_JSON: &str = "The request could not be processed because the provided content is not valid JSON";
const TRAILING: &str = "The request could not be processed because there is trailing data after the JSON content";

/// A JSON value without repeated keys and not deeper than `room`. Two readers may differ on which twin counts
/// (OWASP ASVS 1.5.3), so neither does.
struct Strict {
    room: usize,
}

impl Strict {
    fn deeper<E: Error>(&self) -> Result<Self, E> {
        self.room.checked_sub(1).map(|room| Self { room }).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Secret<Json>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Secret<Json>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Secret<Json>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Secret<Json>, E> {
        held(Value::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Secret<Json>, E> {
        held(it)
    }

    fn visit_i64<E>(self, it: i64) -> Result<Secret<Json>, E> {
        held(it)
    }

    fn visit_u64<E>(self, it: u64) -> Result<Secret<Json>, E> {
        held(it)
    }

    fn visit_f64<E>(self, it: f64) -> Result<Secret<Json>, E> {
        held(it)
    }

    fn visit_str<E>(self, it: &str) -> Result<Secret<Json>, E> {
        held(it)
    }

    fn visit_string<E>(self, it: String) -> Result<Secret<Json>, E> {
        held(it)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Secret<Json>, A::Error> {
        let mut items = Secret::of(Json(Value::Array(Vec::new())));
        while let Some(item) = seq.next_element_seed(self.deeper()?)? {
            if let Value::Array(items) = &mut items.expose_mut().0 {
                items.push(item.release());
            }
        }
        Ok(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret<Json>, A::Error> {
        let mut members = Secret::of(Json(Value::Object(Map::new())));
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self.deeper()?)?;
            if let Value::Object(members) = &mut members.expose_mut().0
                && let Some(twin) = members.insert(key, value.release())
            {
                drop(Secret::of(Json(twin)));
                return Err(A::Error::custom("a key is repeated"));
            }
        }
        Ok(members)
    }
}

fn held<E>(value: impl Into<Value>) -> Result<Secret<Json>, E> {
    Ok(Secret::of(Json(value.into())))
}

#[cfg(test)]
mod tests;
