//! The password policy, where the gate tells of it: whether the service user may ask the store, and whether the breach
//! service answers as such a service does.

use std::sync::Arc;

use super::{identity::rules, sheet::Sheet};
use crate::{
    config::{Config, LocalPolicy, PolicySource},
    identity::{Crest, Question},
    policy::trial,
    reset::{
        ports::{Clock, Field, Resource},
        process::StageSettings,
    },
    telemetry::metrics::Metrics,
};

/// Goes through all of it. Where the upstream answers, there is nothing to be said here.
pub(super) async fn examine(sheet: &mut Sheet, config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) {
    match &config.policy.source {
        PolicySource::Upstream => {}
        PolicySource::Service { .. } => service(sheet, config, clock, metrics).await,
        PolicySource::Local(rules) => breach(sheet, rules, metrics).await,
    }
}

async fn service(sheet: &mut Sheet, config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) {
    let settings = config.reset.process.stages.iter().find_map(|stage| match stage {
        StageSettings::ResetStage(settings) => Some((&settings.resource, &settings.password_field)),
        _ => None,
    });
    let Some((at, field)) = settings else { return };
    let store = match Crest::new(&config.identity, Arc::clone(clock), Arc::clone(metrics)) {
        Ok(store) => store,
        Err(fault) => return sheet.fail("read", fault.to_string(), "mend [identity]"),
    };
    ask(sheet, "read", &store, &Question::Policy(at), at, field).await;
    ask(sheet, "validate", &store, &Question::Validate(at, field), at, field).await;
}

/// Whether the store answers one of the two questions.
async fn ask(
    sheet: &mut Sheet,
    check: &'static str,
    store: &Crest,
    question: &Question<'_>,
    at: &Resource,
    field: &Field,
) {
    let path = &at.path;
    let seen = match store.ask(question).await {
        Ok(seen) => seen,
        Err(fault) if fault.status.is_none() => {
            return sheet.skip(check, "the store cannot be asked: see what is said of identity");
        }
        Err(fault) => return sheet.fail(check, format!("policy/{path}: {fault}"), "see the store's own log"),
    };
    let told = if check == "read" { seen.policy_rules(field) } else { seen.policy_failures(field) };
    match (seen.status.as_u16(), told) {
        (200, Some(0)) if check == "read" => sheet.warn(
            check,
            format!("policy/{path} has no rule for {}", field.as_str()),
            "see identityPasswordField in the process file, and the policies of that attribute in IDM's conf/managed.json",
        ),
        (200, Some(rules)) if check == "read" => {
            sheet.ok(check, format!("policy/{path} has {rules} rules for {}", field.as_str()));
        }
        (200, Some(_)) => sheet.ok(check, format!("policy/{path}/- judges passwords for this user")),
        (403, _) => sheet.fail(
            check,
            format!("policy/{path}: this user may not ask (403)"),
            format!("add to \"configs\" in IDM's conf/access.json: {}", rules::of_policy(path)),
        ),
        (status, _) => {
            sheet.fail(check, format!("policy/{path}: it answers {status}, and no policy"), "see the store's own log");
        }
    }
}

async fn breach(sheet: &mut Sheet, rules: &LocalPolicy, metrics: &Arc<Metrics>) {
    let Some(breach) = &rules.breach else { return };
    let url = breach.service.url.as_str();
    match trial::ask(breach, metrics).await {
        Ok(0) => sheet.warn(
            "breach",
            format!("{url} answers, and knows no password at all"),
            "see that policy.breach.url is the place to which five digits are added",
        ),
        Ok(known) => sheet.ok("breach", format!("{url} answers, with {known} known passwords for five digits")),
        Err(why) => {
            let cure = match breach.refuses {
                true => {
                    "no password can be set meanwhile: see policy.breach.url and policy.breach.tls, or set on_outage"
                }
                false => "passwords of breaches are accepted meanwhile: see policy.breach.url and policy.breach.tls",
            };
            sheet.fail("breach", format!("{url}: {why}"), cure);
        }
    }
}
