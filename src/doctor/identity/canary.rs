//! An account that is there to be looked at: whether all that a reset needs of an account can be read.

use super::answer::Judge;
use crate::{
    doctor::sheet::{Sheet, listed},
    identity::Question,
    mail::trial::is_address,
    reset::ports::Account,
};

const CHECK: &str = "canary";

/// Finds it and reads it again, as the engine does. `None` if there is none that can go on.
pub(super) async fn look_up(sheet: &mut Sheet, judge: &Judge<'_>, name: Option<&str>) -> Option<Account> {
    let accounts = judge.accounts;
    let Some(name) = name else {
        sheet.skip(CHECK, "no account was named: --canary NAME, of one that nobody needs");
        return None;
    };
    let filter = accounts.named(name)?;
    let found = match judge.store.ask(&Question::Find(accounts.find, &filter, &accounts.want)).await {
        Ok(seen) => seen.page(accounts.find, &accounts.want),
        Err(unanswered) => {
            sheet.fail(CHECK, unanswered.to_string(), "see the store's own log");
            return None;
        }
    };
    let Some(mut found) = found else {
        sheet.skip(CHECK, "the service user may not look for it");
        return None;
    };
    let fields = listed(accounts.fields.iter().map(|field| field.as_str()));
    let account = match (found.pop(), found.len()) {
        (Some(account), 0) => account,
        (None, _) => {
            let cure = "see its name, and whether the service user may see that account";
            sheet.fail(CHECK, format!("nobody is called that by {fields}"), cure);
            return None;
        }
        (Some(_), _) => {
            let cure = "name one that is alone: for several, the engine sends no mail either";
            sheet.fail(CHECK, format!("several are called that by {fields}"), cure);
            return None;
        }
    };
    let again = judge.store.ask(&Question::Read(accounts.find, &account.id, &accounts.want)).await;
    match again.map(|seen| seen.status.as_u16()) {
        Ok(200) => {}
        Ok(403) => {
            sheet.skip(CHECK, "the service user may not read it");
            return Some(account);
        }
        Ok(status) => {
            let cure = format!("see identityIdField, \"{}\", in the process file", accounts.find.id_field.as_str());
            sheet.fail(CHECK, format!("it is found, and {status} when it is read by its id"), cure);
            return None;
        }
        Err(unanswered) => {
            sheet.fail(CHECK, unanswered.to_string(), "see the store's own log");
            return None;
        }
    }
    judge_fields(sheet, judge, &account);
    Some(account)
}

fn judge_fields(sheet: &mut Sheet, judge: &Judge<'_>, account: &Account) {
    let accounts = judge.accounts;
    let mail = accounts.mail.as_str();
    match account.text(accounts.mail) {
        None => {
            let cure = format!("let the service user read \"{mail}\", or mend identityEmailField in the process file");
            return sheet.fail(CHECK, format!("it is found, and has no {mail} that can be read"), cure);
        }
        Some(address) if !is_address(address) => {
            let cure = "mend the canary: the engine sends no mail to what is not one address";
            return sheet.fail(CHECK, format!("it is found, and its {mail} is no address"), cure);
        }
        Some(_) => {}
    }
    if let (Some(valid), Some(field)) = (accounts.valid, accounts.status) {
        let status = field.as_str();
        match account.text(field) {
            Some(has) if has.eq_ignore_ascii_case(valid) => {}
            Some(_) => {
                let cure = format!("activate it, or mend validStatusValue, \"{valid}\", in the process file");
                return sheet.fail(CHECK, format!("it is found, and its {status} is another than \"{valid}\""), cure);
            }
            None => {
                let cure = format!(
                    "let the service user read \"{status}\", or mend identityAccountStatusField in the process file"
                );
                return sheet.fail(CHECK, format!("it is found, and has no {status} that can be read"), cure);
            }
        }
    }
    if account.revision.is_none() {
        let cure =
            "let the service user read _rev: without it, two resets of one account at a time may undo each other";
        return sheet.warn(CHECK, "it is found, and has no revision that can be read", cure);
    }
    sheet.ok(CHECK, "found, and all that a reset needs of it can be read");
}
