//! What a client sends that is no good is a 400 with IDM's own words, and never a 500.

use serde_json::{Value, json};

use crate::support::world::{Answer, KEPT_KEY, Plan, World};

const NOT_JSON: &str = "The request could not be processed because the provided content is not valid JSON";
const TRAILING: &str = "The request could not be processed because there is trailing data after the JSON content";

#[track_caller]
fn assert_bad(answer: &Answer, message: &str, of: &str) {
    let expected = json!({"code": 400, "reason": "Bad Request", "message": message});
    assert_eq!((answer.status, answer.json()), (400, expected), "{of}");
}

#[tokio::test]
async fn a_body_that_is_no_submission_is_refused() {
    let world = World::usual().await;
    let deep = |levels: usize| format!("{{\"input\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let long = format!("{{\"input\":{{\"returnParams\":\"{}\"}}}}", "x".repeat(1025));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "No input provided"),
        (b" \r\n".to_vec(), "No input provided"),
        (b"{}".to_vec(), "No input provided"),
        (b"[]".to_vec(), "No input provided"),
        (b"[{\"input\":{}}]".to_vec(), "No input provided"),
        (b"null".to_vec(), "No input provided"),
        (b"\"input\"".to_vec(), "No input provided"),
        (b"17".to_vec(), "No input provided"),
        (b"{\"input\":null}".to_vec(), "No input provided"),
        (b"{\"Input\":{}}".to_vec(), "No input provided"),
        (b"{\"token\":null}".to_vec(), "No input provided"),
        (b"{\"input\":\"x\"}".to_vec(), "/input: Expecting a java.util.Map"),
        (b"{\"input\":[]}".to_vec(), "/input: Expecting a java.util.Map"),
        (b"{\"input\":{\"returnParams\":1}}".to_vec(), "/input/returnParams: Expecting a java.lang.String"),
        (b"{\"input\":{\"returnParams\":{}}}".to_vec(), "/input/returnParams: Expecting a java.lang.String"),
        (long.into_bytes(), "/input/returnParams: Value is too long"),
        (b"{".to_vec(), NOT_JSON),
        (b"{\"input\":{}".to_vec(), NOT_JSON),
        (b"{'input':{}}".to_vec(), NOT_JSON),
        (b"{input:{}}".to_vec(), NOT_JSON),
        (b"{\"input\":{},}".to_vec(), NOT_JSON),
        (b"{\"input\":{}/**/}".to_vec(), NOT_JSON),
        (b"input=x".to_vec(), NOT_JSON),
        (b"\xef\xbb\xbf{\"input\":{}}".to_vec(), NOT_JSON),
        (b"{\"input\":{\"returnParams\":\"\xff\"}}".to_vec(), NOT_JSON),
        (b"{\"input\":{\"returnParams\":\"\0\"}}".to_vec(), NOT_JSON),
        (b"{\"input\":{\"returnParams\":\"\\ud800\"}}".to_vec(), NOT_JSON),
        (b"{\"input\":{\"x\":1e999}}".to_vec(), NOT_JSON),
        (b"{\"input\":{\"x\":NaN}}".to_vec(), NOT_JSON),
        (b"{\"input\":{},\"input\":{}}".to_vec(), NOT_JSON),
        (b"{\"input\":{\"returnParams\":\"a\",\"returnParams\":\"b\"}}".to_vec(), NOT_JSON),
        (b"{\"input\":{\"x\":[{\"y\":1,\"\\u0079\":2}]}}".to_vec(), NOT_JSON),
        (deep(17).into_bytes(), NOT_JSON),
        (deep(5000).into_bytes(), NOT_JSON),
        (b"{\"input\":{}}{\"input\":{}}".to_vec(), TRAILING),
        (b"{\"input\":{}} x".to_vec(), TRAILING),
        (b"{\"input\":{}}\0".to_vec(), TRAILING),
    ];
    for (body, message) in cases {
        let of = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_bad(&world.post_as(&[], body).await, message, &of);
    }
}

#[tokio::test]
async fn a_body_that_is_odd_and_sound_is_taken() {
    let world = World::usual().await;
    let full = "x".repeat(1024);
    for body in [
        " \r\n\t{ \"input\" : { } }\n ".to_owned(),
        "{\"input\":{},\"more\":[1,2,{}],\"token\":null}".to_owned(),
        "{\"input\":{\"returnParams\":null}}".to_owned(),
        "{\"input\":{\"returnParams\":\"a\\u0000b\\ud83d\\ude00\"}}".to_owned(),
        format!("{{\"input\":{{\"returnParams\":\"{full}\"}}}}"),
        format!("{{\"input\":{{\"x\":{}{}}}}}", "[".repeat(13), "]".repeat(13)),
    ] {
        let answer = world.post_as(&[], body.clone()).await;
        assert_eq!((answer.status, answer.json()["type"].clone()), (200, json!("userQuery")), "{body}");
    }
}

#[tokio::test]
async fn a_token_that_is_none_of_ours_is_refused_before_the_input_is_looked_at() {
    let world = World::usual().await;
    let token = world.begin().await;
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    let flipped = |at: usize| {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let (head, middle) = (parts[0].len() / 2, parts[0].len() + 1 + parts[1].len() / 2);
    let cases = [
        String::new(),
        "x".to_owned(),
        "a.b".to_owned(),
        "a.b.c".to_owned(),
        "a.b.c.d.e".to_owned(),
        "..".to_owned(),
        format!("{token}."),
        format!("{token}="),
        format!("{token} "),
        format!(" {token}"),
        format!("{token}\u{0}"),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("eyJhbGciOiJub25lIn0.{}.", parts[1]),
        format!("eyJhbGciOiJub25lIn0.{}.{}", parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], parts[1]),
        flipped(head),
        flipped(middle),
        flipped(token.len() - 2),
        token.to_ascii_lowercase(),
        "é".repeat(100),
        "A".repeat(10_000),
    ];
    for token in &cases {
        for input in [json!({"queryFilter": "userName eq \"bjensen\""}), Value::Null, json!({})] {
            let answer = world.post(&json!({"token": token, "input": input})).await;
            assert_bad(&answer, "Snapshot token is invalid", token);
        }
    }
    for token in [json!(1), json!(true), json!({}), json!([token]), json!(1.5)] {
        let answer = world.post(&json!({"token": token, "input": {}})).await;
        assert_bad(&answer, "/token: Expecting a java.lang.String", &token.to_string());
    }
    assert_bad(&world.post(&json!({"token": token})).await, "No input provided", "a good token");
    assert_eq!(world.query_with(&token, "bjensen").await.status, 200, "and it is good still");
}

#[tokio::test]
async fn a_token_of_another_key_is_refused() {
    let (one, other) = (World::usual().await, World::usual().await);
    let token = one.begin().await;
    assert_bad(&other.query_with(&token, "bjensen").await, "Snapshot token is invalid", "another key");
}

#[tokio::test]
async fn a_token_of_another_process_is_refused_and_one_of_the_same_process_goes_on() {
    let kept = || Plan { token: KEPT_KEY, ..Plan::default() };
    let one = World::with(kept()).await;
    let token = one.begin().await;

    let changes: [fn(&mut Value); 3] = [
        |process| process["stageConfigs"][1]["validQueryFields"] = json!(["userName"]),
        |process| process["stageConfigs"][3]["verificationLink"] = json!("https://other.example.com/#/passwordreset/"),
        |process| drop(process["stageConfigs"].as_array_mut().unwrap().remove(2)),
    ];
    for process in changes {
        let other = World::with(Plan { process, ..kept() }).await;
        assert_bad(&other.query_with(&token, "bjensen").await, "Invalid token", "another process");
        assert_bad(&other.post(&json!({"token": token})).await, "No input provided", "input comes first");
    }

    let texts: fn(&mut Value) = |process| {
        process["stageConfigs"][3]["subjectTranslations"]["en"] = json!("Another subject");
        process["snapshotToken"]["tokenExpiry"] = json!(600);
    };
    let restarted = World::with(Plan { process: texts, ..kept() }).await;
    assert_eq!(restarted.query_with(&token, "bjensen").await.status, 200, "texts may change");
    assert_eq!(restarted.mail(1).await.subject, "Another subject");
}

#[tokio::test]
async fn a_code_that_a_restart_forgot_is_no_good_and_no_fault() {
    let kept = || Plan { token: KEPT_KEY, ..Plan::default() };
    let (before, after) = (World::with(kept()).await, World::with(kept()).await);
    let asker = before.query("bjensen").await.token();
    let (link, code) = before.mailed(1).await;
    let proven = before.show(&link, &code).await.token();
    assert_bad(&after.show(&asker, &code).await, "Invalid code", "the asker's token");
    assert_bad(&after.show(&link, &code).await, "Invalid code", "the link");
    assert_bad(&after.set(&proven, "Fresh-Pass1").await, "Invalid code", "a code shown before");
    assert_eq!(after.store.patches(), 0);
}

#[tokio::test]
async fn a_token_ends_with_its_time() {
    let soon: fn(&mut Value) = |process| process["snapshotToken"]["tokenExpiry"] = json!(1);
    let world = World::with(Plan { process: soon, ..Plan::default() }).await;
    let known = world.query("bjensen").await.token();
    let unknown = world.query("nobody").await.token();
    let (link, code) = world.mailed(1).await;
    for (n, token) in [&known, &unknown].into_iter().enumerate() {
        let mut tries = 0;
        world
            .until(async || {
                tries += 1;
                world.show(token, &format!("wrong {n} {tries}")).await.message() == "Snapshot token is invalid"
            })
            .await;
    }
    assert_eq!(world.show(&link, &code).await.status, 200, "the mailed link lives on");
}

#[tokio::test]
async fn a_query_that_is_no_good_is_told_in_the_words_of_idm() {
    let world = World::usual().await;
    let token = world.begin().await;
    for (input, message) in [
        (json!({}), "/input/queryFilter: Expecting a value"),
        (json!({"queryFilter": null}), "/input/queryFilter: Expecting a value"),
        (json!("userName eq \"bjensen\""), "/input/queryFilter: Expecting a value"),
        (json!([]), "/input/queryFilter: Expecting a value"),
        (json!(7), "/input/queryFilter: Expecting a value"),
        (json!(false), "/input/queryFilter: Expecting a value"),
        (json!({"password": "Stolen-Pass1"}), "/input/queryFilter: Expecting a value"),
        (json!({"queryFilter": 7}), "/input/queryFilter: Expecting a java.lang.String"),
        (json!({"queryFilter": ["userName eq \"bjensen\""]}), "/input/queryFilter: Expecting a java.lang.String"),
        (json!({"queryFilter": {"userName": "bjensen"}}), "/input/queryFilter: Expecting a java.lang.String"),
    ] {
        assert_bad(&world.post(&json!({"token": token, "input": input})).await, message, &input.to_string());
    }
    let long = format!("userName eq \"{}\"", "x".repeat(600));
    for filter in [
        "",
        " ",
        "bjensen",
        "userName eq bjensen",
        "userName eq \"bjensen",
        "userName eq \"\"",
        "userName eq \"  \"",
        "userName eq \"bjensen\" and",
        "(userName eq \"bjensen\"",
        "userName co \"b\"",
        "userName sw \"b\"",
        "userName pr",
        "!(userName eq \"bjensen\")",
        "true",
        "givenName eq \"Barbara\"",
        "password eq \"Secret12\"",
        "_id eq \"5b2d9a4e-3f60-4c1a-9d0e-1f6a7c8b9d01\"",
        "userName eq \"b\u{0}jensen\"",
        "userName eq \"bjensen\"\n",
        "userName eq \"a\" or userName eq \"b\"",
        &long,
    ] {
        assert_bad(&world.filter_with(&token, filter).await, "Invalid query filter", filter);
    }
    assert!(world.store.queries().is_empty(), "nobody was looked up");
    assert_eq!(world.query_with(&token, "bjensen").await.status, 200, "the token is good still");
}

#[tokio::test]
async fn a_code_that_is_no_good_is_told_in_the_words_of_idm() {
    let world = World::usual().await;
    let token = world.query("bjensen").await.token();
    let (_, code) = world.mailed(1).await;
    for (input, message) in [
        (json!({}), "Input code is missing"),
        (json!([]), "Input code is missing"),
        (json!("text"), "Input code is missing"),
        (json!({"code": null}), "Input code is missing"),
        (json!({"code": ""}), "Input code is missing"),
        (json!({"code": " \t"}), "Input code is missing"),
        (json!({"Code": code}), "Input code is missing"),
        (json!({"queryFilter": "userName eq \"bjensen\""}), "Input code is missing"),
        (json!({"code": 1}), "/input/code: Expecting a java.lang.String"),
        (json!({"code": [code]}), "/input/code: Expecting a java.lang.String"),
        (json!({"code": true}), "/input/code: Expecting a java.lang.String"),
        (json!({"code": format!("{code}\u{0}")}), "Invalid code"),
        (json!({"code": "x".repeat(10_000)}), "Invalid code"),
    ] {
        assert_bad(&world.post(&json!({"token": token, "input": input})).await, message, &input.to_string());
    }
    assert_eq!(world.show(&token, &format!(" {code}\n")).await.status, 200, "as it is pasted");
}

#[tokio::test]
async fn an_older_token_goes_back_to_its_stage() {
    let world = World::with(Plan { reset: "answer_floor = \"20ms\"\nmail_gap = \"0s\"", ..Plan::default() }).await;
    let start = world.begin().await;
    let asker = world.query_with(&start, "bjensen").await.token();
    let (_, code) = world.mailed(1).await;
    assert_eq!(world.show(&asker, &code).await.json()["type"], "resetStage");
    assert_eq!(world.show(&asker, "wrong").await.message(), "Invalid code");
    assert_eq!(world.query_with(&start, "zoë").await.json()["type"], "emailValidation");
    assert_eq!(world.mail(2).await.to, ["zoe@example.com"]);
    assert_eq!(world.metric("broken_states_total").await, "0");
    assert_eq!(world.metric("panic_answers_total").await, "0");
}
