//! The identity store, and what it says of accounts.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;

use super::{Caller, Down, Secret};
use crate::reset::filter::Filter;

/// An attribute of an account, such as `mail`: a JSON pointer without its leading slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field(String);

impl Field {
    /// The attribute that `pointer` names; leading and trailing slashes mean nothing in CREST.
    pub fn new(pointer: &str) -> Self {
        Self(pointer.trim_matches('/').to_owned())
    }
    /// The pointer without slashes around it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A kind of account in the identity store: the process file's `identityServiceUrl` and `identityIdField`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The path below the store's base URL, such as `managed/user`; no slash around it.
    pub path: String,
    /// The attribute that holds an account's id, `_id` in IDM.
    pub id_field: Field,
}

/// An account's id in its store: untrusted text, to be encoded as one path segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountId(pub String);

/// A store's revision of an account, to be sent back as `If-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision(pub String);

/// What the store says of one account.
#[derive(PartialEq, Eq)]
pub struct Account {
    /// The id under which the store knows it.
    pub id: AccountId,
    /// The revision that was read, where the store has revisions.
    pub revision: Option<Revision>,
    /// The asked attributes that are there and are strings, numbers or booleans, as text.
    pub attributes: BTreeMap<Field, Secret>,
    /// Those that are lists or objects, as JSON.
    pub structures: BTreeMap<Field, Secret>,
}

/// Which attributes there are, and nothing of what is in them.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.attributes.keys().chain(self.structures.keys())).finish()
    }
}

impl Account {
    /// The attribute's text, if the store gave one.
    pub fn text(&self, field: &Field) -> Option<&str> {
        self.attributes.get(field).map(|value| value.expose().as_str())
    }

    /// The JSON of an attribute that is a list or an object, if the store gave one.
    pub fn structure(&self, field: &Field) -> Option<&str> {
        self.structures.get(field).map(|value| value.expose().as_str())
    }
}

/// One attribute to replace.
pub struct Change<'a> {
    /// Which attribute.
    pub field: &'a Field,
    /// Its new value.
    pub value: NewValue<'a>,
}

/// What an attribute is to be.
#[derive(Clone, Copy)]
pub enum NewValue<'a> {
    /// A JSON string.
    Text(&'a Secret),
    /// A JSON number.
    Number(u32),
}

/// One password rule that the store says was broken, in the terms that IDM's client renders.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyFailure {
    /// The requirement's name, such as `MIN_LENGTH`.
    pub requirement: String,
    /// Its parameters, such as `{"minLength": 8}`.
    pub params: Option<serde_json::Map<String, serde_json::Value>>,
}

/// How a store answered a PATCH that it did answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Patched {
    /// It is done.
    Done,
    /// The store's policy refused the value; nothing changed.
    Refused(Vec<PolicyFailure>),
    /// The revision given is not the current one; nothing changed.
    Stale,
    /// There is no such account.
    Gone,
}

/// The identity store. It is told for whose request it is asked.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// At most so many accounts that the store gives for `filter`. The caller still compares what it asked for.
    async fn find(
        &self,
        caller: &Caller,
        at: &Resource,
        filter: &Filter,
        want: &[Field],
        most: usize,
    ) -> Result<Vec<Account>, Down>;
    /// The account of that id; `None` if there is none.
    async fn read(
        &self,
        caller: &Caller,
        at: &Resource,
        id: &AccountId,
        want: &[Field],
    ) -> Result<Option<Account>, Down>;
    /// Replaces attributes, on condition that the revision still holds where one is given.
    async fn patch(
        &self,
        caller: &Caller,
        at: &Resource,
        id: &AccountId,
        revision: Option<&Revision>,
        changes: &[Change<'_>],
    ) -> Result<Patched, Down>;
}
