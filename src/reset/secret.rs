//! What must never be told: the one type of this crate for passwords, codes, links, tokens, keys and mail addresses.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use subtle::ConstantTimeEq;
use zeroize::optimization_barrier;

/// A value that is wiped when dropped and cannot be printed, serialised or cloned: nobody has to remember not to.
///
/// It wipes what it owns. What a library makes of an exposed value (an HTTP or SMTP client, TLS) stays in that library's
/// buffers until they are used for something else.
pub struct Secret<T: Wipe = String>(T);

/// What can be overwritten where it lies.
pub trait Wipe {
    /// Overwrites it, with whatever room it has to spare.
    fn wipe(&mut self);
}

/// Zeroes them at one go, which no compiler leaves out. `zeroize` itself goes byte by byte.
fn zero(bytes: &mut [u8]) {
    bytes.fill(0);
    optimization_barrier(bytes);
}

impl<const N: usize> Wipe for [u8; N] {
    fn wipe(&mut self) {
        zero(self);
    }
}

impl Wipe for Vec<u8> {
    fn wipe(&mut self) {
        // To the end of its room, and so never moved.
        self.resize(self.capacity(), 0);
        zero(self);
        self.clear();
    }
}

impl Wipe for BytesMut {
    fn wipe(&mut self) {
        // As above.
        self.resize(self.capacity(), 0);
        zero(self);
    }
}

impl Wipe for String {
    fn wipe(&mut self) {
        std::mem::take(self).into_bytes().wipe();
    }
}

impl<T: Wipe> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl Secret {
    /// Takes a text into custody. A borrowed one is copied, and the original stays the caller's.
    pub fn new(text: impl Into<String>) -> Self {
        Self::of(text.into())
    }
}

impl<T: Wipe> Secret<T> {
    /// Takes a value into custody.
    pub fn of(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The same, to be changed. What grows beyond its room is moved, and leaves its old place unwiped.
    pub fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Wipe + AsRef<[u8]> + Send + 'static> Secret<T> {
    /// Its bytes without a copy, for a library that takes no less; wiped when the last holder lets go.
    pub fn into_bytes(self) -> Bytes {
        struct Owner<T: Wipe>(Secret<T>);
        impl<T: Wipe + AsRef<[u8]>> AsRef<[u8]> for Owner<T> {
            fn as_ref(&self) -> &[u8] {
                self.0.expose().as_ref()
            }
        }
        Bytes::from_owner(Owner(self))
    }
}

/// Takes as long wherever two values of one length differ.
impl<T: Wipe + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_ref().ct_eq(other.expose().as_ref()).into()
    }
}

impl<T: Wipe + AsRef<[u8]>> Eq for Secret<T> {}

/// JSON that may hold secrets: its texts are wiped. What the parser needed on the way is not ours to wipe.
pub struct Json(pub Value);

impl Secret<Json> {
    /// The JSON itself, out of custody.
    pub fn release(mut self) -> Value {
        std::mem::take(&mut self.expose_mut().0)
    }
}

impl Wipe for Json {
    fn wipe(&mut self) {
        wipe(&mut self.0);
    }
}

impl<'de> Deserialize<'de> for Secret<Json> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self::of(Json(value)))
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.wipe(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;

    /// Does not compile where one of the types has one of the traits: `which` would be ambiguous.
    macro_rules! never {
        ($($of:ty: $($denied:path),+;)+) => {$($(
            const _: fn() = || {
                trait Unless<A> {
                    fn which() {}
                }
                struct It;
                impl<T: ?Sized> Unless<()> for T {}
                impl<T: ?Sized + $denied> Unless<It> for T {}
                let _ = <$of as Unless<_>>::which;
            };
        )+)+};
    }

    never! {
        Secret: std::fmt::Debug, std::fmt::Display, Clone, serde::Serialize, AsRef<str>, AsRef<[u8]>, std::ops::Deref;
        Secret<Vec<u8>>: std::fmt::Debug, Clone, serde::Serialize, AsRef<[u8]>, std::ops::Deref;
        Secret<[u8; 32]>: std::fmt::Debug, Clone, Copy, serde::Serialize, std::hash::Hash;
        Secret<Json>: std::fmt::Debug, Clone, serde::Serialize;
    }

    #[test]
    fn equal_is_what_has_the_same_bytes() {
        assert!(Secret::new("abc") == Secret::new("abc"));
        assert!(Secret::new("abc") != Secret::new("abd") && Secret::new("abc") != Secret::new("ab"));
        assert!(Secret::of([1_u8; 32]) != Secret::of([2_u8; 32]));
    }

    /// Bytes that keep a copy of what they are when they are dropped.
    struct Witness(Vec<u8>, Arc<Mutex<Vec<u8>>>);

    impl Wipe for Witness {
        fn wipe(&mut self) {
            zero(&mut self.0);
        }
    }

    impl AsRef<[u8]> for Witness {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Witness {
        fn drop(&mut self) {
            *self.1.lock().unwrap() = std::mem::take(&mut self.0);
        }
    }

    #[test]
    fn bytes_are_wiped_when_the_last_holder_lets_go() {
        let left = Arc::new(Mutex::new(b"alive".to_vec()));
        let bytes = Secret::of(Witness(b"secret".to_vec(), Arc::clone(&left))).into_bytes();
        let other = bytes.slice(2..);
        drop(bytes);
        assert_eq!((&*other, &**left.lock().unwrap()), (&b"cret"[..], &b"alive"[..]));
        drop(other);
        assert_eq!(*left.lock().unwrap(), [0; 6]);
    }

    #[test]
    fn a_buffer_is_wiped_where_it_lies() {
        let mut bytes = Vec::with_capacity(100);
        bytes.extend_from_slice(b"secret");
        let before = (bytes.as_ptr(), bytes.capacity());
        bytes.wipe();
        assert_eq!((bytes.as_ptr(), bytes.capacity(), bytes.len()), (before.0, before.1, 0));
        let mut bytes = BytesMut::with_capacity(100);
        bytes.extend_from_slice(b"secret");
        let before = (bytes.as_ptr(), bytes.capacity());
        bytes.wipe();
        assert_eq!((bytes.as_ptr(), bytes.len()), before);
        assert!(bytes.iter().all(|byte| *byte == 0));
        let mut key = [7; 32];
        key.wipe();
        assert_eq!(key, [0; 32]);
    }

    #[test]
    fn json_is_wiped_to_its_depths() {
        let mut json = Json(json!({"a": "one", "b": ["two", {"c": "three", "d": 4}]}));
        json.wipe();
        assert_eq!(json.0, json!({"a": "", "b": ["", {"c": "", "d": 4}]}));
        assert_eq!(Secret::of(Json(json!("kept"))).release(), "kept");
    }
}
