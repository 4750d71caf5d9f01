use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{config::TokenKey, keys::RingKeys, reset::ports::Secret};

const MOST: u32 = 1_000;
const NOW: Time = Time::from_millis(1_800_000_000_000);

fn altcha(ids: u8) -> Altcha {
    let keys = RingKeys::new(&[TokenKey(Secret::of([1; 32]))], &[ids; 32]).unwrap();
    Altcha::new(MOST, Arc::new(keys))
}

fn question(of: &Altcha) -> Value {
    of.question(NOW).unwrap().unwrap()
}

/// What the widget does.
fn solve(question: &Value) -> Value {
    let text = |name: &str| question[name].as_str().unwrap();
    let most = u32::try_from(question["maxnumber"].as_u64().unwrap()).unwrap();
    let number = (0..=most).find(|number| hash(text("salt"), *number) == text("challenge")).expect("a number");
    json!({
        "algorithm": text("algorithm"), "challenge": text("challenge"), "number": number, "salt": text("salt"),
        "signature": text("signature"), "took": 17,
    })
}

fn encoded(answer: &Value) -> String {
    STANDARD.encode(answer.to_string())
}

#[test]
fn a_question_is_of_the_widgets_shape_and_another_each_time() {
    let altcha = altcha(9);
    let (one, two) = (question(&altcha), question(&altcha));
    for key in ["challenge", "salt", "signature"] {
        assert_ne!(one[key], two[key], "{key}");
    }
    assert_eq!((&one["algorithm"], &one["maxnumber"]), (&json!("SHA-256"), &json!(MOST)));
    for key in ["challenge", "signature"] {
        let text = one[key].as_str().unwrap();
        assert!(text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()), "{text}");
    }
    assert!(one["salt"].as_str().unwrap().ends_with("?expires=1800001200&"), "{one}");
}

#[test]
fn what_was_solved_is_solved_until_it_expires() {
    let altcha = altcha(9);
    let (one, two) = (solve(&question(&altcha)), solve(&question(&altcha)));
    let judge = |answer: &Value, at: Time| altcha.judge(&encoded(answer), at);
    let until = NOW.after(LIFE);
    let Verdict::Solved { mark, until: told } = judge(&one, NOW) else { panic!("solved") };
    assert_eq!(told, until);
    assert_eq!(judge(&one, Time::from_millis(until.millis() - 1)), Verdict::Solved { mark, until });
    assert_eq!(judge(&one, until), Verdict::Refused("expired"));
    assert!(judge(&two, NOW) != Verdict::Solved { mark, until }, "each has a mark of its own");
}

#[test]
fn what_is_not_ours_or_not_as_we_said_it_is_refused() {
    let altcha = altcha(9);
    let good = solve(&question(&altcha));
    let changed = |key: &str, value: Value| {
        let mut answer = good.clone();
        answer[key] = value;
        altcha.judge(&encoded(&answer), NOW)
    };
    let number = good["number"].as_u64().unwrap();
    assert_eq!(changed("number", json!(number + 1)), Verdict::Refused("unsolved"));
    for odd in [json!(-1), json!(number.to_string()), json!(number as f64 + 0.5), json!(u64::MAX), json!(null)] {
        assert_eq!(changed("number", odd.clone()), Verdict::Refused("malformed"), "{odd}");
    }
    for other in ["SHA-512", "SHA-1", "sha-256", "none", "", "MD5"] {
        assert_eq!(changed("algorithm", json!(other)), Verdict::Refused("forged"), "{other}");
    }
    let salt = good["salt"].as_str().unwrap();
    let late = salt.replace("expires=18", "expires=28");
    assert_eq!(changed("salt", json!(late)), Verdict::Refused("forged"));
    for signature in ["", "00", &"0".repeat(64)] {
        assert_eq!(changed("signature", json!(signature)), Verdict::Refused("forged"));
    }
    // Whoever makes his own question has no signature for it.
    let (own, nine) = (hash("a?expires=9999999999&", 1), hex(&[9; 32]));
    let forged = json!({"algorithm": "SHA-256", "challenge": own, "number": 1, "salt": "a?expires=9999999999&",
                        "signature": nine});
    assert_eq!(altcha.judge(&encoded(&forged), NOW), Verdict::Refused("forged"));
    assert_eq!(self::altcha(8).judge(&encoded(&good), NOW), Verdict::Refused("forged"), "other keys");
}

/// Behind a salt without an end, a digit of the number could be read as one of the time.
#[test]
fn no_digit_of_the_number_becomes_one_of_the_time() {
    let altcha = altcha(9);
    let good = loop {
        let good = solve(&question(&altcha));
        if good["number"].as_u64().unwrap() >= 10 {
            break good;
        }
    };
    let (salt, number) = (good["salt"].as_str().unwrap(), good["number"].to_string());
    let (first, rest) = number.split_at(1);
    for salt in [format!("{salt}{first}"), format!("{}{first}&", salt.trim_end_matches('&'))] {
        let mut answer = good.clone();
        answer["salt"] = json!(salt);
        answer["number"] = json!(rest.parse::<u64>().unwrap());
        assert_eq!(altcha.judge(&encoded(&answer), NOW), Verdict::Refused("forged"), "{salt}");
    }
}

#[test]
fn what_is_no_answer_is_refused() {
    let altcha = altcha(9);
    let good = solve(&question(&altcha)).to_string();
    let twice = good.replacen('{', "{\"number\": 1, ", 1);
    let list = json!(["SHA-256", "x", 1, "y", "z"]).to_string();
    for json in ["", "{}", "[]", "null", "true", &twice, &list, &format!("{good} {good}"), &good[1..]] {
        assert_eq!(altcha.judge(&STANDARD.encode(json), NOW), Verdict::Refused("malformed"), "{json}");
    }
    for text in [good.as_str(), "%", "e30", &"A".repeat(LONGEST + 4)] {
        assert_eq!(altcha.judge(text, NOW), Verdict::Refused("malformed"), "{text}");
    }
}

proptest! {
    #[test]
    fn nothing_that_anybody_makes_up_is_solved(bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,200}") {
        let altcha = altcha(9);
        for response in [STANDARD.encode(&bytes), STANDARD.encode(&text), text] {
            prop_assert!(matches!(altcha.judge(&response, NOW), Verdict::Refused(_)));
        }
    }
}
