//! The accounts: their fields, their passwords as salted digests, and revisions that move by themselves.

use std::collections::BTreeMap;

use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::{filter::Filter, policy};

/// The fields that a client may name in a PATCH.
const KNOWN: [&str; 9] = [
    "userName",
    "givenName",
    "sn",
    "mail",
    "accountStatus",
    "telephoneNumber",
    "description",
    "password",
    "kbaLockout",
];
/// Every so many reads of an account its revision moves right after the answer, as a background sync would do it: a
/// client that sends `If-Match` must cope with 412.
const SYNC: u64 = 5;

/// An account to put into the store.
#[derive(Clone, Debug)]
pub struct User {
    /// `_id`.
    pub id: String,
    /// The password, in clear: only its digest is kept.
    pub password: String,
    /// Every other field.
    pub fields: Map<String, Value>,
}

impl User {
    /// An active account; the rest is put to it with [`User::with`].
    pub fn new(id: &str, user_name: &str, password: &str) -> Self {
        let user = Self { id: id.to_owned(), password: password.to_owned(), fields: Map::new() };
        user.with("userName", user_name).with("accountStatus", "active")
    }

    /// With one more field, or another value for one.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.to_owned(), value.into());
        self
    }

    /// A field's text, or nothing.
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// A salted digest. Fast on purpose: the accounts are for show, and tests sign in often.
pub(super) struct Password {
    salt: [u8; 16],
    digest: digest::Digest,
}

impl Password {
    pub(super) fn new(password: &str) -> Self {
        let mut salt = [0; 16];
        // A machine without randomness gets an unsalted digest; the gate itself would not start there.
        let _ = SystemRandom::new().fill(&mut salt);
        Self { salt, digest: Self::digest(salt, password) }
    }

    pub(super) fn is(&self, password: &str) -> bool {
        Self::digest(self.salt, password).as_ref().ct_eq(self.digest.as_ref()).into()
    }

    fn digest(salt: [u8; 16], password: &str) -> digest::Digest {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&salt);
        context.update(password.as_bytes());
        context.finish()
    }
}

/// Why a change was not made.
#[derive(Debug, PartialEq)]
pub(super) enum Unchanged {
    NotFound,
    Stale,
    Malformed(&'static str),
    Policy(Vec<Value>),
}

struct Person {
    fields: Map<String, Value>,
    password: Password,
    revision: u64,
    reads: u64,
}

impl Person {
    fn object(&self, id: &str) -> Map<String, Value> {
        let ids = [("_id".to_owned(), Value::from(id)), ("_rev".to_owned(), Value::from(revision(self.revision)))];
        ids.into_iter().chain(self.fields.clone()).collect()
    }

    /// What one read shows.
    fn show(&mut self, id: &str) -> Map<String, Value> {
        let object = self.object(id);
        self.reads += 1;
        if self.reads.is_multiple_of(SYNC) {
            self.revision += 1;
        }
        object
    }

    fn set(&mut self, field: &str, value: Value) {
        match (field, value) {
            ("password", Value::String(password)) => self.password = Password::new(&password),
            (field, Value::Null) => drop(self.fields.shift_remove(field)),
            (field, value) => drop(self.fields.insert(field.to_owned(), value)),
        }
        self.revision += 1;
    }
}

fn revision(number: u64) -> String {
    format!("{number:016x}")
}

/// All accounts, by `_id`.
#[derive(Default)]
pub(super) struct People(BTreeMap<String, Person>);

impl People {
    pub(super) fn insert(&mut self, user: User) {
        let password = Password::new(&user.password);
        self.0.insert(user.id, Person { fields: user.fields, password, revision: 1, reads: 0 });
    }

    /// `Null` takes a field away. False if there is no such account.
    pub(super) fn set(&mut self, id: &str, field: &str, value: Value) -> bool {
        self.0.get_mut(id).map(|person| person.set(field, value)).is_some()
    }

    /// What an account has in a field, but for its password.
    pub(super) fn field(&self, id: &str, field: &str) -> Option<Value> {
        self.0.get(id)?.fields.get(field).cloned()
    }

    /// False if there is no such account.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    pub(super) fn read(&mut self, id: &str) -> Option<Map<String, Value>> {
        self.0.get_mut(id).map(|person| person.show(id))
    }

    /// The page of matches that starts after `skip`, and whether more follow. Only what is shown counts as read.
    pub(super) fn find(&mut self, filter: &Filter, skip: usize, limit: usize) -> (Vec<Map<String, Value>>, bool) {
        let mut matches = self.0.iter_mut().filter(|(id, person)| filter.matches(&person.object(id))).skip(skip);
        let page = matches.by_ref().take(limit).map(|(id, person)| person.show(id)).collect();
        (page, matches.next().is_some())
    }

    /// Replaces fields, all or none.
    pub(super) fn replace(
        &mut self,
        id: &str,
        if_match: Option<&str>,
        changes: Vec<(String, Value)>,
    ) -> Result<Map<String, Value>, Unchanged> {
        let person = self.0.get_mut(id).ok_or(Unchanged::NotFound)?;
        if if_match.is_some_and(|rev| rev != "*" && rev != revision(person.revision)) {
            return Err(Unchanged::Stale);
        }
        for (field, value) in &changes {
            if !KNOWN.contains(&field.as_str()) {
                return Err(Unchanged::Malformed("The patch names a field that is not known"));
            }
            let Some(text) = value.as_str() else {
                match (field.as_str(), value) {
                    ("kbaLockout", Value::Number(_)) => continue,
                    (name, Value::Number(_)) if name != "password" => {
                        return Err(Unchanged::Policy(vec![policy::wrong_type(field)]));
                    }
                    _ => return Err(Unchanged::Malformed("The patch has a value of the wrong type")),
                }
            };
            // As in IDM, a password that stays the same is no change, and no policy is asked.
            if field == "password" && !person.password.is(text) {
                let user_name = person.fields.get("userName").and_then(Value::as_str);
                let failures = policy::failures(text, user_name);
                if !failures.is_empty() {
                    return Err(Unchanged::Policy(failures));
                }
            }
        }
        for (field, value) in changes {
            let same = match value.as_str() {
                Some(text) if field == "password" => person.password.is(text),
                _ => person.fields.get(&field) == Some(&value),
            };
            if !same {
                person.set(&field, value);
            }
        }
        Ok(person.object(id))
    }

    /// Whether the account with that user name, or else that `_id`, has that password.
    pub(super) fn password_is(&self, user: &str, password: &str) -> bool {
        let person = self.by_name(user).map(|(_, person)| person).or_else(|| self.0.get(user));
        person.is_some_and(|person| person.password.is(password))
    }

    /// The `_id` of the active account with that user name and password.
    pub(super) fn sign_in(&self, user_name: &str, password: &str) -> Option<&str> {
        let (id, person) = self.by_name(user_name)?;
        let active = person.fields.get("accountStatus").and_then(Value::as_str) == Some("active");
        (person.password.is(password) && active).then_some(id)
    }

    fn by_name(&self, user_name: &str) -> Option<(&str, &Person)> {
        let of = |person: &Person| person.fields.get("userName").and_then(Value::as_str) == Some(user_name);
        self.0.iter().find(|(_, person)| of(person)).map(|(id, person)| (id.as_str(), person))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one() -> People {
        let mut people = People::default();
        people.insert(User::new("1", "bjensen", "Secret12").with("mail", "b@example.com"));
        people
    }

    #[test]
    fn the_revision_moves_right_after_every_fifth_read() {
        let mut people = one();
        let seen: Vec<_> = (0..6).map(|_| people.read("1").unwrap()["_rev"].as_str().unwrap().to_owned()).collect();
        assert_eq!(seen[0], seen[4]);
        assert_ne!(seen[4], seen[5]);
        let change = || vec![("sn".to_owned(), json!("Jensen"))];
        assert_eq!(people.replace("1", Some(&seen[4]), change()), Err(Unchanged::Stale));
        assert!(people.replace("1", Some(&seen[5]), change()).is_ok());
        assert_eq!(people.replace("1", Some(&seen[5]), change()), Err(Unchanged::Stale));
        assert!(people.replace("1", Some("*"), change()).is_ok());
        assert!(people.replace("1", None, change()).is_ok());
    }

    #[test]
    fn all_changes_are_made_or_none() {
        let mut people = one();
        let changes = vec![("sn".to_owned(), json!("J")), ("password".to_owned(), json!("x"))];
        assert!(matches!(people.replace("1", None, changes), Err(Unchanged::Policy(failures)) if failures.len() == 3));
        assert_eq!(people.read("1").unwrap().get("sn"), None);
        assert!(people.password_is("bjensen", "Secret12"));
    }

    #[test]
    fn the_same_password_is_no_change_whatever_the_policy_says() {
        let mut people = one();
        people.set("1", "password", json!("weak"));
        let before = people.read("1").unwrap();
        let after = people.replace("1", None, vec![("password".to_owned(), json!("weak"))]).unwrap();
        assert_eq!(before, after);
    }

    #[test]
    fn an_object_never_shows_the_password() {
        assert!(!Value::Object(one().read("1").unwrap()).to_string().contains("Secret"));
    }

    #[test]
    fn only_the_active_sign_in() {
        let mut people = one();
        assert_eq!(people.sign_in("bjensen", "Secret12"), Some("1"));
        assert_eq!(people.sign_in("bjensen", "secret12"), None);
        people.set("1", "accountStatus", json!("inactive"));
        assert_eq!(people.sign_in("bjensen", "Secret12"), None);
        assert!(people.password_is("bjensen", "Secret12"));
    }

    #[test]
    fn a_page_says_whether_more_follow() {
        let mut people = one();
        people.insert(User::new("2", "pat", "Secret12").with("mail", "b@example.com"));
        let filter = Filter::parse("mail eq 'b@example.com'").unwrap();
        let ids = |page: Vec<Map<String, Value>>| {
            page.iter().map(|o| o["_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let (page, more) = people.find(&filter, 0, 1);
        assert_eq!((ids(page), more), (vec!["1".to_owned()], true));
        let (page, more) = people.find(&filter, 1, 1);
        assert_eq!((ids(page), more), (vec!["2".to_owned()], false));
    }
}
