//! What the lines of a trail mean, for people.

use super::line::{DROPPED, Line, REOPENED, RUN_ENDED, RUN_STARTED};

/// A line in a sentence, for people.
pub fn explain(line: &Line) -> String {
    let reason = line.reason.as_deref().unwrap_or_default();
    let skipped = line.skipped.map(|skipped| format!("; {skipped} more of the kind went before it, unwritten"));
    let rule = line.rule.as_deref().unwrap_or_default();
    let said = match line.event.as_str() {
        "reset_started" => "a reset was asked for".to_owned(),
        "decoyed" => format!("no mail is sent: {}", because(reason)),
        "revealed" => format!("no mail is sent, and whoever asked was told why: {}", because(reason)),
        "mail_queued" => "a mail waits to be sent".to_owned(),
        "mail_joined" => {
            "no mail is sent: it is within reset.mail_gap of an earlier one, whose code holds for this start too"
                .to_owned()
        }
        "mail_sent" => "the relay took the mail; where it went from there, the relay's own log says".to_owned(),
        "mail_delayed" => format!("the mail was not taken yet, and is tried again: {}", relay(reason)),
        "mail_dropped" => format!("the mail is given up: {}", relay(reason)),
        "limited" => format!("refused: over limits.{rule}{}", limited(rule)),
        "limit_observed" => format!("over limits.{rule}, which only watches"),
        "limit_near" => format!("limits.{rule} is four fifths used up"),
        "outbox_full" => "refused: too many mails wait (mail.capacity, limits.mail_total); 503".to_owned(),
        "codes_full" => "refused: too many resets are open (codes.capacity); 503".to_owned(),
        "submits_full" => "refused: too many steps are at work (reset.max_in_flight); 503".to_owned(),
        "look_ups_full" => "refused: too many calls to the store (identity.max_concurrent); 503".to_owned(),
        "limiter_keys_full" => "refused: the limits remember too many clients (limits.capacity)".to_owned(),
        "marks_full" => "refused: too many used captchas are remembered (codes.capacity); 503".to_owned(),
        "captcha_solved" => "a captcha was solved".to_owned(),
        "captcha_refused" => format!("an answer to a captcha was refused: {}", captcha(reason)),
        "captcha_spent" => "refused: the captcha was used by an earlier user query".to_owned(),
        "token_refused" => format!("a token was refused: {}", token(reason)),
        "code_right" => format!("the right code was shown{}", lane(line)),
        "code_wrong" => format!("a code was refused{}: {}", lane(line), code(reason)),
        "kba_right" => "the security questions were answered right".to_owned(),
        "kba_wrong" => format!("the security questions were not answered right: {}", answer(reason)),
        "kba_locked" => "answers were not looked at: too many were wrong (numberOfAttemptsAllowed)".to_owned(),
        "kba_unusable" => format!("a security question cannot be asked: {}", unusable(reason)),
        "flow_dead" => "a password came too late: the reset expired, was used, or was tried out".to_owned(),
        "password_held" => match reason {
            "busy" => "a password has to wait: another is being set; 503".to_owned(),
            _ => "a password has to wait: whether an earlier one was set is not known; 503".to_owned(),
        },
        "password_not_sent" => "the password was not sent: the store could not be asked; 503".to_owned(),
        "password_refused" => format!("the store's policy refused the password: {reason}"),
        "password_set" => "the password was set".to_owned(),
        "notice_sent" => "the relay took a mail that says that the password was set".to_owned(),
        "notice_delayed" => format!("that mail was not taken yet, and is tried again: {}", relay(reason)),
        "notice_dropped" => format!("that mail is given up: {}", given_up(reason)),
        "webhook_sent" => "the webhook was told that the password was set".to_owned(),
        "webhook_delayed" => format!("the webhook was not told yet, and is tried again: {}", service(reason)),
        "webhook_dropped" => format!("the webhook is not told any more: {}", given_up(reason)),
        "sessions_revoked" => "the call that ends the account's sessions was taken".to_owned(),
        "revocation_delayed" => format!("the account's sessions go on, and it is tried again: {}", service(reason)),
        "revocation_dropped" => format!("the account's sessions go on: {}", given_up(reason)),
        "link_invalid" => "refused: the account was changed or removed since the mail was sent".to_owned(),
        "outcome_unknown" => "the store may have set the password; nobody knows".to_owned(),
        "floor_missed" => "a look-up outlasted reset.answer_floor, and how long it took shows: raise it".to_owned(),
        "service_down" => match line.service.as_deref() {
            Some("identity") => "the identity store did not do its work".to_owned(),
            Some("codes") => "the code cache did not do its work".to_owned(),
            Some("captcha") => "nobody could tell whether a captcha was solved; 503".to_owned(),
            _ => "the crypto library did not do its work".to_owned(),
        },
        "disguised_target" => "a path was refused that looks like the reset path in another spelling; 404".to_owned(),
        "denied" => format!("refused by edge.{}; 403", edge(reason)),
        "reloaded" => "another configuration was taken up".to_owned(),
        "reload_failed" => "another configuration did not hold; the log says why".to_owned(),
        "broken" => "a fault of resetgate's own: please report it".to_owned(),
        RUN_STARTED => "resetgate began".to_owned(),
        RUN_ENDED => "resetgate ended in good order".to_owned(),
        REOPENED => "the trail goes on here from another file".to_owned(),
        DROPPED => format!("{} records could not be written, and are lost", line.count.unwrap_or_default()),
        other => format!("{other} {reason}"),
    };
    said + &skipped.unwrap_or_default()
}

fn because(reason: &str) -> String {
    match reason {
        "nobody" => "nobody is called that",
        "several" => "several accounts are called that, or the store gave another than was asked for",
        "no-mail" => "the account has no mail address, or not exactly one",
        "inactive" => "the account's status is not the valid one",
        "long-id" => "the account's id is longer than a token holds",
        "budget" => "the account's mails are used up (limits.mail_per_account)",
        "crowded" => "the account has as many open resets as it may",
        "look-up-failed" => "the store failed on this one look-up",
        "no-questions" => "the account has too few security questions that can be asked",
        other => return other.to_owned(),
    }
    .to_owned()
}

fn captcha(reason: &str) -> String {
    match reason {
        "empty" => "there was none",
        "used" => "it was used already",
        "too-long" => "it is longer than any that there is",
        "unsolved" => "the service says no",
        "hostname" => "it was solved on a page of another host (captcha.hostnames)",
        "action" => "it was solved for something else (captcha.action)",
        "score" => "its score is too low (captcha.min_score)",
        "malformed" => "it is none",
        "forged" => "it is of no question of ours",
        "expired" => "its question has expired",
        other => return other.to_owned(),
    }
    .to_owned()
}

fn relay(reason: &str) -> String {
    if !reason.is_empty() && reason.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("the relay answered {reason}");
    }
    match reason {
        "expired" => "its link ended before it could be sent",
        "letter" => "it could not be written",
        "no-smtputf8" => "the address is not ASCII, and the relay cannot take it",
        "deadline" => "the relay was too slow",
        "connect" => "the relay cannot be reached",
        "starttls" => "the relay does not offer TLS",
        "tls" => "TLS to the relay failed",
        "auth" => "the relay does not accept the credentials",
        "file" => "it could not be put into the folder",
        "refused" => "IDM's mail service says that nothing can be sent to that address",
        "not-allowed" => "the service user may not use IDM's mail service",
        "no-service" => "IDM's mail service is not where emailServiceUrl says",
        "service" => "IDM's mail service could not send it; IDM's own log says why",
        "open" => "IDM is left alone: too many calls had failed",
        "busy" => "too many letters were under way to IDM",
        "timeout" => "IDM's mail service was too slow",
        other => return format!("the relay broke off ({other})"),
    }
    .to_owned()
}

fn given_up(reason: &str) -> String {
    match reason {
        "expired" => "after.lifetime is over",
        "full" => "too many wait",
        "no-attribute" => "the account has not all that after.revoke says",
        "gone" => "it answers that nobody wants to hear of it any more (410)",
        other => return format!("{}; {}", service(other), relay(other)),
    }
    .to_owned()
}

fn service(reason: &str) -> String {
    if !reason.is_empty() && reason.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("it answers {reason}");
    }
    match reason {
        "busy" => "too many calls were under way",
        "connect" => "it cannot be reached",
        "timeout" => "it was too slow",
        "lost" => "the connection broke",
        other => return format!("it failed ({other})"),
    }
    .to_owned()
}

fn limited(rule: &str) -> &'static str {
    match rule {
        "mail_per_account" => "; no mail is sent",
        "answer_per_account" => "; whatever is answered is wrong until it is refilled",
        "code_per_account" => "; whatever is typed is wrong until it is refilled, and the mailed link stays good",
        _ => "; 429",
    }
}

fn token(reason: &str) -> &'static str {
    match reason {
        "expired" => "it was over (token.expiry of the process file, or reset.link_lifetime)",
        "process" => "it was made before the process file changed",
        _ => "it is not one of ours, or its key is not among token.keys any more",
    }
}

fn code(reason: &str) -> &'static str {
    match reason {
        "wrong" => "it was wrong",
        "tried-out" => "its tries were used up (codes.tries)",
        "spent" => "the password was set already",
        "decoy" => "there was no account, so no code is right",
        "budget" => "too many digits were typed for this account (limits.code_per_account)",
        _ => "there is no such reset any more: it expired, or was lost with a process",
    }
}

fn answer(reason: &str) -> &'static str {
    match reason {
        "wrong" => "an answer was wrong",
        "missing" => "an answer was missing",
        "decoy" => "there was no account, so no answer is right",
        "budget" => "too many were given for this account (limits.answer_per_account)",
        "changed" => "the account has other questions now",
        _ => "there is no such reset any more: it expired, or was lost with a process",
    }
}

fn unusable(reason: &str) -> &'static str {
    match reason {
        "unknown" => "its number is not in selfservice.kba.json",
        _ => "its answer is not kept as SHA-256, SHA-384, SHA-512, or PBKDF2 with one of them",
    }
}

fn edge(reason: &str) -> &str {
    match reason {
        "path" => "deny",
        "user" => "deny_users",
        other => other,
    }
}

fn lane(line: &Line) -> &'static str {
    match line.lane.as_deref() {
        Some("link") => " by the mailed link",
        Some("asker") => " where the reset was asked for",
        _ => "",
    }
}
