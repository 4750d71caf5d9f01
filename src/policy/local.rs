//! Rules of the gate's own, in IDM's names for them, which its pages show in words.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::breach::Breach;
use crate::{
    config::{LocalPolicy, WordList},
    outbound::Unusable,
    reset::ports::{Account, Down, Field, Passwords, PolicyFailure, PolicyRule, Secret},
    telemetry::metrics::Metrics,
};

/// Shorter names are in too many words to be kept out of all passwords, in characters.
const SHORTEST: usize = 3;

/// The rules.
pub struct Local {
    rules: Vec<Rule>,
    compared: Vec<Field>,
    breach: Option<Breach>,
}

/// One rule.
enum Rule {
    MinLength(u32),
    MaxLength(u32),
    Upper(u32),
    Lower(u32),
    Digits(u32),
    Special(u32),
    UserData(Vec<Field>),
    /// In that list, if there is one here; in a breach, otherwise.
    Known(Option<Arc<WordList>>),
}

impl Local {
    /// Those of the configuration.
    ///
    /// # Errors
    /// If the breach service can never be asked.
    pub fn new(config: &LocalPolicy, metrics: &Arc<Metrics>) -> Result<Self, Unusable> {
        let compared: Vec<_> = config.forbid_user_data.iter().map(|name| Field::new(name)).collect();
        let breach = config.breach.as_ref().map(|breach| Breach::new(breach, Arc::clone(metrics))).transpose()?;
        let mut rules = vec![Rule::MinLength(config.min_length)];
        rules.extend(config.max_length.map(Rule::MaxLength));
        let of_class = [
            (config.min_upper, Rule::Upper(config.min_upper)),
            (config.min_lower, Rule::Lower(config.min_lower)),
            (config.min_digits, Rule::Digits(config.min_digits)),
            (config.min_special, Rule::Special(config.min_special)),
        ];
        rules.extend(of_class.into_iter().filter(|(least, _)| *least > 0).map(|(_, rule)| rule));
        if !compared.is_empty() {
            rules.push(Rule::UserData(compared.clone()));
        }
        if config.bad_passwords.is_some() || breach.is_some() {
            rules.push(Rule::Known(config.bad_passwords.clone()));
        }
        Ok(Self { rules, compared, breach })
    }

    /// As clients are told of them.
    pub(super) fn rules(&self) -> Vec<PolicyRule> {
        self.rules
            .iter()
            .map(|rule| PolicyRule {
                id: rule.id().to_owned(),
                requirements: vec![rule.requirement().to_owned()],
                params: object(rule.params()),
            })
            .collect()
    }

    /// Those that a password breaks whosever it is.
    pub(super) fn broken_by_anyone(&self, password: &str) -> Vec<PolicyFailure> {
        self.rules.iter().filter(|rule| rule.breaks(password)).map(Rule::failure).collect()
    }
}

#[async_trait]
impl Passwords for Local {
    fn compared(&self) -> &[Field] {
        &self.compared
    }

    /// The breach service is asked only of a password that nothing else speaks against.
    async fn broken(&self, password: &Secret, owner: &Account) -> Result<Vec<PolicyFailure>, Down> {
        let text = password.expose();
        let mut broken: Vec<_> = self.rules.iter().filter_map(|rule| rule.broken_by(text, owner)).collect();
        if let Some(breach) = self.breach.as_ref().filter(|_| broken.is_empty())
            && breach.has(password).await?
        {
            broken.push(Rule::Known(None).failure());
        }
        Ok(broken)
    }
}

impl Rule {
    const fn id(&self) -> &'static str {
        match self {
            Self::MinLength(_) => "minimum-length",
            Self::MaxLength(_) => "maximum-length",
            Self::Upper(_) => "at-least-X-capitals",
            Self::Lower(_) | Self::Special(_) => "regexpMatches",
            Self::Digits(_) => "at-least-X-numbers",
            Self::UserData(_) => "cannot-contain-others",
            Self::Known(_) => "dictionary",
        }
    }

    /// IDM has no name for small letters and signs but that of a pattern.
    const fn requirement(&self) -> &'static str {
        match self {
            Self::MinLength(_) => "MIN_LENGTH",
            Self::MaxLength(_) => "MAX_LENGTH",
            Self::Upper(_) => "AT_LEAST_X_CAPITAL_LETTERS",
            Self::Lower(_) | Self::Special(_) => "MATCH_REGEXP",
            Self::Digits(_) => "AT_LEAST_X_NUMBERS",
            Self::UserData(_) => "CANNOT_CONTAIN_OTHERS",
            Self::Known(_) => "DICTIONARY",
        }
    }

    fn params(&self) -> Value {
        match self {
            Self::MinLength(least) => json!({"minLength": least}),
            Self::MaxLength(most) => json!({"maxLength": most}),
            Self::Upper(least) => json!({"numCaps": least}),
            Self::Lower(least) => json!({"regexp": pattern("[a-z]", *least)}),
            Self::Digits(least) => json!({"numNums": least}),
            Self::Special(least) => json!({"regexp": pattern("[^A-Za-z0-9]", *least)}),
            Self::UserData(fields) => json!({"disallowedFields": fields.iter().map(Field::as_str).collect::<Vec<_>>()}),
            Self::Known(_) => json!({}),
        }
    }

    fn failure(&self) -> PolicyFailure {
        let params = object(self.params());
        PolicyFailure { requirement: self.requirement().to_owned(), params: Some(params).filter(|it| !it.is_empty()) }
    }

    /// Whether a password breaks it whosever it is.
    fn breaks(&self, password: &str) -> bool {
        match self {
            Self::MinLength(least) => fewer(password, |_| true, *least),
            Self::MaxLength(most) => !fewer(password, |_| true, most.saturating_add(1)),
            Self::Upper(least) => fewer(password, char::is_uppercase, *least),
            Self::Lower(least) => fewer(password, char::is_lowercase, *least),
            Self::Digits(least) => fewer(password, char::is_numeric, *least),
            Self::Special(least) => fewer(password, |c| !c.is_alphanumeric(), *least),
            Self::UserData(_) => false,
            Self::Known(list) => list.as_ref().is_some_and(|list| list.has(password)),
        }
    }

    fn broken_by(&self, password: &str, owner: &Account) -> Option<PolicyFailure> {
        let Self::UserData(fields) = self else { return self.breaks(password).then(|| self.failure()) };
        let password = Secret::new(WordList::fold(password));
        let held = fields.iter().find(|field| values(owner, field).iter().any(|value| holds(&password, value)))?;
        // As IDM names the first of them, and no other.
        let params = object(json!({"disallowedFields": held.as_str()}));
        Some(PolicyFailure { requirement: self.requirement().to_owned(), params: Some(params) })
    }
}

/// Whether it has fewer such characters than that.
fn fewer(password: &str, is_one: fn(char) -> bool, least: u32) -> bool {
    let least = usize::try_from(least).unwrap_or(usize::MAX);
    password.chars().filter(|c| is_one(*c)).take(least).count() < least
}

fn pattern(class: &str, least: u32) -> String {
    if least == 1 { class.to_owned() } else { format!("({class}.*){{{least}}}") }
}

/// What an account has there: a text, or the texts in a list.
fn values(owner: &Account, field: &Field) -> Vec<Secret> {
    if let Some(text) = owner.text(field) {
        return vec![Secret::new(text)];
    }
    let list = owner.structure(field).and_then(|json| serde_json::from_str::<Vec<Value>>(json).ok());
    let texts = list.into_iter().flatten().filter_map(|item| item.as_str().map(Secret::new));
    texts.collect()
}

/// Whether a password, folded, has somebody's name in it; of a mail address, what stands before the `@` is one.
fn holds(password: &Secret, value: &Secret) -> bool {
    let value = Secret::new(WordList::fold(value.expose().trim()));
    let name = value.expose().split('@').next().unwrap_or_default();
    name.chars().count() >= SHORTEST && password.expose().contains(name)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
