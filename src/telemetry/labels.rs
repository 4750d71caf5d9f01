//! The names of things in log lines and metrics: closed sets, so that nobody outside can make a new series.

use super::metrics::{
    Announcement, Backend, CallFailure, Cap, Denial, Failure, Handshake, IdentityCall, KvCall, KvFailure, Outbound,
    Slow,
};
use crate::reset::ports::{After, Decoy, Lane, Rule, Service, Went};

/// A name for each variant, and the list of all.
macro_rules! names {
    ($(#[$doc:meta])* $all:ident, $of:ident: $type:ident { $($variant:ident => $name:literal,)* }) => {
        pub(super) const $all: &[&str] = &[$($name),*];
        $(#[$doc])*
        pub(super) const fn $of(value: $type) -> &'static str {
            match value {
                $($type::$variant => $name),*
            }
        }
    };
}

names! {
    /// As in `[limits]`.
    RULES, rule: Rule {
        Client => "client",
        StartPerClient => "start_per_client",
        StartTotal => "start_total",
        MailPerAccount => "mail_per_account",
        MailTotal => "mail_total",
        CodePerAccount => "code_per_account",
        AnswerPerAccount => "answer_per_account",
    }
}

names! {
    /// Why there is no account.
    REASONS, why: Decoy {
        Unknown => "unknown",
        Ambiguous => "ambiguous",
        Inactive => "inactive",
        NoAddress => "no_address",
        LongId => "long_id",
        OverBudget => "over_budget",
        Crowded => "crowded",
        LookUpFailed => "look_up_failed",
        NoQuestions => "no_questions",
    }
}

names! {
    /// Whose token.
    LANES, lane: Lane {
        Asker => "asker",
        Link => "link",
    }
}

names! {
    /// What failed.
    SERVICES, service: Service {
        Identity => "identity",
        Codes => "codes",
        Keys => "keys",
        Policy => "policy",
        Captcha => "captcha",
    }
}

names! {
    /// As in `[edge]`.
    DENIALS, denial: Denial {
        Path => "path",
        MethodOverride => "method_override",
        User => "user",
    }
}

names! {
    /// Of connections: of one client, and in all.
    CAPS, cap: Cap {
        Client => "client",
        Total => "total",
    }
}

names! {
    /// Over what a client took too long.
    PACES, slow: Slow {
        Head => "head",
        Body => "body",
        Answer => "answer",
    }
}

names! {
    /// Whose addresses.
    BACKENDS, backend: Backend {
        Upstream => "upstream",
        Identity => "identity",
    }
}

names! {
    /// Why a TLS handshake failed.
    HANDSHAKES, handshake: Handshake {
        Slow => "slow",
        Gone => "gone",
        Garbage => "garbage",
        Incompatible => "incompatible",
        Certificate => "certificate",
        Refused => "refused",
    }
}

names! {
    /// How an address failed.
    FAILURES, failure: Failure {
        LookUp => "look_up",
        Connect => "connect",
        ConnectTimeout => "connect_timeout",
        Tls => "tls",
        Silent => "silent",
        Broken => "broken",
        Check => "check",
    }
}

names! {
    /// Why a PROXY header was not believed.
    ANNOUNCEMENTS, announcement: Announcement {
        Stranger => "stranger",
        Malformed => "malformed",
        Slow => "slow",
        Gone => "gone",
    }
}

names! {
    /// What is done when a password is set.
    AFTER, after: After {
        Notice => "notice",
        Webhook => "webhook",
        Revocation => "revocation",
    }
}

names! {
    /// What came of a step.
    WENT, went: Went {
        Passed => "passed",
        Asked => "asked",
        Refused => "refused",
        Limited => "limited",
        Unavailable => "unavailable",
        Failed => "failed",
        Repeated => "repeated",
    }
}

names! {
    /// What a call to the identity store is for.
    CALLS, call: IdentityCall {
        Find => "find",
        Read => "read",
        Patch => "patch",
        Mail => "mail",
        Policy => "policy",
        Revoke => "revoke",
    }
}

names! {
    /// How one failed.
    CALL_FAILURES, call_failure: CallFailure {
        Busy => "busy",
        Open => "open",
        Token => "token",
        Request => "request",
        Connect => "connect",
        Timeout => "timeout",
        Lost => "lost",
        TooLong => "too_long",
        Status => "status",
        Malformed => "malformed",
    }
}

names! {
    /// Which service outside was asked, beside the identity store.
    OUTBOUND, outbound: Outbound {
        Captcha => "captcha",
        Breach => "breach",
        Webhook => "webhook",
        Revocation => "revocation",
    }
}

names! {
    /// What is asked of the server that codes are on.
    KV_CALLS, kv_call: KvCall {
        Read => "read",
        Write => "write",
        Reserve => "reserve",
        Repeat => "repeat",
        Answer => "answer",
        Spend => "spend",
        Limit => "limit",
        Copied => "copied",
    }
}

names! {
    /// Why it did not do it.
    KV_FAILURES, kv_failure: KvFailure {
        Down => "down",
        Timeout => "timeout",
        Broken => "broken",
        Full => "full",
        Moved => "moved",
        Refused => "refused",
        Malformed => "malformed",
        NotCopied => "not_copied",
    }
}
