use proptest::{collection::vec, prelude::*};

use super::{Filter, Literal, Refused};
use crate::reset::ports::Field;

const FIELDS: [&str; 4] = ["userName", "mail", "givenName", "sn"];

fn allowed() -> Vec<Field> {
    FIELDS.iter().map(|name| Field::new(name)).collect()
}

fn parse(text: &str) -> Result<Filter, Refused> {
    Filter::parse(text, &allowed())
}

fn eq(field: &str, literal: &str) -> Filter {
    Filter::Eq(Field::new(field), literal.into())
}

#[test]
fn reads_what_clients_send() {
    let cases = [
        (r#"userName eq "bjensen""#, eq("userName", "bjensen")),
        (r"userName EQ 'bjensen'", eq("userName", "bjensen")),
        (r#"/userName eq "x""#, eq("userName", "x")),
        (r#"userName/ eq "x""#, eq("userName", "x")),
        (r#"  userName   eq   "x"   "#, eq("userName", "x")),
        (r#"mail eq "o'brien+x@ex.org""#, eq("mail", "o'brien+x@ex.org")),
        (r#"( mail eq "a@b" )"#, eq("mail", "a@b")),
        (r#"((mail eq "a@b"))"#, eq("mail", "a@b")),
        (r#"userName eq "zoë""#, eq("userName", "zoë")),
        (r#"mail eq " a@b ""#, eq("mail", "a@b")),
        (r#"userName eq "a\"b\\c\nd\'e""#, eq("userName", r#"a"b\cnd'e"#)),
        (r#"userName eq 'say "x"'"#, eq("userName", r#"say "x""#)),
        (r#"userName eq "x' or true or mail eq 'y""#, eq("userName", "x' or true or mail eq 'y")),
        (r#"userName eq "x&_pageSize=1""#, eq("userName", "x&_pageSize=1")),
        (r#"(userName eq "x" OR mail eq "x")"#, Filter::Or(vec![eq("userName", "x"), eq("mail", "x")])),
        (r#"userName eq "X"or mail eq " x""#, Filter::Or(vec![eq("userName", "X"), eq("mail", "x")])),
        (r#"mail eq "a" AND sn eq "b""#, Filter::And(vec![eq("mail", "a"), eq("sn", "b")])),
        (
            r#"userName eq "x" or givenName eq "x" and sn eq "x""#,
            Filter::Or(vec![eq("userName", "x"), Filter::And(vec![eq("givenName", "x"), eq("sn", "x")])]),
        ),
        (
            r#"(userName eq "x" or mail eq "x") and sn eq "b""#,
            Filter::And(vec![Filter::Or(vec![eq("userName", "x"), eq("mail", "x")]), eq("sn", "b")]),
        ),
        (r"userName eq 12", Filter::Eq(Field::new("userName"), Literal::Number("12".into()))),
        (r"(userName eq -1.50)", Filter::Eq(Field::new("userName"), Literal::Number("-1.50".into()))),
    ];
    for (text, filter) in cases {
        assert_eq!(parse(text), Ok(filter.clone()), "{text}");
        assert_eq!(parse(&filter.to_crest()), Ok(filter), "{text}");
    }
}

#[test]
fn refuses_the_rest() {
    let long = format!(r#"userName eq "{}""#, "a".repeat(500));
    let deep = format!(r#"{}userName eq "x"{}"#, "(".repeat(17), ")".repeat(17));
    let wide = [r#"userName eq "x""#; 5].join(" and ");
    let cases = [
        r#"(userName eq "v" or sn eq "v") and (mail eq "w" or sn eq "w")"#,
        "",
        "   ",
        "true",
        "false",
        "(true)",
        "()",
        "userName",
        "userName eq",
        "userName pr",
        r#"eq "x""#,
        r#"userName co "a""#,
        r#"userName sw "a""#,
        r#"userName le "zzzz""#,
        r#"userName in "[\"a\",\"b\"]""#,
        r#"userName in ["a"]"#,
        r#"userName ne "x""#,
        r#"userName xMatch "x""#,
        r#"userName = "x""#,
        r#"! (mail eq "x")"#,
        r#"!(mail eq "x")"#,
        r#"! mail eq "x""#,
        r#"!mail eq "x""#,
        r#"not mail eq "x""#,
        r#"userName eq "a" or userName eq "b""#,
        r#"userName eq "a" or true"#,
        r#"userName eq "a" or (mail eq "a" and sn eq "b")"#,
        r#"(mail eq "a" and sn eq "b") or userName eq "a""#,
        r#"sn eq "b" and (mail eq "a" or (userName eq "b"))"#,
        r#"userName eq "a" && mail eq "a""#,
        r#"_id eq "x""#,
        r#"USERNAME eq "x""#,
        r#"user%4eame eq "x""#,
        r#"%75serName eq "x""#,
        r#"/userName/x eq "x""#,
        r#"userName~1 eq "x""#,
        r#"/ eq "x""#,
        r#""userName" eq "x""#,
        r"userName eq bjensen",
        r"userName eq true",
        r"userName eq null",
        r"userName eq 1e5",
        r"userName eq +1",
        r"userName eq -",
        r"userName eq 1.",
        r"userName eq 9223372036854775808",
        r#"userName eq"x""#,
        r#"userName eq ("x")"#,
        r#"userName eq """#,
        r#"userName eq "   ""#,
        r#"userName eq "x"#,
        r#"userName eq "x\"#,
        r#"userName eq "x\""#,
        r#"(userName eq "x""#,
        r#"userName eq "x")"#,
        r#"userName eq "a"b""#,
        r#"userName eq "a" or"#,
        r#"userName eq "a" mail eq "a""#,
        "userName\teq \"x\"",
        "userName eq \"x\"\nor true",
        "userName eq \"x\0\"",
        "userName eq \"x\u{7f}\"",
        "userName\u{a0}eq \"x\"",
        &long,
        &deep,
        &wide,
    ];
    for text in cases {
        assert_eq!(parse(text), Err(Refused), "{text}");
    }
}

#[test]
fn the_limits_themselves_are_allowed() {
    let deep = format!(r#"{}userName eq "x"{}"#, "(".repeat(16), ")".repeat(16));
    let siblings = [r#"(((userName eq "x")))"#; 4].join(" and ");
    let long = format!(r#"userName eq "{}""#, "é".repeat(512 - 14));
    assert_eq!(long.chars().count(), 512);
    for text in [deep, siblings, long] {
        assert!(parse(&text).is_ok(), "{text}");
    }
    assert_eq!(Filter::parse(r#"mail eq "x""#, &[]), Err(Refused));
    assert_eq!(Filter::parse(r#"/ eq "x""#, &[Field::new("/")]), Err(Refused));
}

#[test]
fn rebuilds_with_escapes() {
    let filter = Filter::Or(vec![eq("userName", r#"a"b\"#), Filter::And(vec![eq("sn", "é"), eq("mail", "&")])]);
    assert_eq!(filter.to_crest(), r#"userName eq "a\"b\\" or (sn eq "é" and mail eq "&")"#);
}

#[test]
fn compares_what_a_store_gave() {
    let with = |text: Option<&'static str>| move |_: &Field| text;
    let filter = eq("userName", "BJensen");
    assert!(filter.matches(with(Some("bjensen"))));
    assert!(filter.matches(with(Some(" bjensen "))));
    assert!(!filter.matches(with(Some("bjensen2"))));
    assert!(!filter.matches(with(Some(""))));
    assert!(!filter.matches(with(None)));
    assert!(!eq("userName", "zoë").matches(with(Some("zoe"))));
    assert!(!eq("userName", "*").matches(with(Some("bjensen"))));
    assert!(!Filter::And(vec![]).matches(with(Some("x"))));
    assert!(!Filter::Or(vec![]).matches(with(Some("x"))));

    let both = parse(r#"mail eq "a" and sn eq "b""#).unwrap();
    let told = |mail, sn| move |field: &Field| if field.as_str() == "mail" { mail } else { sn };
    assert!(both.matches(told(Some("A"), Some("b"))));
    assert!(!both.matches(told(Some("A"), None)));
    let either = parse(r#"mail eq "a" or sn eq "a""#).unwrap();
    assert!(either.matches(told(None, Some("a"))));
    assert!(!either.matches(told(None, Some("b"))));
}

#[test]
fn lists_its_fields_once() {
    let filter = parse(r#"(userName eq "x" or mail eq "x") and userName eq "x""#).unwrap();
    assert_eq!(filter.fields(), [&Field::new("userName"), &Field::new("mail")]);
}

fn literal() -> impl Strategy<Value = Literal> {
    let text = r#"[ "'\\()&=%a-zé\u{1F600}*]{1,12}"#;
    prop_oneof![
        4 => text.prop_map(|text: String| text.trim().to_owned())
            .prop_filter("not empty", |text| !text.is_empty())
            .prop_map(Literal::Text),
        1 => "-?[0-9]{1,9}(\\.[0-9]{1,4})?".prop_map(Literal::Number),
    ]
}

fn field() -> impl Strategy<Value = Field> {
    proptest::sample::select(FIELDS.as_slice()).prop_map(Field::new)
}

/// A filter of two to four leaves, or of one, with the literals that its shape allows.
fn filter() -> impl Strategy<Value = Filter> {
    (vec((field(), literal()), 4), 0..7_u8).prop_map(|(leaves, shape)| {
        let same = leaves[0].1.clone();
        let leaf = |at: usize| Filter::Eq(leaves[at].0.clone(), leaves[at].1.clone());
        let alike = |at: usize| Filter::Eq(leaves[at].0.clone(), same.clone());
        match shape {
            0 => leaf(0),
            1 => Filter::And(vec![leaf(0), leaf(1)]),
            2 => Filter::And(vec![leaf(0), Filter::And(vec![leaf(1), leaf(2)]), leaf(3)]),
            3 => Filter::Or(vec![alike(0), alike(1), alike(2), alike(3)]),
            4 => Filter::Or(vec![alike(0), Filter::And(vec![alike(1), alike(2)])]),
            5 => Filter::And(vec![Filter::Or(vec![alike(0), alike(1)]), leaf(2)]),
            _ => Filter::Or(vec![Filter::Or(vec![alike(0), alike(1)]), alike(2)]),
        }
    })
}

/// Text made of the language's own pieces, so that much of it gets deep into the parser.
fn scraps() -> impl Strategy<Value = String> {
    let pieces = [
        "userName", "mail", "/mail/", "_id", "%6dail", "eq", "EQ", "pr", "co", "or", "OR", "and", "!", "true", "(",
        ")", "\"x\"", "\"x", "'x'", "\"", "'", "\\", "\\\"", " ", " ", " ", "12", "1.5", "\t", "é", "\u{0}",
    ];
    vec(proptest::sample::select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_built_reads_the_same(filter in filter()) {
        prop_assert_eq!(parse(&filter.to_crest()), Ok(filter));
    }

    #[test]
    fn no_text_panics_or_names_another_field(text in prop_oneof![scraps(), any::<String>(), ".{0,600}"]) {
        if let Ok(filter) = parse(&text) {
            let allowed = allowed();
            prop_assert!(filter.fields().into_iter().all(|field| allowed.contains(field)));
            prop_assert_eq!(parse(&filter.to_crest()), Ok(filter));
        }
    }

    #[test]
    fn exact_attributes_match(leaves in vec((field(), literal()), 1..4)) {
        let mut leaves = leaves;
        leaves.sort_by(|a, b| a.0.cmp(&b.0));
        leaves.dedup_by(|a, b| a.0 == b.0);
        let told = leaves.clone();
        let attribute = |field: &Field| told.iter().find(|(name, _)| name == field).map(|(_, literal)| literal.as_str());
        let filter = Filter::And(leaves.into_iter().map(|(field, literal)| Filter::Eq(field, literal)).collect());
        prop_assert!(filter.matches(attribute));
    }
}
