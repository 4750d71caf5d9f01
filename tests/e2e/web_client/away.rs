//! What a person sees when it does not go as they hoped.

use super::{BUTTON, CHOOSE, DONE, FAILED, LOGIN, Policy, QUERY, SECURE, SENT, World};
use crate::support::{
    driver::{Browser, ENTER},
    setup::{NOBODY, Plan},
};

const AGAIN: &str = "a[href='#/passwordreset']";

/// The words under the page's "Error resetting your password".
async fn failure(browser: &Browser) -> String {
    browser.until(FAILED).await;
    browser.text("#app .alert-danger p").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_mistypes_or_comes_late_is_told_and_can_begin_again() {
    let Some(browser) = Browser::start().await else { return };
    let world = World::usual().await;
    world.ask(&browser, "nobody@example.com").await;
    browser.press(BUTTON, ENTER).await;
    browser.until(SENT).await;
    // It puts what was typed between quotes, as it is. Enter in the field is one post.
    let before = world.posts().len();
    world.ask(&browser, " a\"b\\c' or true@x ").await;
    browser.press("input[name=mail]", ENTER).await;
    assert_eq!(failure(&browser).await, "Invalid query filter");
    let posts = world.posts();
    assert_eq!(posts.len(), before + 2);
    assert_eq!(posts[before + 1].json()["input"]["queryFilter"], "mail eq \" a\"b\\c' or true@x \"");
    browser.shoot("web-typed").await;
    // One of its own faults: from here it leads to where one signs in.
    browser.click(AGAIN).await;
    browser.until(LOGIN).await;

    world.ask(&browser, "bjensen@example.com").await;
    browser.click(BUTTON).await;
    browser.until(SENT).await;
    let link = world.link(1).await;
    assert_eq!(world.around.mailbox.mails().len(), 1, "nobody else got one");
    let altered =
        [("Invalid code", format!("{link}x")), ("Snapshot token is invalid", link.replace("token=ey", "token=xx"))];
    for (words, altered) in altered {
        world.follow(&browser, &altered).await;
        assert_eq!(failure(&browser).await, words);
        browser.click(AGAIN).await;
        browser.until(QUERY).await;
    }
    world.follow(&browser, &link).await;
    browser.until(CHOOSE).await;
    browser.fill("input[name=password]", "Fresh-Pass1").await;
    // What is above the button moves until then.
    browser.until(SECURE).await;
    browser.click(BUTTON).await;
    browser.until(DONE).await;

    // The same click may come again for a while; the link sets nothing any more.
    world.follow(&browser, &link).await;
    browser.until(CHOOSE).await;
    browser.fill("input[name=password]", "Another-Pass1").await;
    browser.press(BUTTON, ENTER).await;
    assert_eq!(failure(&browser).await, "Invalid code");
    browser.shoot("web-spent").await;
    browser.click(AGAIN).await;
    browser.until(QUERY).await;
    assert!(world.around.store.password_is("bjensen", "Fresh-Pass1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_cannot_be_served_is_told_to_come_later() {
    const BUSY: &str = "Too many requests, try again later";
    let Some(browser) = Browser::start().await else { return };
    let limited = async |limit: &str| {
        let more = format!("[limits]\n{limit} = \"1/10m\"");
        World::start(Policy::Open, |plan| plan.more = more, |text| text).await
    };
    let world = limited("start_per_client").await;
    world.ask(&browser, "bjensen@example.com").await;
    browser.click(BUTTON).await;
    browser.until(SENT).await;
    world.ask(&browser, "zoe@example.com").await;
    browser.click(BUTTON).await;
    assert_eq!(failure(&browser).await, BUSY);
    browser.shoot("web-busy").await;

    // One request is not even enough for the first form: the first failure is its POST's, the next one its GET's.
    let world = limited("client").await;
    let start = format!("{}#/passwordreset", world.home);
    world.follow(&browser, &start).await;
    assert_eq!(failure(&browser).await, BUSY);
    world.follow(&browser, &start).await;
    browser.until(&format!("document.querySelector('.notifications')?.textContent.includes('{BUSY}')")).await;

    let down = |plan: &mut Plan| plan.identity = format!("http://{NOBODY}/openidm");
    let world = World::start(Policy::Open, down, |text| text).await;
    world.ask(&browser, "bjensen@example.com").await;
    browser.click(BUTTON).await;
    assert_eq!(failure(&browser).await, "The service is not available, try again later");
    browser.shoot("web-down").await;

    // Mail has time: it is sent once its server is there.
    let down = |plan: &mut Plan| plan.mail = format!("transport = \"smtp://{NOBODY}\"");
    let world = World::start(Policy::Open, down, |text| text).await;
    world.ask(&browser, "bjensen@example.com").await;
    browser.click(BUTTON).await;
    browser.until(SENT).await;
}
