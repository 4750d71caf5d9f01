//! Which orders of stages are a safe reset.

use super::{Notes, StageSettings, fault};
use crate::reset::stages::{
    captcha, email_validation, kba, parameters, reset_stage, user_query, validate_active_account,
};

/// What an order needs so that nobody sets a password without having shown that the account is theirs, and so that the
/// look-up, the status and the mail are one step for everyone.
///
/// With `kba_alone` the owner may be proven by answers alone.
pub(super) fn check(stages: &[Option<StageSettings>], kba_alone: bool, notes: &mut Notes) {
    let at = |name: &str| stages.iter().position(|s| s.as_ref().is_some_and(|s| s.name() == name));
    let mut say = |pointer: String, rule: &str| notes.faults.push(fault(&pointer, None, rule));
    for (index, stage) in stages.iter().enumerate() {
        if stage.as_ref().is_some_and(|stage| at(stage.name()) != Some(index)) {
            say(format!("/stageConfigs/{index}"), "must not name a stage a second time");
        }
    }
    let (query, email, reset) = (at(user_query::NAME), at(email_validation::NAME), at(reset_stage::NAME));
    if query.is_none() {
        say("/stageConfigs".to_owned(), "must have a userQuery stage");
    }
    let kba = at(kba::NAME);
    // Questions that strangers are asked: there is no code before them.
    let open = kba.filter(|kba| kba_alone && email.is_none_or(|email| *kba < email));
    // The first of what proves the account's owner.
    let proof = open.or(email);
    if proof.is_none() {
        say(
            "/stageConfigs".to_owned(),
            "must have a stage that proves the account's owner: emailValidation, or security questions alone with \
             reset.kba_alone",
        );
    }
    if reset.is_none() || reset != stages.len().checked_sub(1) {
        say("/stageConfigs".to_owned(), "must end with resetStage");
    }
    if at(parameters::NAME).is_some_and(|index| index != 0) {
        say("/stageConfigs".to_owned(), "must have parameters as its first stage, if at all");
    }
    if let (Some(captcha), Some(query)) = (at(captcha::NAME), query)
        && captcha > query
    {
        say(
            format!("/stageConfigs/{captcha}"),
            "must come before userQuery: behind it, it would keep no program from asking who has an account",
        );
    }
    let active = at(validate_active_account::NAME);
    if let (Some(query), Some(proof)) = (query, proof) {
        let expected = query + 1 + usize::from(active.is_some());
        let in_between = open.is_some() && email.is_some_and(|email| email != proof + 1);
        if proof != expected || in_between || active.is_some_and(|active| active != query + 1) {
            say(
                "/stageConfigs".to_owned(),
                "must have userQuery, validateActiveAccount (if at all), the questions that strangers are asked (if at all) \
                 and emailValidation one right after the other",
            );
        }
    }
    if let (Some(kba), Some(email), None) = (kba, email, open)
        && kba < email
    {
        say(
            format!("/stageConfigs/{kba}"),
            "must come after emailValidation: before it, strangers would be asked and could guess (reset.kba_alone lets them)",
        );
    }
    let query_settings = stages.iter().flatten().find_map(|stage| match stage {
        StageSettings::UserQuery(settings) => Some(settings),
        _ => None,
    });
    if let (Some(_), Some(query), Some(settings)) = (open, query, query_settings)
        && settings.valid_fields.len() != 1
    {
        say(
            format!("/stageConfigs/{query}/validQueryFields"),
            "must have one field where strangers are asked questions, or be narrowed to one by reset.query_fields: by two \
             names of one account its questions would tell that it is there",
        );
    }
    if let (Some(index), Some(settings)) = (active, query_settings)
        && settings.status_field.is_none()
    {
        say(
            format!("/stageConfigs/{index}"),
            "needs identityAccountStatusField in the userQuery stage: without it nobody's status is known",
        );
    }
}
