//! The last step: the new password reaches the store once, or the owner is told that it did not, and can go on.

use futures_util::future::join_all;
use resetgate::demo::store::User;
use serde_json::{Value, json};

use crate::support::{
    link::Mode,
    world::{Answer, Plan, World},
};

const BJENSEN: &str = "5b2d9a4e-3f60-4c1a-9d0e-1f6a7c8b9d01";
const OLD: &str = "Secret12";
const PASSWORD: &str = "Fresh-Pass1";
const OTHER: &str = "Other-Pass2";

fn is_success(answer: &Answer) -> bool {
    answer.status == 200 && answer.json()["status"] == json!({"success": true})
}

fn assert_try_again(answer: &Answer) {
    assert_eq!(
        answer.json(),
        json!({
            "code": 503,
            "reason": "Service Unavailable",
            "message": "The service is not available, try again later",
        })
    );
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_password_that_breaks_the_policy_is_answered_with_why_and_a_token_to_try_again() {
    let world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    let refused = world.set(&token, "bjensen").await;
    let fresh = refused.token();
    let failure = |requirement: &str, params: Value| json!({"policyRequirements": [{"policyRequirement": requirement, "params": params}], "property": "password"});
    assert_eq!(refused.status, 200);
    assert_eq!(
        refused.json(),
        json!({
            "type": "resetStage",
            "tag": "initial",
            "requirements": {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "description": "Reset password",
                "type": "object",
                "required": ["password"],
                "properties": {"password": {"description": "Password", "type": "string"}},
                "error": {
                    "code": 403,
                    "reason": "Forbidden",
                    "message": "Failed policy validation",
                    "detail": {
                        "result": false,
                        "failedPolicyRequirements": [
                            failure("MIN_LENGTH", json!({"minLength": 8})),
                            failure("AT_LEAST_X_CAPITAL_LETTERS", json!({"numCaps": 1})),
                            failure("AT_LEAST_X_NUMBERS", json!({"numNums": 1})),
                            failure("CANNOT_CONTAIN_OTHERS", json!({"disallowedFields": "userName"})),
                        ],
                    },
                },
            },
            "token": fresh,
        })
    );
    assert_ne!(fresh, token);
    assert!(world.store.password_is("bjensen", OLD));
    assert!(is_success(&world.set(&fresh, PASSWORD).await));
    assert!(world.store.password_is("bjensen", PASSWORD));
}

#[tokio::test]
async fn ten_refused_passwords_end_the_flow() {
    let world = World::usual().await;
    let mut token = world.proven("bjensen", 1).await;
    for n in 0..10 {
        let refused = world.set(&token, &format!("short{n}")).await;
        assert_eq!(refused.status, 200, "refusal {n}: {}", refused.body);
        token = refused.token();
    }
    assert_eq!(world.set(&token, PASSWORD).await.message(), "Invalid code");
    assert!(world.store.password_is("bjensen", OLD));
}

#[tokio::test]
async fn how_many_passwords_may_be_refused_is_the_operator_s_to_say() {
    let world = World::with(Plan { codes: "refused = 2", ..Plan::default() }).await;
    let token = world.proven("bjensen", 1).await;
    let token = world.set(&token, "short0").await.token();
    // The last that may be refused is told why as well.
    let refused = world.set(&token, "short1").await;
    assert_eq!((refused.status, &refused.json()["requirements"]["error"]["code"]), (200, &json!(403)));
    let ended = world.set(&refused.token(), PASSWORD).await;
    assert_eq!((ended.status, ended.message().as_str()), (400, "Invalid code"));
    assert!(world.store.password_is("bjensen", OLD));
}

#[tokio::test]
async fn a_password_that_is_no_password_is_told_in_the_words_of_idm() {
    let world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    for (input, message) in [
        (json!({}), "password is missing from input"),
        (json!({"password": ""}), "password is missing from input"),
        (json!({"password": null}), "password is missing from input"),
        (json!("text"), "password is missing from input"),
        (json!({"password": 12345678}), "/input/password: Expecting a java.lang.String"),
        (json!({"password": ["Fresh-Pass1"]}), "/input/password: Expecting a java.lang.String"),
        (json!({"password": true}), "/input/password: Expecting a java.lang.String"),
    ] {
        let answer = world.post(&json!({"token": token, "input": input})).await;
        assert_eq!((answer.status, answer.message().as_str()), (400, message), "{input}");
    }
    assert!(is_success(&world.set(&token, PASSWORD).await), "the same token is still good");
}

#[tokio::test]
async fn a_password_is_set_as_it_was_typed() {
    for password in
        [" Blank 1 ", "Quote\"s\\and'1", "Pässwörd-日本語-1", "Nul\u{0}Char1-", "<b>&amp;Pass1</b>", "1Aa€😀..."]
    {
        let world = World::usual().await;
        let token = world.proven("bjensen", 1).await;
        let answer = world.set(&token, password).await;
        assert!(is_success(&answer), "{password:?}: {}", answer.body);
        assert!(world.store.password_is("bjensen", password), "{password:?}");
    }
}

#[tokio::test]
async fn while_the_store_is_down_nothing_happens_and_the_token_stays_good_for_any_password() {
    let world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    world.store_link.set(Mode::Down);
    assert_try_again(&world.set(&token, PASSWORD).await);
    world.store_link.set(Mode::Pass);
    assert!(is_success(&world.set(&token, OTHER).await));
    assert!(world.store.password_is("bjensen", OTHER));
}

#[tokio::test]
async fn a_patch_that_never_arrived_is_told_and_may_be_tried_again() {
    let world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    world.store_link.set(Mode::LosePatches);
    assert_try_again(&world.set(&token, PASSWORD).await);
    assert_eq!(world.store.patches(), 0);
    world.store_link.set(Mode::Pass);
    assert!(is_success(&world.set(&token, PASSWORD).await));
    assert!(world.store.password_is("bjensen", PASSWORD));
}

#[tokio::test]
async fn r5_after_a_lost_answer_only_the_same_password_may_be_tried_again() {
    let world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    world.store_link.set(Mode::LosePatchAnswers);
    assert_try_again(&world.set(&token, PASSWORD).await);
    assert_eq!(world.store.patches(), 2, "sent once more, with the same value");
    assert!(world.store.password_is("bjensen", PASSWORD));

    assert_try_again(&world.set(&token, OTHER).await);
    world.store_link.set(Mode::Pass);
    assert_try_again(&world.set(&token, OTHER).await);
    assert!(world.store.password_is("bjensen", PASSWORD), "no other password got in between");
    assert!(is_success(&world.set(&token, PASSWORD).await));
    assert!(world.store.password_is("bjensen", PASSWORD));
}

#[tokio::test]
async fn an_outcome_that_is_unknown_in_one_flow_leaves_a_new_start_free() {
    let world = World::with(Plan { reset: "answer_floor = \"20ms\"\nmail_gap = \"0s\"", ..Plan::default() }).await;
    let token = world.proven("bjensen", 1).await;
    world.store_link.set(Mode::LosePatchAnswers);
    assert_try_again(&world.set(&token, PASSWORD).await);
    world.store_link.set(Mode::Pass);
    let fresh = world.proven("bjensen", 2).await;
    assert!(is_success(&world.set(&fresh, OTHER).await));
    assert!(world.store.password_is("bjensen", OTHER));
}

#[tokio::test]
async fn a_revision_that_moves_by_itself_is_no_hindrance() {
    let world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    // The store moves it after every fifth read: the query was the first, the look at the account when the code was shown
    // the second, the read before the PATCH is the fifth.
    for _ in 0..2 {
        world.query("bjensen").await;
    }
    let answer = world.set(&token, PASSWORD).await;
    assert!(is_success(&answer), "{}", answer.body);
    assert_eq!(world.store.patches(), 1);
    assert!(world.store.password_is("bjensen", PASSWORD));
}

#[tokio::test]
async fn an_account_that_changes_between_the_last_look_and_the_patch_is_not_touched() {
    let world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    world.store_link.set(Mode::HoldPatches);
    let meanwhile = async {
        world.store_link.held(1).await;
        world.store.set(BJENSEN, "mail", "new@example.com");
        world.store_link.set(Mode::Pass);
    };
    let (answer, ()) = tokio::join!(world.set(&token, PASSWORD), meanwhile);
    assert_eq!((answer.status, answer.message().as_str()), (400, "Password reset link is invalid"));
    assert_eq!(world.store.patches(), 0);
    assert!(world.store.password_is("bjensen", OLD));
}

#[tokio::test]
async fn a_store_that_says_no_to_the_patch_changed_nothing_and_any_password_may_follow() {
    // Its revisions never hold still; its rights are wrong; it does not understand; it has too much to do.
    for status in [412, 401, 403, 400, 429] {
        let world = World::usual().await;
        let token = world.proven("bjensen", 1).await;
        world.store_link.set(Mode::AnswerPatches(status));
        assert_try_again(&world.set(&token, PASSWORD).await);
        world.store_link.set(Mode::Pass);
        assert!(is_success(&world.set(&token, OTHER).await), "{status}");
        assert!(world.store.password_is("bjensen", OTHER));
    }
}

#[tokio::test]
async fn a_store_that_fails_at_the_patch_may_have_done_it_and_only_the_same_password_may_follow() {
    for status in [500, 502, 503, 302] {
        let world = World::usual().await;
        let token = world.proven("bjensen", 1).await;
        world.store_link.set(Mode::AnswerPatches(status));
        assert_try_again(&world.set(&token, PASSWORD).await);
        world.store_link.set(Mode::Pass);
        assert_try_again(&world.set(&token, OTHER).await);
        assert!(is_success(&world.set(&token, PASSWORD).await), "{status}");
        assert!(world.store.password_is("bjensen", PASSWORD));
    }
}

#[tokio::test]
async fn an_account_that_is_gone_at_the_patch_is_told_as_one_that_changed() {
    let world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    world.store_link.set(Mode::AnswerPatches(404));
    assert_eq!(world.set(&token, PASSWORD).await.message(), "Password reset link is invalid");
}

#[tokio::test]
async fn an_account_that_changed_since_the_mail_is_not_touched() {
    for (what, change) in CHANGES {
        let world = World::usual().await;
        let token = world.proven("bjensen", 1).await;
        assert!(change(&world), "{what}");
        let answer = world.set(&token, PASSWORD).await;
        assert_eq!((answer.status, answer.message().as_str()), (400, "Password reset link is invalid"), "{what}");
        assert_eq!(world.store.patches(), 0, "{what}");
        assert!(!world.store.password_is("bjensen", PASSWORD), "{what}");
    }
}

/// What an administrator may do to an account while its mail is under way, and what it is called.
type Change = fn(&World) -> bool;
const CHANGES: [(&str, Change); 6] = [
    ("another address", |world| world.store.set(BJENSEN, "mail", "new@example.com")),
    ("no address", |world| world.store.set(BJENSEN, "mail", Value::Null)),
    ("an address that is no text", |world| world.store.set(BJENSEN, "mail", json!(["bjensen@example.com"]))),
    ("inactive", |world| world.store.set(BJENSEN, "accountStatus", "inactive")),
    ("without status", |world| world.store.set(BJENSEN, "accountStatus", Value::Null)),
    ("deleted", |world| world.store.remove(BJENSEN)),
];

/// As PingIDM 7 does, and not only when a password has been thought of.
#[tokio::test]
async fn a_link_of_an_account_that_changed_since_the_mail_is_told_to_be_invalid_when_it_is_opened() {
    for (what, change) in CHANGES {
        let world = World::usual().await;
        world.query("bjensen").await;
        let (token, code) = world.mailed(1).await;
        assert!(change(&world), "{what}");
        let answer = world.show(&token, &code).await;
        let body = json!({"code": 400, "reason": "Bad Request", "message": "Password reset link is invalid"});
        assert_eq!((answer.status, answer.json()), (400, body), "{what}");
        assert_eq!(answer.body, r#"{"code":400,"reason":"Bad Request","message":"Password reset link is invalid"}"#);
    }
}

/// IDM 5 and 6 compared `mail`, whatever the address was called.
#[tokio::test]
async fn the_address_is_the_attribute_that_the_process_names() {
    let process = |process: &mut Value| process["stageConfigs"][1]["identityEmailField"] = json!("workEmail");
    let world = World::with(Plan { process, ..Plan::default() }).await;
    let user =
        User::new("work-1", "worker", OLD).with("mail", "home@example.com").with("workEmail", "work@example.com");
    world.store.insert(user);
    let token = world.proven("worker", 1).await;
    assert!(world.store.set("work-1", "mail", "elsewhere@example.com"));
    assert!(is_success(&world.set(&token, PASSWORD).await));
    let world = World::with(Plan { process, ..Plan::default() }).await;
    world.store.insert(User::new("work-1", "worker", OLD).with("workEmail", "work@example.com"));
    world.query("worker").await;
    let (token, code) = world.mailed(1).await;
    assert!(world.store.set("work-1", "workEmail", "elsewhere@example.com"));
    assert_eq!(world.show(&token, &code).await.message(), "Password reset link is invalid");
}

#[tokio::test]
async fn a_link_that_is_opened_while_the_store_is_down_can_be_opened_again() {
    let world = World::usual().await;
    world.query("bjensen").await;
    let (token, code) = world.mailed(1).await;
    world.store_link.set(Mode::Down);
    assert_try_again(&world.show(&token, &code).await);
    world.store_link.set(Mode::Pass);
    let token = world.show(&token, &code).await.token();
    assert!(is_success(&world.set(&token, PASSWORD).await));
}

#[tokio::test]
async fn an_address_that_changed_its_letters_case_is_the_same() {
    let world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    world.store.set(BJENSEN, "mail", "BJensen@Example.com");
    assert!(is_success(&world.set(&token, PASSWORD).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_passwords_at_once_one_is_set() {
    let world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    let passwords: Vec<String> = (0..8).map(|n| format!("Fresh-Pass{n}")).collect();
    let answers = join_all(passwords.iter().map(|password| world.set(&token, password))).await;
    let set: Vec<_> = passwords.iter().zip(&answers).filter(|(_, answer)| is_success(answer)).collect();
    assert_eq!(set.len(), 1);
    assert!(world.store.password_is("bjensen", set[0].0), "the one that was told so");
    for answer in answers.iter().filter(|answer| !is_success(answer)) {
        assert_eq!((answer.status, answer.message().as_str()), (400, "Invalid code"));
    }
    assert_eq!(world.store.patches(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_flows_of_one_account_at_once_one_sets_its_password() {
    let world = World::with(Plan { reset: "answer_floor = \"20ms\"\nmail_gap = \"0s\"", ..Plan::default() }).await;
    let (one, other) = (world.proven("bjensen", 1).await, world.proven("bjensen", 2).await);
    let (first, second) = tokio::join!(world.set(&one, PASSWORD), world.set(&other, OTHER));
    let (lost, set) = if is_success(&first) { (second, PASSWORD) } else { (first, OTHER) };
    assert_eq!((lost.status, lost.message().as_str()), (400, "Invalid code"));
    assert!(world.store.password_is("bjensen", set));
    assert_eq!(world.store.patches(), 1);
}

#[tokio::test]
async fn the_longest_id_and_the_longest_words_of_the_asker_fit_into_a_token() {
    let world = World::usual().await;
    let (id, params) = ("i".repeat(255), "ä".repeat(512));
    world.store.insert(User::new(&id, "lengthy", OLD).with("mail", "lengthy@example.com"));
    let token = world.post(&json!({"input": {"returnParams": params}})).await.token();
    world.query_with(&token, "lengthy").await;
    let (link, code) = world.mailed(1).await;
    let token = world.show(&link, &code).await.token();
    assert_eq!(world.set(&token, PASSWORD).await.json()["additions"]["returnParams"], params.as_str());
    assert!(world.store.password_is("lengthy", PASSWORD));
}

#[tokio::test]
async fn success_gives_back_what_the_asker_gave_first() {
    let world = World::usual().await;
    let params = "goto=https%3A%2F%2Fapp.example.com&x=<script>\"é\u{0}";
    let token = world.post(&json!({"input": {"returnParams": params, "other": "dropped"}})).await.token();
    world.query_with(&token, "bjensen").await;
    let (link, code) = world.mailed(1).await;
    let token = world.show(&link, &code).await.token();
    let done = world.set(&token, PASSWORD).await;
    assert_eq!(
        done.json(),
        json!({"type": "resetStage", "tag": "end", "status": {"success": true}, "additions": {"returnParams": params}})
    );

    let world = World::usual().await;
    let token = world.proven("bjensen", 1).await;
    assert_eq!(world.set(&token, PASSWORD).await.json()["additions"], json!({}));
}

#[tokio::test]
async fn an_account_may_be_reset_again() {
    let world = World::usual().await;
    for (nth, password) in [(1, PASSWORD), (2, OTHER), (3, "Third-Pass3")] {
        let token = world.proven("bjensen", nth).await;
        assert!(is_success(&world.set(&token, password).await), "reset {nth}");
        assert!(world.store.password_is("bjensen", password));
    }
}
