//! The body of a POST: what a stranger sent, read strictly.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use zeroize::Zeroize;

use crate::reset::{error::Stop, ports::Secret};

/// How deep objects and lists may lie in each other; the flow itself needs two.
const DEPTH: usize = 16;

/// A POST's body, `{"token": …, "input": …}`.
pub struct Submission {
    /// `token`, where there is one.
    pub token: Option<Secret>,
    input: Option<Value>,
}

impl Submission {
    /// Reads a body: JSON of one object without repeated keys. A body that is no object has no `input`, as in IDM.
    ///
    /// # Errors
    /// [`Stop::Bad`] with IDM's text for what is not JSON, for more than one value, and for a token that is no string.
    pub fn parse(body: &[u8]) -> Result<Self, Stop> {
        if body.is_empty() {
            return Ok(Self { token: None, input: None });
        }
        let mut json = serde_json::Deserializer::from_slice(body);
        let value = Strict { room: DEPTH }.deserialize(&mut json).map_err(|_| Stop::bad(NOT_JSON))?;
        json.end().map_err(|_| Stop::bad(TRAILING))?;
        let Value::Object(mut members) = value else {
            return Ok(Self { token: None, input: None });
        };
        let token = match members.remove("token") {
            None | Some(Value::Null) => None,
            Some(Value::String(token)) => Some(Secret::new(token)),
            Some(_) => return Err(Stop::bad("/token: Expecting a java.lang.String")),
        };
        Ok(Self { token, input: members.remove("input").filter(|input| !input.is_null()) })
    }

    /// The stage's input.
    ///
    /// # Errors
    /// [`Stop::Bad`] where there is none.
    pub fn input(self) -> Result<Input, Stop> {
        self.input.map(Input).ok_or_else(|| Stop::bad("No input provided"))
    }
}

/// `input`: what the current stage may read. Its texts are wiped when dropped, for one of them may be a password.
pub struct Input(Value);

impl Input {
    /// What a stage is given that is entered in passing.
    pub fn nothing() -> Self {
        Self(Value::Object(Map::new()))
    }

    /// Whether it is an object, the only shape with members.
    pub fn is_object(&self) -> bool {
        self.0.is_object()
    }

    /// The text of that name; `None` where it is missing or null, or where the input is no object.
    ///
    /// # Errors
    /// [`Stop::Bad`] where it is anything but a text.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Stop> {
        match self.0.get(name) {
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
    pub fn raw(&self, name: &str) -> String {
        self.0.get(name).map(Value::to_string).unwrap_or_default()
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        _ => {}
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
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_i64<E>(self, it: i64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_u64<E>(self, it: u64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_f64<E>(self, it: f64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_str<E>(self, it: &str) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_string<E>(self, it: String) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.deeper()?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self.deeper()?)?;
            if members.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is repeated"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests;
