//! IDM's own mail service, asked as the service user to send what it can only refuse: a letter to nobody, from nobody.

use std::sync::Arc;

use super::{identity::rules, sheet::Sheet};
use crate::{
    config::Config,
    identity::{Action, Crest, Question},
    mail::trial,
    reset::{
        ports::{Clock, Field, Resource},
        process::EmailSettings,
    },
    telemetry::metrics::Metrics,
};

/// Goes through all of it. A letter is sent to `to` alone, if there is somebody.
pub(super) async fn examine(
    sheet: &mut Sheet,
    config: &Config,
    to: Option<(&str, &str)>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) {
    let Some(email) = config.reset.process.email() else { return };
    let Some(path) = &email.service else { return };
    let store = match Crest::new(&config.identity, Arc::clone(clock), Arc::clone(metrics)) {
        Ok(store) => store,
        Err(fault) => return sheet.fail("service", fault.to_string(), "mend [identity]"),
    };
    // Never asked for: a doctor's breaker never opens.
    let accounts = Resource { path: String::new(), id_field: Field::new("_id") };
    let action = Action { path, action: "send", parameters: &email.parameters, accounts: &accounts };
    let may = ask(sheet, "service", config, email, (&store, &action, None), clock).await;
    match to {
        None => {}
        Some(_) if !may => sheet.skip("letter", "the mail service cannot be used"),
        Some(to) => drop(ask(sheet, "letter", config, email, (&store, &action, Some(to)), clock).await),
    }
}

/// Whether the service does what it is there for.
async fn ask(
    sheet: &mut Sheet,
    check: &'static str,
    config: &Config,
    email: &EmailSettings,
    (store, action, to): (&Crest, &Action<'_>, Option<(&str, &str)>),
    clock: &Arc<dyn Clock>,
) -> bool {
    let path = action.path;
    let letter = match trial::for_idm(&config.mail, email, to, clock.now()) {
        Ok(letter) => letter,
        Err(fault) => {
            sheet.fail(check, fault.to_string(), "mend [mail], or the address of --mail-to");
            return false;
        }
    };
    let seen = match store.ask(&Question::Act(action, letter)).await {
        Ok(seen) => seen,
        Err(fault) if fault.status.is_none() => {
            sheet.skip(check, "IDM cannot be asked: see what is said of identity, for mail goes the same way");
            return false;
        }
        Err(fault) => {
            sheet.fail(check, format!("{path}: {fault}"), "see IDM's own log");
            return false;
        }
    };
    let (seen, cure) = match (seen.status.as_u16(), to) {
        (200..=299, Some(_)) => {
            sheet.ok(check, "sent to the address of --mail-to; its link leads nowhere");
            return true;
        }
        (200..=299 | 400, None) => {
            sheet.ok(check, format!("{path} takes letters of this user; nothing was sent"));
            return true;
        }
        (401, _) => {
            ("it does not know this user (401)".to_owned(), "see what is said of identity.credentials".to_owned())
        }
        (403, _) => {
            let rule = rules::of_mail(path);
            let cure = format!("add to \"configs\" in IDM's conf/access.json: {rule}");
            ("this user may not send mail (403)".to_owned(), cure)
        }
        (404, _) => {
            let cure = "see emailServiceUrl in the process file, and that IDM's mail service is configured";
            ("there is no such service (404)".to_owned(), cure.to_owned())
        }
        (status, _) => {
            let cure = "see IDM's own log, its conf/external.email.json, and mail.from";
            (format!("it answers {status}"), cure.to_owned())
        }
    };
    sheet.fail(check, format!("{path}: {seen}"), cure);
    false
}
