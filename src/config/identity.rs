//! `[identity]`: where accounts are, and as whom to ask.

use super::{
    Identity,
    plaintext::check_plaintext,
    raw::Section,
    secret::{EXPOSED, Surroundings},
    units,
};

/// Reads the section.
pub(super) fn identity(mut section: Section<'_>, around: &Surroundings<'_>) -> Option<Identity> {
    section.required("kind", |text| match text {
        "crest" => Ok(()),
        "scim" => Err("is not built yet; must be \"crest\"".to_owned()),
        _ => Err("must be \"crest\"".to_owned()),
    });
    let url = section.required("url", units::base_url);
    check_plaintext(&mut section, url.as_ref(), &[]);

    let mut auth = section.section("auth");
    auth.hide("password");
    auth.required("kind", |text| match text {
        "openidm" => Ok(()),
        _ => Err("is not built yet; must be \"openidm\"".to_owned()),
    });
    let username = auth.required("username", |text| match text.to_ascii_lowercase().as_str() {
        "anonymous" => Err("must be a user who may read and patch accounts, which anonymous may not".to_owned()),
        _ => units::printable(text),
    });
    if username.as_deref() == Some("openidm-admin") {
        auth.warn("username", "may do everything: make a user that may read accounts and set passwords, and no more");
    }
    let password = auth.required("password", |text| {
        let found = around.secret(text)?;
        match found.text.expose().chars().any(char::is_control) {
            true => Err("must not lead to control characters: it goes in a header".to_owned()),
            false => Ok(found),
        }
    });
    if password.as_ref().is_some_and(|found| found.exposed) {
        auth.warn("password", EXPOSED);
    }
    auth.finish();
    let max_concurrent = section.number("max_concurrent", 256, 1..=10_000);
    section.finish();
    Some(Identity {
        url: url?,
        username: username?,
        password: password.map(|found| found.text)?,
        max_concurrent: usize::try_from(max_concurrent?).ok()?,
    })
}
