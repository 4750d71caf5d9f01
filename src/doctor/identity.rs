//! The identity store, asked as the service user what the engine asks it: for nobody, so that nothing is found and
//! nothing is changed; and for a canary account, if there is one.

mod answer;
mod canary;
mod floor;
pub(super) mod rules;
mod token;

use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};

use self::{answer::Judge, rules::Right};
use super::{
    clock,
    reach::{Service, reach},
    sheet::{Sheet, listed},
};
use crate::{
    config::{Auth, Config},
    identity::{Crest, Question, Seen},
    reset::{
        filter::{Filter, Literal},
        ports::{AccountId, Change, Clock, Field, NewValue, Resource, Revision, Secret},
        process::{Process, StageSettings},
    },
    telemetry::metrics::Metrics,
};

/// What the process file says of accounts.
struct Accounts<'a> {
    find: &'a Resource,
    patch: &'a Resource,
    fields: &'a [Field],
    mail: &'a Field,
    status: Option<&'a Field>,
    password: &'a Field,
    /// Where wrong answers are counted, if they are counted in accounts.
    attempts: Option<&'a Field>,
    /// The status that may reset, where one is asked for.
    valid: Option<&'a str>,
    want: Vec<Field>,
}

impl<'a> Accounts<'a> {
    /// `None` only of a process that was never checked.
    fn of(process: &'a Process) -> Option<Self> {
        let stages = process.stages.iter();
        let query = stages.clone().find_map(|stage| match stage {
            StageSettings::UserQuery(settings) => Some(settings),
            _ => None,
        })?;
        let reset = stages.clone().find_map(|stage| match stage {
            StageSettings::ResetStage(settings) => Some(settings),
            _ => None,
        })?;
        let valid = stages.clone().find_map(|stage| match stage {
            StageSettings::ValidateActiveAccount(settings) => Some(settings.valid_status.as_str()),
            _ => None,
        });
        let mut want = query.valid_fields.clone();
        want.push(query.mail_field.clone());
        want.extend(query.status_field.clone());
        want.extend(process.kba().map(|kba| kba.kba.property.clone()));
        Some(Self {
            find: &query.resource,
            patch: &reset.resource,
            fields: &query.valid_fields,
            mail: &query.mail_field,
            status: query.status_field.as_ref(),
            password: &reset.password_field,
            attempts: process.kba().and_then(|kba| kba.kba.lockout.as_ref()).map(|lockout| &lockout.attempts),
            valid,
            want,
        })
    }

    /// All that is written.
    fn written(&self) -> Vec<&Field> {
        std::iter::once(self.password).chain(self.attempts).collect()
    }

    /// As a page with one box asks.
    fn named(&self, name: &str) -> Option<Filter> {
        let mut leaves = self.fields.iter().map(|field| Filter::Eq(field.clone(), Literal::from(name)));
        match self.fields.len() {
            0 => None,
            1 => leaves.next(),
            _ => Some(Filter::Or(leaves.take(4).collect())),
        }
    }
}

/// Goes through all of it.
pub(super) async fn examine(
    sheet: &mut Sheet,
    config: &Config,
    canary: Option<&str>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) {
    const ALL: [&str; 9] = ["url", "clock", "credentials", "query", "read", "canary", "patch", "excess", "floor"];
    let identity = &config.identity;
    let service = Service::of("identity", "identity.url", &identity.endpoints);
    if reach(sheet, &service, clock.now()).await.is_none() {
        return sheet.skip_all(&ALL, "the store cannot be reached");
    }
    let Some(accounts) = Accounts::of(&config.reset.process) else { return };
    let store = match Crest::new(identity, Arc::clone(clock), Arc::clone(metrics)) {
        Ok(store) => store,
        Err(fault) => {
            sheet.fail("url", fault.to_string(), "mend [identity]");
            return sheet.skip_all(&ALL[1..], "the store cannot be asked");
        }
    };
    if !token::get(sheet, identity, &store, clock).await {
        return sheet.skip_all(&ALL, "there is no access token");
    }
    let judge = Judge { store: &store, identity, accounts: &accounts };
    if !first(sheet, &judge, clock).await {
        return;
    }
    query(sheet, &judge).await;
    read(sheet, &judge).await;
    let known = canary::look_up(sheet, &judge, canary).await;
    patch(sheet, &judge, known.as_ref().map(|known| &known.id)).await;
    count(sheet, &judge).await;
    excess(sheet, &judge).await;
    floor::time(sheet, &judge, canary.filter(|_| known.is_some()), config.reset.answer_floor).await;
}

/// The first question shows whether it is the store at all, and whom it takes us for. Whether to go on.
async fn first(sheet: &mut Sheet, judge: &Judge<'_>, clock: &Arc<dyn Clock>) -> bool {
    const REST: [&str; 6] = ["query", "read", "canary", "patch", "excess", "floor"];
    let Some(filter) = judge.accounts.named(&nobody()) else { return false };
    let sent = clock.now();
    let asked = judge.store.ask(&Question::Find(judge.accounts.find, &filter, &judge.accounts.want)).await;
    let came = clock.now();
    let url = judge.identity.endpoints.url.as_str();
    let seen = match asked {
        Ok(seen) => seen,
        Err(unanswered) => {
            let cure = unanswered.hint.map_or_else(
                || {
                    "see that identity.url has the store's own port and scheme, identity.timeout, and its log"
                        .to_owned()
                },
                |hint| hint.replace("tls.", "identity.tls."),
            );
            sheet.fail("url", format!("{url}: {unanswered}"), cure);
            sheet.skip_all(&["clock", "credentials"], "the store does not answer");
            sheet.skip_all(&REST, "the store does not answer");
            return false;
        }
    };
    if let Some((what, cure)) = judge.not_the_store(&seen).await {
        sheet.fail("url", what, cure);
        clock::judge(sheet, seen.date.as_deref(), sent, came);
        sheet.skip("credentials", "it is not the store that answers");
        sheet.skip_all(&REST, "it is not the store that answers");
        return false;
    }
    sheet.ok("url", format!("{url} answers as IDM does"));
    clock::judge(sheet, seen.date.as_deref(), sent, came);
    if seen.status.as_u16() == 401 {
        let (what, cure) = unknown(&judge.identity.auth);
        sheet.fail("credentials", format!("401: the store does not take {what}"), cure);
        sheet.skip_all(&REST, "the store does not know the service user");
        return false;
    }
    sheet.ok("credentials", format!("the store takes {}", unknown(&judge.identity.auth).0));
    true
}

/// Each field that a client may ask by, and all of them at once.
async fn query(sheet: &mut Sheet, judge: &Judge<'_>) {
    let accounts = judge.accounts;
    let alone = accounts.fields.iter().map(|field| Filter::Eq(field.clone(), Literal::from(nobody().as_str())));
    let filters: Vec<Filter> = alone.chain(accounts.named(&nobody())).collect();
    for filter in &filters {
        let fields = listed(filter.fields().into_iter().map(Field::as_str));
        let seen = match judge.store.ask(&Question::Find(accounts.find, filter, &accounts.want)).await {
            Ok(seen) => seen,
            Err(unanswered) => {
                return sheet.fail("query", format!("by {fields}: {unanswered}"), "see the store's own log");
            }
        };
        match (seen.status.as_u16(), seen.page(accounts.find, &accounts.want)) {
            (200, Some(found)) if found.is_empty() => {}
            (200, Some(found)) => {
                let seen = format!("by {fields}: it finds {} for a name that nobody has", found.len());
                let cure = "the store does not heed _queryFilter there: see validQueryFields in the process file";
                return sheet.fail("query", seen, cure);
            }
            (200, None) => {
                let id = accounts.find.id_field.as_str();
                let cure = format!("see identityIdField, \"{id}\", in the process file");
                return sheet.fail("query", format!("by {fields}: its page has no such accounts"), cure);
            }
            (403, _) => return missing(sheet, "query", &Right::Query, accounts.find),
            (400, _) => {
                let cure = "see validQueryFields in the process file: each must be one that the store can search by";
                return sheet.fail("query", format!("by {fields}: 400, it does not take that filter"), cure);
            }
            (status, _) => {
                return sheet.fail("query", format!("by {fields}: {status}"), "see the store's own log");
            }
        }
    }
    let fields = listed(accounts.fields.iter().map(Field::as_str));
    sheet.ok("query", format!("allowed: by {fields} it finds nobody where nobody is"));
}

async fn read(sheet: &mut Sheet, judge: &Judge<'_>) {
    let accounts = judge.accounts;
    let id = AccountId(no_id());
    match judge.store.ask(&Question::Read(accounts.find, &id, &accounts.want)).await {
        Ok(seen) => match seen.status.as_u16() {
            404 => sheet.ok("read", "allowed: 404 for an id that nobody has"),
            403 => missing(sheet, "read", &Right::Read, accounts.find),
            200 => sheet.fail("read", "200 for an id that nobody has", "see what answers there: it shows anybody"),
            status => sheet.fail("read", format!("{status} for an id that nobody has"), "see the store's own log"),
        },
        Err(unanswered) => sheet.fail("read", unanswered.to_string(), "see the store's own log"),
    }
}

/// With a revision that no account has: whoever heeds `If-Match` changes nothing. The canary tells for certain; an id that
/// nobody has tells whether the door is open at all, for IDM asks for rights before it looks for accounts.
async fn patch(sheet: &mut Sheet, judge: &Judge<'_>, canary: Option<&AccountId>) {
    let accounts = judge.accounts;
    let id = canary.map_or_else(|| AccountId(no_id()), |id| AccountId(id.0.clone()));
    let Some(password) = throw_away() else {
        return sheet.skip("patch", "this machine has no randomness for a throw-away password");
    };
    let change = Change { field: accounts.password, value: NewValue::Text(&password) };
    let revision = Revision(nobody());
    let asked = judge.store.ask(&Question::Patch(accounts.patch, &id, &revision, change)).await;
    let seen = match asked {
        Ok(seen) => seen,
        Err(unanswered) => return sheet.fail("patch", unanswered.to_string(), "see the store's own log"),
    };
    match (seen.status.as_u16(), canary.is_some()) {
        (412, true) => {
            sheet.ok("patch", "allowed: 412 for a revision that the canary never had, and nothing is changed")
        }
        (412 | 404, false) => {
            let status = seen.status.as_u16();
            sheet.ok("patch", format!("allowed: {status} for an id that nobody has; --canary NAME makes certain"));
        }
        (403, _) => missing(sheet, "patch", &Right::Patch(&accounts.written()), accounts.patch),
        (200..300, true) => sheet.fail(
            "patch",
            "the store did not heed If-Match: THE CANARY'S PASSWORD IS ANOTHER NOW, and nobody knows it",
            "give the canary a new one; two resets of one account at a time may undo each other at this store",
        ),
        (200..300, false) => {
            sheet.fail("patch", "it says yes to changing an id that nobody has", "see what answers there");
        }
        (404, true) => sheet.fail(
            "patch",
            "the canary is found, and cannot be patched: 404",
            "have resetStage's identityServiceUrl be userQuery's",
        ),
        (400, _) if seen.is_policy_refusal() => sheet.warn(
            "patch",
            "allowed, as it seems: the store judged a long random password before the revision, and refused it",
            "see the password policy: it refuses 32 random letters, digits and signs",
        ),
        (status, _) => sheet.fail(
            "patch",
            format!("{status}, where 412 or 403 should be"),
            format!("see identityPasswordField, \"{}\", and that the store has PATCH", accounts.password.as_str()),
        ),
    }
}

/// The same of the field in which wrong answers are counted: without it no answer is ever looked at.
async fn count(sheet: &mut Sheet, judge: &Judge<'_>) {
    let accounts = judge.accounts;
    let Some(field) = accounts.attempts else { return };
    let change = Change { field, value: NewValue::Number(0) };
    let (id, revision) = (AccountId(no_id()), Revision(nobody()));
    match judge.store.ask(&Question::Patch(accounts.patch, &id, &revision, change)).await {
        Ok(seen) if seen.status.as_u16() == 403 => {
            missing(sheet, "count", &Right::Patch(&accounts.written()), accounts.patch);
        }
        Ok(seen) if matches!(seen.status.as_u16(), 404 | 412) => {
            sheet.ok("count", format!("allowed: wrong answers can be counted in {}", field.as_str()));
        }
        Ok(seen) => {
            let found = format!("{} for counting in {} of an id that nobody has", seen.status.as_u16(), field.as_str());
            sheet.warn("count", found, "see kbaAttemptsPropertyName, and that accounts have it as a number or a text");
        }
        Err(unanswered) => sheet.fail("count", unanswered.to_string(), "see the store's own log"),
    }
}

/// Whoever has these credentials should be able to do no more than a reset needs. What an administrator may see tells.
async fn excess(sheet: &mut Sheet, judge: &Judge<'_>) {
    let mut url = judge.identity.endpoints.url.clone();
    url.set_path(&format!("{}/config", url.path().trim_end_matches('/')));
    match judge.store.ask(&Question::Get(&url)).await {
        Ok(seen) if seen.is_configuration() => sheet.warn(
            "excess",
            "the service user may read IDM's own configuration, and so is an administrator",
            "give it a role that may query, read and patch accounts, and nothing else",
        ),
        Ok(_) => sheet.ok("excess", "the service user may not read IDM's own configuration"),
        Err(unanswered) => sheet.skip("excess", unanswered.to_string()),
    }
}

fn missing(sheet: &mut Sheet, check: &str, right: &Right<'_>, at: &Resource) {
    sheet.fail(check, "403: the service user may not", right.cure(at));
}

/// As whom we asked, and what to look at where the store knows no such.
fn unknown(auth: &Auth) -> (&'static str, &'static str) {
    match auth {
        Auth::OpenIdm { .. } => (
            "identity.auth.username with identity.auth.password, as X-OpenIDM-Username and X-OpenIDM-Password",
            "see both, that the user is there and active, and that its password has not expired",
        ),
        Auth::Basic { .. } => (
            "identity.auth.username with identity.auth.password, as HTTP Basic",
            "see both, that the user is there and active, and that the store takes Basic (IDM's own is kind = \"openidm\")",
        ),
        Auth::Bearer { .. } => {
            ("identity.auth.token", "see whether it has ended, and whether the store takes tokens of who made it")
        }
        Auth::OAuth2(_) => (
            "the tokens of identity.auth.token_url",
            "see identity.auth.scope, audience and resource, and whom the store trusts; IDM's rsFilter must know the client",
        ),
    }
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut drawn = [0; N];
    SystemRandom::new().fill(&mut drawn).ok()?;
    Some(drawn)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name that nobody has.
fn nobody() -> String {
    format!("resetgate-doctor-{}", hex(&random::<8>().unwrap_or_default()))
}

/// An id that nobody has, made as IDM's are.
fn no_id() -> String {
    let digits = hex(&random::<16>().unwrap_or_default());
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

/// A password of 32 signs, with some of each kind, for a store that should not take it; `None` without randomness: one
/// that can be guessed must never be sent.
fn throw_away() -> Option<Secret> {
    const KINDS: [&[u8]; 4] = [b"ABCDEFGHJKLMNPQRSTUVWXYZ", b"abcdefghijkmnopqrstuvwxyz", b"23456789", b"!#%+-_.:"];
    let drawn = random::<32>()?;
    let sign = |(at, byte): (usize, &u8)| {
        let kind = KINDS.get(at % KINDS.len())?;
        kind.get(usize::from(*byte) % kind.len()).copied().map(char::from)
    };
    drawn.iter().enumerate().map(sign).collect::<Option<String>>().map(Secret::new)
}

/// Said of an answer that should not be.
fn described(seen: &Seen) -> String {
    match seen.media.as_str() {
        "" => seen.status.as_u16().to_string(),
        media => format!("{} with {media}", seen.status.as_u16()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_new_each_time_and_made_as_it_should_be() {
        assert_ne!(nobody(), nobody());
        let id = no_id();
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        let (one, other) = (throw_away().unwrap(), throw_away().unwrap());
        assert!(one != other);
        let is = |kind: fn(&char) -> bool| one.expose().chars().filter(kind).count();
        let kinds = [
            is(char::is_ascii_uppercase),
            is(char::is_ascii_lowercase),
            is(char::is_ascii_digit),
            is(char::is_ascii_punctuation),
        ];
        assert_eq!(kinds, [8; 4]);
    }
}
