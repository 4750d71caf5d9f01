//! `resetStage`: takes the new password and sets it.

use crate::reset::{
    ports::{Field, Resource},
    process::Reader,
};

/// The stage's name.
pub const NAME: &str = "resetStage";

/// The stage's part of the process file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where accounts are. Ids are read from the store, so the id attribute is the store's own `_id`.
    pub resource: Resource,
    /// The attribute to replace.
    pub password_field: Field,
}

impl Settings {
    pub(in crate::reset) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let resource = reader.resource("identityServiceUrl", Some(Field::new("_id")));
        let password_field = reader.field("identityPasswordField");
        reader.ignore(&["identityEmailField"]);
        Some(Self { resource: resource?, password_field: password_field? })
    }
}
