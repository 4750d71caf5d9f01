use std::collections::BTreeMap;

use super::*;
use crate::reset::ports::{AccountId, Time};

fn policy() -> LocalPolicy {
    LocalPolicy {
        min_length: 8,
        max_length: None,
        min_upper: 0,
        min_lower: 0,
        min_digits: 0,
        min_special: 0,
        forbid_user_data: Vec::new(),
        bad_passwords: None,
        breach: None,
    }
}

fn local(config: &LocalPolicy) -> Local {
    Local::new(config, &Arc::new(Metrics::new(Time::from_millis(0)).unwrap())).unwrap()
}

fn owner() -> Account {
    let texts = [("userName", "bjensen"), ("givenName", "Bo"), ("sn", "Jensen "), ("mail", "b.jensen@example.com")];
    let attributes = texts.iter().map(|(name, value)| (Field::new(name), Secret::new(*value))).collect();
    let structures = BTreeMap::from([(Field::new("aliases"), Secret::new(r#"["babs", 7, {"a": "object"}]"#))]);
    Account { id: AccountId("1".to_owned()), revision: None, attributes, structures }
}

/// The names of the rules that are broken.
fn names(failures: &[PolicyFailure]) -> Vec<&str> {
    failures.iter().map(|failure| failure.requirement.as_str()).collect()
}

#[test]
fn each_rule_counts_characters_and_not_bytes() {
    type Set = fn(&mut LocalPolicy);
    let rules: [(Set, &str, &str, &str); 6] = [
        (|p| p.min_length = 8, "MIN_LENGTH", "äöüßéñç", "äöüßéñç😀"),
        (|p| p.max_length = Some(9), "MAX_LENGTH", "0123456789", "äöüßéñç😀x"),
        (|p| p.min_upper = 2, "AT_LEAST_X_CAPITAL_LETTERS", "Abcdefgh", "ÄbcdefgH"),
        (|p| p.min_lower = 2, "MATCH_REGEXP", "ABCDEFGh", "ABCDEFяh"),
        (|p| p.min_digits = 2, "AT_LEAST_X_NUMBERS", "abcdefg1", "abcdef1٣"),
        (|p| p.min_special = 2, "MATCH_REGEXP", "abcdefg!", "abcde f!"),
    ];
    for (set, name, bad, good) in rules {
        let mut config = policy();
        set(&mut config);
        let local = local(&config);
        assert_eq!(names(&local.broken_by_anyone(bad)), [name], "{bad}");
        assert_eq!(local.broken_by_anyone(good), [], "{good}");
    }
}

#[test]
fn a_list_of_bad_passwords_is_looked_into_while_somebody_types() {
    let bad_passwords = Some(Arc::new(WordList::of("Correct-Horse\n")));
    let local = local(&LocalPolicy { bad_passwords, ..policy() });
    assert_eq!(names(&local.broken_by_anyone("correct-HORSE")), ["DICTIONARY"]);
    assert_eq!(local.broken_by_anyone("correct-HORSE1"), []);
}

#[tokio::test]
async fn nobody_s_own_names_are_in_their_password() {
    let forbid_user_data = ["userName", "givenName", "sn", "mail", "aliases"].map(str::to_owned).to_vec();
    let local = local(&LocalPolicy { forbid_user_data, ..policy() });
    for (password, held) in [
        ("my-BJENSEN-1", Some("userName")),
        ("xxjensenxx", Some("sn")),
        ("b.jensen.2026", Some("sn")),
        ("B.JENS-babs", Some("aliases")),
        // Two letters are in too many words; and where somebody's mail is, many others' is.
        ("Robot-example.com", None),
        ("nothing-of-hers", None),
    ] {
        let broken = local.broken(&Secret::new(password), &owner()).await.unwrap();
        let expected = held.map(|held| PolicyFailure {
            requirement: "CANNOT_CONTAIN_OTHERS".to_owned(),
            params: Some(object(json!({"disallowedFields": held}))),
        });
        assert_eq!(broken, Vec::from_iter(expected), "{password}");
        assert_eq!(local.broken_by_anyone(password), [], "who types is not known");
    }
}

#[test]
fn rules_are_told_in_idm_s_words() {
    let config = LocalPolicy {
        min_length: 12,
        max_length: Some(64),
        min_upper: 1,
        min_lower: 1,
        min_digits: 2,
        min_special: 3,
        forbid_user_data: vec!["userName".to_owned(), "sn".to_owned()],
        bad_passwords: Some(Arc::new(WordList::of("x"))),
        breach: None,
    };
    let told: Vec<_> =
        local(&config).rules().into_iter().map(|rule| (rule.requirements.concat(), Value::from(rule.params))).collect();
    let expected = [
        ("MIN_LENGTH", json!({"minLength": 12})),
        ("MAX_LENGTH", json!({"maxLength": 64})),
        ("AT_LEAST_X_CAPITAL_LETTERS", json!({"numCaps": 1})),
        ("MATCH_REGEXP", json!({"regexp": "[a-z]"})),
        ("AT_LEAST_X_NUMBERS", json!({"numNums": 2})),
        ("MATCH_REGEXP", json!({"regexp": "([^A-Za-z0-9].*){3}"})),
        ("CANNOT_CONTAIN_OTHERS", json!({"disallowedFields": ["userName", "sn"]})),
        ("DICTIONARY", json!({})),
    ];
    assert_eq!(told, expected.map(|(name, params)| (name.to_owned(), params)));
    assert_eq!(names(&local(&policy()).broken_by_anyone("")), ["MIN_LENGTH"]);
}
