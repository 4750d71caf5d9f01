use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use proptest::prelude::*;

use super::*;

const EXPIRES: Time = Time::from_millis(1_800_000_000_000);
const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn key(byte: u8) -> TokenKey {
    TokenKey(Secret::of([byte; 32]))
}

fn keys(bytes: &[u8]) -> RingKeys {
    RingKeys::new(&bytes.iter().map(|b| key(*b)).collect::<Vec<_>>(), &[9; 32]).unwrap()
}

/// Signs any header and payload with the very key of `key(1)`.
fn forge(header: &str, payload: &[u8]) -> String {
    let sign = secret(&master(&[1; 32]), "resetgate token sign v1").unwrap();
    let message = format!("{}.{}", B64.encode(header), B64.encode(payload));
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, sign.expose()), message.as_bytes());
    format!("{message}.{}", B64.encode(mac))
}

/// The parts of a token, decoded.
fn parts(token: &str) -> (String, serde_json::Value) {
    let mut segments = token.split('.').map(|s| B64.decode(s).unwrap());
    let header = String::from_utf8(segments.next().unwrap()).unwrap();
    let payload = serde_json::from_slice(&segments.next().unwrap()).unwrap();
    assert_eq!(segments.next().unwrap().len(), 32);
    assert!(segments.next().is_none());
    (header, payload)
}

fn opens(keys: &RingKeys, token: &str) -> bool {
    keys.open(token).is_some()
}

proptest! {
    #[test]
    fn what_was_sealed_opens(state in prop::collection::vec(any::<u8>(), 0..2000), millis in 0..u64::MAX / 2) {
        let keys = keys(&[1]);
        let token = keys.seal(&state, Time::from_millis(millis)).unwrap();
        let opened = keys.open(&token).unwrap();
        prop_assert_eq!(opened.state.expose(), &state);
        prop_assert_eq!(opened.expires.millis(), millis.div_ceil(1000) * 1000);
    }

    #[test]
    fn garbage_does_not_open(token in ".{0,200}") {
        prop_assert!(!opens(&keys(&[1]), &token));
    }

    #[test]
    fn garbage_after_our_header_does_not_open(rest in "[A-Za-z0-9_.-]{0,300}") {
        let keys = keys(&[1]);
        let token = keys.seal(b"state", EXPIRES).unwrap();
        let header = token.split('.').next().unwrap();
        let forged = format!("{header}.{rest}");
        prop_assert!(!opens(&keys, &forged));
    }
}

#[test]
fn a_token_is_a_jws_of_one_shape() {
    let keys = keys(&[1]);
    let (header, payload) = parts(&keys.seal(b"state", EXPIRES).unwrap());
    let kid = header.strip_prefix(r#"{"typ":"JWT","alg":"HS256","kid":""#).unwrap().strip_suffix(r#""}"#).unwrap();
    assert_eq!(kid.len(), 8);
    assert_eq!(payload.as_object().unwrap().len(), 2);
    assert_eq!(payload["exp"], 1_800_000_000);
    assert_eq!(B64.decode(payload["s"].as_str().unwrap()).unwrap().len(), 32 + 5 + 16);
}

#[test]
fn the_end_is_rounded_up_to_seconds() {
    let keys = keys(&[1]);
    for (asked, given) in [(0, 0), (1, 1000), (999, 1000), (1000, 1000), (1001, 2000)] {
        let token = keys.seal(b"", Time::from_millis(asked)).unwrap();
        assert_eq!(keys.open(&token).unwrap().expires.millis(), given);
    }
    let token = keys.seal(b"", Time::from_millis(u64::MAX)).unwrap();
    assert_eq!(keys.open(&token).unwrap().expires, Time::from_millis(u64::MAX));
}

#[test]
fn an_old_key_opens_and_a_removed_one_does_not() {
    let old = keys(&[1]).seal(b"state", EXPIRES).unwrap();
    let rotated = keys(&[2, 1]);
    assert_eq!(rotated.open(&old).unwrap().state.expose(), b"state");
    let new = rotated.seal(b"state", EXPIRES).unwrap();
    assert!(opens(&keys(&[2]), &new));
    assert!(!opens(&keys(&[1]), &new));
    assert!(!opens(&keys(&[2]), &old));
    assert!(!opens(&keys(&[3, 2]), &old));
    assert!(opens(&keys(&[1, 1]), &old));
}

#[test]
fn digests_outlive_the_token_keys() {
    let (before, after) = (keys(&[1]), keys(&[2, 1]));
    let token = before.seal(b"state", EXPIRES).unwrap();
    assert_eq!(before.open(&token).unwrap().id, after.open(&token).unwrap().id);
    assert_eq!(before.mac(Purpose::Account, &[b"a"]), after.mac(Purpose::Account, &[b"a"]));
}

#[test]
fn every_changed_byte_is_noticed() {
    let keys = keys(&[1]);
    let token = keys.seal(b"some state", EXPIRES).unwrap();
    for at in 0..token.len() {
        for byte in ALPHABET.iter().chain(b".=+/ %\n") {
            let mut changed = token.clone().into_bytes();
            changed[at] = *byte;
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed == token || !opens(&keys, &changed), "byte {at} became {}", *byte as char);
        }
    }
    for at in 0..token.len() {
        assert!(!opens(&keys, &token[..at]), "cut at {at}");
        assert!(!opens(&keys, &format!("{}{}", &token[..at], &token[at + 1..])), "without byte {at}");
    }
}

#[test]
fn blanks_padding_and_further_parts_are_refused() {
    let keys = keys(&[1]);
    let token = keys.seal(b"state", EXPIRES).unwrap();
    let segments: Vec<_> = token.split('.').collect();
    for changed in [
        String::new(),
        ".".into(),
        "..".into(),
        "....".into(),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("{token}="),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.."),
        format!("{token}.{}", segments[2]),
        format!("{token}é"),
        format!("{}.{}.", segments[0], segments[1]),
        format!("{}.{}", segments[0], segments[1]),
        format!("{}=.{}.{}", segments[0], segments[1], segments[2]),
        format!("{}.{}=.{}", segments[0], segments[1], segments[2]),
        format!("{}..{}", segments[0], segments[2]),
        format!("{0}.{1}.{2}.{2}.{2}", segments[0], segments[1], segments[2]),
        format!("Bearer {token}"),
    ] {
        assert!(!opens(&keys, &changed), "{changed}");
    }
}

#[test]
fn trailing_bits_make_no_second_spelling() {
    let keys = keys(&[1]);
    // 32 bytes are 43 characters: the last one has two spare bits.
    let token = keys.seal(b"state", EXPIRES).unwrap();
    let (rest, last) = token.split_at(token.len() - 1);
    let spelled = ALPHABET.iter().filter(|c| opens(&keys, &format!("{rest}{}", **c as char))).count();
    assert_eq!((spelled, opens(&keys, &format!("{rest}{last}"))), (1, true));
}

#[test]
fn only_our_very_header_counts_even_under_our_signature() {
    let keys = keys(&[1]);
    let token = keys.seal(b"state", EXPIRES).unwrap();
    let (header, _) = parts(&token);
    let payload = B64.decode(token.split('.').nth(1).unwrap()).unwrap();
    assert!(opens(&keys, &forge(&header, &payload)));
    let kid = &header[header.find("\"kid\"").unwrap() + 7..header.len() - 2];
    for changed in [
        format!(r#"{{"typ":"JWT","alg":"none","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"JWT","alg":"None","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"JWT","alg":"HS384","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"JWT","alg":"HS512","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"JWT","alg":"RS256","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"HS256","typ":"JWT","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"JWT","alg":"HS256","kid":"{kid}","jku":"https://example.com"}}"#),
        format!(r#"{{"typ":"JWT","alg":"HS256","kid":"{kid}","crit":["b64"],"b64":false}}"#),
        format!(r#"{{"typ":"JWT","alg":"HS256","kid":"{kid}","zip":"DEF"}}"#),
        format!(r#"{{"typ":"JWT","alg":"HS256","kid":"{kid}","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"JWT","alg":"HS256","kid":"{kid}"}} "#),
        format!(r#"{{"typ":"JWT", "alg":"HS256","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"jwt","alg":"HS256","kid":"{kid}"}}"#),
        r#"{"typ":"JWT","alg":"HS256","kid":"../../etc"}"#.into(),
        r#"{"typ":"JWT","alg":"HS256"}"#.into(),
        r#"{"alg":"none"}"#.into(),
    ] {
        let forged = forge(&changed, &payload);
        assert!(!opens(&keys, &forged), "{changed}");
        let unsigned = forged.rsplit_once('.').unwrap().0;
        assert!(!opens(&keys, &format!("{unsigned}.")), "{changed}");
    }
}

#[test]
fn only_our_two_claims_count_even_under_our_signature() {
    let keys = keys(&[1]);
    let token = keys.seal(b"state", EXPIRES).unwrap();
    let (header, payload) = parts(&token);
    let s = payload["s"].as_str().unwrap();
    assert!(opens(&keys, &forge(&header, format!(r#"{{"exp":1800000000,"s":"{s}"}}"#).as_bytes())));
    for claims in [
        // Bound to its own end.
        format!(r#"{{"exp":1800000001,"s":"{s}"}}"#),
        format!(r#"{{"exp":1800000000,"s":"{s}","iat":1}}"#),
        format!(r#"{{"exp":1800000000,"exp":1800000000,"s":"{s}"}}"#),
        format!(r#"{{"exp":1800000000,"s":"{s}","s":"{s}"}}"#),
        format!(r#"{{"exp":"1800000000","s":"{s}"}}"#),
        format!(r#"{{"exp":1800000000.0,"s":"{s}"}}"#),
        format!(r#"{{"exp":-1,"s":"{s}"}}"#),
        format!(r#"{{"exp":null,"s":"{s}"}}"#),
        format!(r#"{{"s":"{s}"}}"#),
        r#"{"exp":1800000000}"#.into(),
        r#"{"exp":1800000000,"s":null}"#.into(),
        r#"{"exp":1800000000,"s":["a"]}"#.into(),
        r#"{"exp":1800000000,"s":""}"#.into(),
        format!(r#"{{"exp":1800000000,"s":"{s}="}}"#),
        format!(r#"{{"exp":1800000000,"s":" {s}"}}"#),
        format!(r#"{{"s":"{s}","exp":1800000000}}"#),
        format!(r#"{{"exp": 1800000000,"s":"{s}"}}"#),
        format!(r#"[1800000000,"{s}"]"#),
        format!(r#"{{"exp":1800000000,"\u0073":"{s}"}}"#),
        "null".into(),
        String::new(),
    ] {
        assert!(!opens(&keys, &forge(&header, claims.as_bytes())), "{claims}");
    }
}

#[test]
fn a_jwe_is_not_a_token() {
    let keys = keys(&[1]);
    let jwe = format!("{}.a.b.c.d", B64.encode(r#"{"alg":"dir","enc":"A256GCM"}"#));
    assert!(!opens(&keys, &jwe));
}

#[test]
fn the_state_of_another_token_does_not_fit() {
    let keys = keys(&[1]);
    let first = keys.seal(b"first", EXPIRES).unwrap();
    let second = keys.seal(b"other", EXPIRES.after(std::time::Duration::from_secs(1))).unwrap();
    let header = parts(&first).0;
    let (exp, s) = (parts(&first).1["exp"].clone(), parts(&second).1["s"].clone());
    assert!(!opens(&keys, &forge(&header, format!(r#"{{"exp":{exp},"s":{s}}}"#).as_bytes())));
}

#[test]
fn equal_states_differ_in_all_but_length() {
    let keys = keys(&[1]);
    let tokens: Vec<_> = [&b"state"[..], b"state", b"other"].iter().map(|s| keys.seal(s, EXPIRES).unwrap()).collect();
    assert_ne!(tokens[0], tokens[1]);
    assert_ne!(keys.open(&tokens[0]).unwrap().id, keys.open(&tokens[1]).unwrap().id);
    assert!(tokens.iter().all(|t| t.len() == tokens[0].len()));
    assert!(!parts(&tokens[0]).1["s"].as_str().unwrap().contains(&B64.encode("state")));
}

#[test]
fn long_tokens_are_neither_opened_nor_minted() {
    let keys = keys(&[1]);
    let longest = (0..4096).rev().find_map(|n| keys.seal(&vec![0; n], EXPIRES)).unwrap();
    assert!(longest.len() <= MAX_TOKEN && longest.len() > MAX_TOKEN - 4);
    assert!(opens(&keys, &longest));
    assert!(keys.seal(&[0; 2200], EXPIRES).is_none());
    assert!(!opens(&keys, &"a".repeat(1 << 20)));
}

#[test]
fn parts_and_purposes_are_told_apart() {
    let keys = keys(&[1]);
    let mac = |parts: &[&[u8]]| keys.mac(Purpose::Account, parts);
    let all: Vec<Digest> = vec![
        mac(&[]),
        mac(&[b""]),
        mac(&[b"", b""]),
        mac(&[b"ab", b"c"]),
        mac(&[b"a", b"bc"]),
        mac(&[b"abc"]),
        mac(&[b"abc", b""]),
        mac(&[b"", b"abc"]),
        keys.mac(Purpose::Mail, &[b"abc"]),
        keys.mac(Purpose::Code, &[b"abc"]),
        keys.mac(Purpose::Digits, &[b"abc"]),
        keys.mac(Purpose::Password, &[b"abc"]),
        keys.mac(Purpose::Repeat, &[b"abc"]),
        RingKeys::new(&[key(1)], &[8; 32]).unwrap().mac(Purpose::Account, &[b"abc"]),
    ];
    let distinct: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(mac(&[b"ab", b"c"]), mac(&[b"ab", b"c"]));
}

#[test]
fn no_key_is_an_error_and_no_key_is_printed() {
    assert_eq!(RingKeys::new(&[], &[9; 32]).unwrap_err(), KeysError::NoKeys);
    assert_eq!(format!("{:?}", keys(&[1])), "RingKeys(..)");
}

#[test]
fn what_is_drawn_differs() {
    let keys = keys(&[1]);
    assert_ne!(keys.random().unwrap(), keys.random().unwrap());
    assert!(random_key().unwrap() != random_key().unwrap());
}
