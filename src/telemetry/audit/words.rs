//! What events and reasons are called in the trail.

use super::super::labels::why;
use crate::reset::ports::{After, Decoy, Event, PolicyFailure, Reason};

/// Policies that a refused password is told to have broken.
const MAX_POLICIES: usize = 8;
/// The longest name of one.
const MAX_POLICY: usize = 64;

/// What happened.
pub(super) const fn name(event: Event) -> &'static str {
    match event {
        Event::Limited { .. } => "limited",
        Event::LimitObserved { .. } => "limit_observed",
        Event::LimitNear { .. } => "limit_near",
        Event::Started => "reset_started",
        Event::Revealed { .. } => "revealed",
        Event::Decoyed { .. } => "decoyed",
        Event::MailQueued { .. } => "mail_queued",
        Event::MailJoined { .. } => "mail_joined",
        Event::MailSent { .. } => "mail_sent",
        Event::MailDelayed { .. } => "mail_delayed",
        Event::MailDropped { .. } => "mail_dropped",
        Event::OutboxFull => "outbox_full",
        Event::CodesFull => "codes_full",
        Event::KeysFull => "limiter_keys_full",
        Event::SubmitsFull => "submits_full",
        Event::LookUpsFull => "look_ups_full",
        Event::MarksFull => "marks_full",
        Event::CaptchaSolved => "captcha_solved",
        Event::CaptchaRefused => "captcha_refused",
        Event::CaptchaSpent => "captcha_spent",
        Event::TokenRefused => "token_refused",
        Event::CodeRight { .. } => "code_right",
        Event::CodeWrong { .. } => "code_wrong",
        Event::KbaRight { .. } => "kba_right",
        Event::KbaWrong { .. } => "kba_wrong",
        Event::KbaLocked { .. } => "kba_locked",
        Event::KbaUnusable { .. } => "kba_unusable",
        Event::FlowDead { .. } => "flow_dead",
        Event::PasswordHeld { .. } => "password_held",
        Event::PasswordNotSent { .. } => "password_not_sent",
        Event::PasswordRefused { .. } => "password_refused",
        Event::PasswordSet { .. } => "password_set",
        Event::AfterDone { what, .. } => match what {
            After::Notice => "notice_sent",
            After::Webhook => "webhook_sent",
            After::Revocation => "sessions_revoked",
        },
        Event::AfterDelayed { what, .. } => match what {
            After::Notice => "notice_delayed",
            After::Webhook => "webhook_delayed",
            After::Revocation => "revocation_delayed",
        },
        Event::AfterDropped { what, .. } => match what {
            After::Notice => "notice_dropped",
            After::Webhook => "webhook_dropped",
            After::Revocation => "revocation_dropped",
        },
        Event::LinkInvalid { .. } => "link_invalid",
        Event::OutcomeUnknown { .. } => "outcome_unknown",
        Event::FloorMissed => "floor_missed",
        Event::ServiceDown { .. } => "service_down",
        Event::Disguised => "disguised_target",
        Event::Denied => "denied",
        Event::Reloaded => "reloaded",
        Event::ReloadFailed => "reload_failed",
        Event::Broken { .. } => "broken",
    }
}

/// Why.
pub(super) fn reason(event: Event, reason: Reason<'_>) -> Option<String> {
    Some(match (event, reason) {
        (_, Reason::Word(word)) => word.to_owned(),
        (_, Reason::Status(status)) => status.to_string(),
        (_, Reason::Policies(failures)) => policies(failures),
        (Event::Decoyed { why } | Event::Revealed { why }, Reason::None) => nobody(why).to_owned(),
        (Event::MailJoined { .. }, Reason::None) => "gap".to_owned(),
        _ => return None,
    })
}

/// Why there is no account.
const fn nobody(of: Decoy) -> &'static str {
    match of {
        Decoy::Unknown => "nobody",
        Decoy::Ambiguous => "several",
        Decoy::NoAddress => "no-mail",
        Decoy::LongId => "long-id",
        Decoy::OverBudget => "budget",
        Decoy::LookUpFailed => "look-up-failed",
        Decoy::NoQuestions => "no-questions",
        Decoy::Inactive | Decoy::Crowded => why(of),
    }
}

/// The names that a store's policies have, as far as they are names of policies: a store is not to write here what it
/// likes.
fn policies(failures: &[PolicyFailure]) -> String {
    let name = |failure: &PolicyFailure| {
        let name = &failure.requirement;
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let is_name = !name.is_empty() && name.len() <= MAX_POLICY && name.bytes().all(plain);
        if is_name { name.clone() } else { "OTHER".to_owned() }
    };
    let mut names: Vec<_> = failures.iter().take(MAX_POLICIES).map(name).collect();
    names.dedup();
    if names.is_empty() { "OTHER".to_owned() } else { names.join(",") }
}
