//! A reset that succeeds, and what is on the wire meanwhile.

use serde_json::{Value, json};

use super::{BUTTON, CHOOSE, DONE, LOGIN, QUERY, SECURE, SENT, UNMET, World};
use crate::support::{
    driver::{Browser, ENTER},
    setup::{PATH, link},
    soon,
    upstream::Seen,
};

const WEAK: &str = "Weak1";
const GOOD: &str = "Fresh-Pass1";
/// Has the account's name in it, which the policy is not told while one types.
const SAME: &str = "Xbjensen1";

/// As the page sends each of its requests.
fn check_headers(seen: &Seen, is_ours: bool) {
    let only = |name: &str| {
        let values = seen.header(name);
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.into_iter().next()
    };
    let line = seen.line();
    assert_eq!(only("accept").as_deref(), Some("application/json, text/plain, */*"), "{line}");
    assert_eq!(only("x-openidm-nosession").as_deref(), Some("true"), "{line}");
    assert_eq!(only("x-openidm-username").as_deref(), Some("anonymous"), "{line}");
    assert_eq!(only("x-openidm-password").as_deref(), Some("anonymous"), "{line}");
    assert_eq!((only("authorization"), only("cookie")), (None, None), "{line}");
    // Not on every one, in some of its versions on none.
    assert!(matches!(only("cache-control").as_deref(), None | Some("no-cache")), "{line}");
    let is_post = seen.method() == "POST";
    // Some of its versions name a charset.
    let kind = only("content-type").map(|kind| kind.split(';').next().unwrap().to_owned());
    assert_eq!(kind.as_deref(), is_post.then_some("application/json"), "{line}");
    assert_eq!(only("x-requested-with").as_deref(), (is_post && is_ours).then_some("XMLHttpRequest"), "{line}");
    // A link's fragment stays in the browser.
    let from = only("referer").unwrap();
    assert!(from.ends_with('/') && !from.contains("token"), "{from}");
}

/// `{"input":…,"token":…}`, in that order.
fn body(input: &Value, token: Option<&str>) -> String {
    match token {
        Some(token) => format!("{{\"input\":{input},\"token\":\"{token}\"}}"),
        None => format!("{{\"input\":{input}}}"),
    }
}

fn token(seen: &Seen) -> String {
    seen.json()["token"].as_str().unwrap_or_else(|| panic!("a token in {}", seen.text())).to_owned()
}

/// The list once for each form, and what was typed, at each pause.
fn check_policy(seen: &[Seen]) {
    let (lists, tries): (Vec<_>, Vec<_>) = seen.iter().partition(|seen| seen.method() == "GET");
    assert_eq!(lists.len(), 3, "{lists:?}");
    assert!(lists.iter().all(|seen| seen.target() == "/openidm/policy/selfservice/reset"));
    assert!(tries.iter().all(|seen| seen.target() == "/openidm/policy/selfservice/reset/?_action=validateObject"));
    let typed: Vec<_> = tries.iter().map(|seen| seen.text()).collect();
    for password in ["", WEAK, SAME] {
        assert!(typed.contains(&json!({"password": password}).to_string()), "{typed:?}");
    }
}

/// Waits until the page has that many answers to its posts.
async fn answered(browser: &Browser, posts: u64) {
    let script = "return performance.getEntriesByType('resource').filter((entry) =>
        entry.name.includes('_action=submitRequirements') && entry.responseEnd > 0).length";
    soon("the answers", async { while browser.run(script).await.as_u64().unwrap() < posts {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_resets_a_password_on_idms_own_page() {
    let Some(browser) = Browser::start().await else { return };
    let world = World::usual().await;

    // From the page where one signs in, as everybody comes.
    browser.open(&format!("{}#/login", world.home)).await;
    browser.until(LOGIN).await;
    browser.until("[...document.links].some((link) => link.innerText.includes('Forgot password?'))").await;
    browser.shoot("web-0-login").await;
    browser.click("a[href='#/passwordreset']").await;
    browser.until(QUERY).await;
    browser.shoot("web-1-query").await;
    browser.fill("input[name=mail]", "bjensen@example.com").await;
    browser.press(BUTTON, ENTER).await;
    browser.until(SENT).await;
    browser.shoot("web-2-sent").await;

    let mailed = world.link(1).await;
    let (token_mailed, code) = link(&mailed);
    assert_eq!(mailed, format!("{}#/passwordreset/&token={token_mailed}&code={code}", world.home));
    let posts = world.posts();
    assert_eq!(posts.len(), 3, "the flow's start, and two for one Enter: {posts:?}");
    assert_eq!(posts[0].text(), body(&json!({}), None));
    let typed = json!({"queryFilter": "mail eq \"bjensen@example.com\""});
    let first = token(&posts[1]);
    assert_eq!([posts[1].text(), posts[2].text()], [body(&typed, Some(&first)), body(&typed, Some(&first))]);

    // In the same tab, once more after a reload, and in another browser that has seen nothing of it yet.
    world.follow(&browser, &mailed).await;
    browser.until(CHOOSE).await;
    browser.reload().await;
    browser.until(CHOOSE).await;
    let other = Browser::start().await.unwrap();
    other.open(&mailed).await;
    other.until(CHOOSE).await;
    other.shoot("web-3-choose").await;
    let posts = world.posts();
    assert_eq!(posts.len(), 6, "{posts:?}");
    let shown = body(&json!({"token": token_mailed, "code": code}), Some(&token_mailed));
    assert!(posts[3..].iter().all(|post| post.text() == shown), "{posts:?}");

    // What the policy refuses is shown while it is typed; what only the store can refuse, by the answer.
    other.fill("input[name=password]", WEAK).await;
    other.until(&format!("{UNMET} === 'Must be 8 characters long'")).await;
    other.shoot("web-4-weak").await;
    other.fill("input[name=password]", SAME).await;
    other.until(SECURE).await;
    other.press(BUTTON, ENTER).await;
    other.until(&format!("document.querySelectorAll('#app li').length === 3 && !({SECURE}) && {UNMET} === ''")).await;
    other.shoot("web-5-refused").await;
    answered(&other, 3).await;
    assert!(other.run(&format!("return !!({CHOOSE})")).await.as_bool().unwrap(), "the form stays");

    other.fill("input[name=password]", GOOD).await;
    other.press(BUTTON, ENTER).await;
    other.until(DONE).await;
    other.shoot("web-6-done").await;
    answered(&other, 5).await;
    assert!(other.run(&format!("return {DONE}")).await.as_bool().unwrap(), "the second answer is no other");

    let posts = world.posts();
    assert_eq!(posts.len(), 10, "{posts:?}");
    let (refused, retried) = (token(&posts[6]), token(&posts[8]));
    assert_ne!(refused, retried, "the retry has the token of the answer that refused");
    for (post, (password, token)) in
        posts[6..].iter().zip([(SAME, &refused), (SAME, &refused), (GOOD, &retried), (GOOD, &retried)])
    {
        assert_eq!(post.text(), body(&json!({"password": password}), Some(token)));
    }
    check_policy(&world.tap.seen("/openidm/policy/"));
    for seen in world.tap.seen("/openidm/") {
        check_headers(&seen, seen.target().starts_with(PATH));
    }
    assert!(world.around.store.password_is("bjensen", GOOD));
    assert_eq!(world.around.store.patches(), 1);
    assert_eq!(world.around.store.stock_reset_hits(), 0);
    assert!(world.site.seen().iter().all(|seen| !seen.target().starts_with(PATH)));
    let linked = world
        .around
        .mailbox
        .mails()
        .iter()
        .filter(|mail| mail.links.iter().any(|link| link.contains("&token=")))
        .count();
    assert_eq!(linked, 1, "one for both posts of an Enter");

    // The new password lets in.
    other.click("a[href='#/login']").await;
    other.until(LOGIN).await;
    assert_eq!(world.gate.get("/openidm/info/ping").await.status, 200);
}
