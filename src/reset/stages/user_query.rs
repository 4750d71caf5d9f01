//! `userQuery`: finds the account, for whoever asks, without saying so.

use crate::reset::{
    ports::{Field, Resource},
    process::Reader,
};

/// The stage's name.
pub const NAME: &str = "userQuery";

/// The stage's part of the process file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where accounts are.
    pub resource: Resource,
    /// The attributes that a filter may name.
    pub valid_fields: Vec<Field>,
    /// The attribute that holds the mail address.
    pub mail_field: Field,
    /// The attribute that holds the status, where one is asked for.
    pub status_field: Option<Field>,
}

impl Settings {
    pub(in crate::reset) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let id_field = reader.field("identityIdField");
        let resource = reader.resource("identityServiceUrl", id_field);
        let valid_fields = reader.texts("validQueryFields");
        let mail_field = reader.field("identityEmailField");
        let status_field = reader.optional_text("identityAccountStatusField").map(|text| Field::new(&text));
        reader.ignore(&["identityUsernameField"]);
        Some(Self {
            resource: resource?,
            valid_fields: valid_fields?.iter().map(|text| Field::new(text)).collect(),
            mail_field: mail_field?,
            status_field,
        })
    }
}
