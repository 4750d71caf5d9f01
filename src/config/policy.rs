//! `[policy]`: whose rules a new password has to meet, and who tells clients of them.

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use super::{Reset, Service, WordList, raw::Section, secret::Surroundings, service::service_within, units};

/// `[policy]`
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whose rules they are.
    pub source: PolicySource,
    /// Where clients ask for them: starts with `/`; none, if the upstream answers there.
    pub path: Option<String>,
}

/// Whose rules they are.
#[derive(Clone, Debug)]
pub enum PolicySource {
    /// The store's, of which the upstream tells by itself.
    Upstream,
    /// The store's, for which it is asked as the service user.
    Service {
        /// `cache`: for how long what it said of its rules counts.
        cache: Duration,
    },
    /// Our own, beside the store's.
    Local(Box<LocalPolicy>),
}

/// The rules of `source = "local"`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is the key of that name")]
pub struct LocalPolicy {
    pub min_length: u32,
    pub max_length: Option<u32>,
    pub min_upper: u32,
    pub min_lower: u32,
    pub min_digits: u32,
    pub min_special: u32,
    /// Attributes of the owner whose values no password may have in it.
    pub forbid_user_data: Vec<String>,
    pub bad_passwords: Option<Arc<WordList>>,
    pub breach: Option<Breach>,
}

/// `[policy.breach]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The service; what is told it of a hash comes after its path.
    pub service: Service,
    /// `min_count`: how often a password must have been seen to be refused.
    pub min_count: u32,
    /// `on_outage`: whether no password is set while nobody can say.
    pub refuses: bool,
}

/// How the reset path ends where IDM's clients know what lies beside it.
const RESET: &str = "/selfservice/reset";
const BESIDE: &str = "/policy/selfservice/reset";
/// How long the breach service may take: a password is set within the minute for which a flow is kept for it, and the
/// calls to the store may take all but four seconds of that.
const WITHIN: RangeInclusive<&str> = "100ms"..="3s";
const LOCAL_KEYS: [&str; 8] = [
    "min_length",
    "max_length",
    "min_upper",
    "min_lower",
    "min_digits",
    "min_special",
    "forbid_user_data",
    "bad_passwords",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Upstream,
    Service,
    Local,
}

/// Reads the section; the reset path says where clients ask.
pub(super) fn policy(mut section: Section<'_>, reset: Option<&Reset>, around: &Surroundings<'_>) -> Option<Policy> {
    let kinds = [("upstream", Kind::Upstream), ("service", Kind::Service), ("local", Kind::Local)];
    let kind = section.or("source", "upstream", |text| units::one_of(text, &kinds));
    let path = reset.and_then(|reset| reset.path.strip_suffix(RESET)).map(|root| format!("{root}{BESIDE}"));
    let own = kind.is_some_and(|kind| kind != Kind::Upstream);
    if own && reset.is_some() && path.is_none() {
        section.fault("source", "needs a reset.path that ends in /selfservice/reset: clients ask beside it");
    }
    let cache = section.or("cache", "5m", units::duration_in("1s"..="24h"));
    only(&section, &["cache"], kind, Kind::Service, "service");
    let rules = rules(&mut section, kind, around);
    section.finish();
    let source = match kind? {
        Kind::Upstream => PolicySource::Upstream,
        Kind::Service => PolicySource::Service { cache: cache? },
        Kind::Local => PolicySource::Local(Box::new(rules?)),
    };
    Some(Policy { source, path: path.filter(|_| own) })
}

fn rules(section: &mut Section<'_>, kind: Option<Kind>, around: &Surroundings<'_>) -> Option<LocalPolicy> {
    let min_length = section.number("min_length", 8, 1..=256);
    let max_length = section.number("max_length", 0, 0..=1000);
    let [upper, lower] = ["min_upper", "min_lower"].map(|key| section.number(key, 0, 0..=64));
    let [digits, special] = ["min_digits", "min_special"].map(|key| section.number(key, 0, 0..=64));
    let forbid_user_data = section.list("forbid_user_data", &["userName", "givenName", "sn", "mail"], attribute);
    let bad_passwords = section.optional("bad_passwords", |text| WordList::read(around, text).map(Arc::new));
    let least = [upper, lower, digits, special].into_iter().flatten().sum::<u32>().max(min_length.unwrap_or_default());
    if max_length.is_some_and(|most| most > 0 && most < least) {
        section
            .fault("max_length", "must leave room for what min_length and the classes ask for, or be 0, which is none");
    }
    only(section, &LOCAL_KEYS, kind, Kind::Local, "local");
    let breach = breach(section.section("breach"), kind, around);
    Some(LocalPolicy {
        min_length: min_length?,
        max_length: max_length.map(|most| Some(most).filter(|most| *most > 0))?,
        min_upper: upper?,
        min_lower: lower?,
        min_digits: digits?,
        min_special: special?,
        forbid_user_data: forbid_user_data?,
        bad_passwords: bad_passwords?,
        breach: breach?,
    })
}

/// Its outer option is none where something in it is wrong.
#[allow(clippy::option_option, reason = "missing and wrong are two things")]
fn breach(mut section: Section<'_>, kind: Option<Kind>, around: &Surroundings<'_>) -> Option<Option<Breach>> {
    let is_there = section.has("url");
    let url = section.optional("url", units::endpoint);
    let service = service_within(&mut section, ("url", url.flatten()), ("2s", WITHIN), around);
    let min_count = section.number("min_count", 1, 1..=1_000_000);
    let refuses = section.or("on_outage", "accept", |text| units::one_of(text, &[("accept", false), ("refuse", true)]));
    only(&section, &["url", "timeout", "min_count", "on_outage"], kind, Kind::Local, "local");
    if kind == Some(Kind::Local) && !is_there {
        for key in ["timeout", "min_count", "on_outage"].into_iter().filter(|key| section.has(key)) {
            section.fault(key, "means nothing without policy.breach.url");
        }
    }
    section.finish();
    if !is_there {
        return Some(None);
    }
    Some(Some(Breach { service: service?, min_count: min_count?, refuses: refuses? }))
}

/// Who writes down a rule must not believe that it holds when it does not.
fn only(section: &Section<'_>, keys: &[&'static str], kind: Option<Kind>, of: Kind, name: &str) {
    if kind.is_none_or(|kind| kind == of) {
        return;
    }
    for key in keys {
        section.means(key, None);
        if section.has(key) {
            section.fault(key, &format!("means nothing unless policy.source is \"{name}\""));
        }
    }
}

/// `userName`, `address/city`
fn attribute(text: &str) -> Result<String, String> {
    let name = text.trim_matches('/');
    let plain = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':'));
    let named = !name.is_empty() && plain;
    if named { Ok(name.to_owned()) } else { Err("must be the name of an attribute, such as \"userName\"".to_owned()) }
}

impl fmt::Display for PolicySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upstream => "upstream",
            Self::Service { .. } => "service",
            Self::Local(_) => "local",
        })
    }
}
