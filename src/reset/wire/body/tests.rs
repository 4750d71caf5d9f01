use proptest::prelude::*;
use serde_json::json;

use super::*;

fn message(body: &[u8]) -> String {
    match Submission::parse(body) {
        Err(Stop::Bad(message)) => message.into_owned(),
        Err(_) => panic!("a client's mistake is a 400"),
        Ok(_) => "taken".to_owned(),
    }
}

/// A token that is a text, or none, and the input; as serde_json reads them.
fn expected(json: &Value) -> (Option<String>, Option<Value>) {
    (json["token"].as_str().map(str::to_owned), json.get("input").filter(|input| !input.is_null()).cloned())
}

fn read(body: &[u8]) -> (Option<String>, Option<Value>) {
    let submission = Submission::parse(body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(body)));
    let token = submission.token.as_ref().map(|token| token.expose().to_owned());
    (token, submission.input.as_ref().map(|input| input.json().clone()))
}

/// Any JSON, not too deep; keys often meet.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300..1e300_f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![Just("token".to_owned()), Just("input".to_owned()), Just("code".to_owned()), any::<String>()]
}

/// The key with each character of it escaped.
fn escaped(key: &str) -> String {
    let units = key.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    format!("\"{}\"", units.collect::<String>())
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Submission::parse(&body);
    }

    #[test]
    fn anything_like_json_is_read_or_refused(body in r#"([\[\]{}:,"\\ 0-9.eE+-]|token|input|null|true|\\u[0-9a-f]{4}){0,60}"#) {
        let ours = Submission::parse(body.as_bytes());
        // What is read is JSON; the other way about there are repeated keys, and tokens that are no texts.
        prop_assert!(ours.is_err() || body.is_empty() || serde_json::from_str::<Value>(&body).is_ok());
    }

    #[test]
    fn what_is_json_is_read_as_json(members in prop::collection::vec((key(), any_json()), 0..5), token in any::<Option<String>>()) {
        let mut object: Map<String, Value> = members.into_iter().collect();
        object.insert("token".to_owned(), json!(token));
        let json = Value::Object(object);
        let again: Value = serde_json::from_str(&json.to_string()).unwrap();
        prop_assert_eq!(read(json.to_string().as_bytes()), expected(&again));
        let pretty = serde_json::to_vec_pretty(&json).unwrap();
        prop_assert_eq!(read(&pretty), expected(&again));
    }

    #[test]
    fn what_is_no_object_has_no_input(json in any_json().prop_filter("no object", |json| !json.is_object())) {
        prop_assert_eq!(read(json.to_string().as_bytes()), (None, None));
    }

    #[test]
    fn a_key_is_never_there_twice(key in key(), one in any_json(), other in any_json(), escape: bool, depth in 0..10_usize, before: bool) {
        let plain = Value::from(key.clone()).to_string();
        let (first, second) = if before { (escaped(&key), plain.clone()) } else { (plain.clone(), escaped(&key)) };
        let (first, second) = if escape { (first, second) } else { (plain.clone(), plain) };
        let twice = format!("{{{first}:{one},\"between\":0,{second}:{other}}}");
        let nested = format!("{}{twice}{}", "{\"input\":".repeat(depth), "}".repeat(depth));
        // What lies deeper than may be is refused too.
        prop_assert_eq!(message(nested.as_bytes()), NOT_JSON);
    }

    #[test]
    fn depth_ends_at_sixteen(kinds in prop::collection::vec(any::<bool>(), 1..40)) {
        let open = |list: &bool| if *list { "[" } else { "{\"input\":" };
        let close = |list: &bool| if *list { "]" } else { "}" };
        let body: String =
            kinds.iter().map(open).chain(["0"]).chain(kinds.iter().rev().map(close)).collect();
        prop_assert_eq!(Submission::parse(body.as_bytes()).is_ok(), kinds.len() <= DEPTH, "{}", body);
    }

    #[test]
    fn one_value_and_no_more(json in any_json(), more in r"[^ \t\r\n]\PC{0,5}") {
        let text = format!("{} {more}", json!({"input": json}));
        prop_assert_eq!(message(text.as_bytes()), TRAILING);
    }
}

#[test]
fn mistakes_are_told_as_idm_tells_them() {
    for (body, text) in [
        ("{", NOT_JSON),
        ("\u{feff}{}", NOT_JSON),
        ("{'input':{}}", NOT_JSON),
        ("{\"input\":1e400}", NOT_JSON),
        ("{\"input\":\"\\ud800\"}", NOT_JSON),
        ("{\"input\":{},}", NOT_JSON),
        ("{}{}", TRAILING),
        ("{\"token\":[\"x\"]}", "/token: Expecting a java.lang.String"),
        ("{\"token\":false}", "/token: Expecting a java.lang.String"),
    ] {
        assert_eq!(message(body.as_bytes()), text, "{body}");
    }
    assert_eq!(message(b"{\"input\":\"\xff\"}"), NOT_JSON);
    for body in ["", " \t\r\n", "[]", "\"input\"", "1", "null", "{}", "{\"input\":null}", "{\"Input\":{}}"] {
        let input = Submission::parse(body.as_bytes()).unwrap_or_else(|_| panic!("{body}")).input();
        assert_eq!(input.err(), Some(Stop::bad("No input provided")), "{body}");
    }
}

#[test]
fn the_deepest_body_there_is_costs_nothing() {
    for unit in ["[", "{\"a\":"] {
        assert_eq!(message(unit.repeat(1 << 20).as_bytes()), NOT_JSON);
    }
}
