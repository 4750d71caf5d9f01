//! Who tells the page of the password policy, without which it has no form.

use super::{BUTTON, CHOOSE, DONE, LOGIN, Policy, SECURE, SENT, UNMET, World};
use crate::support::driver::{Browser, ENTER};

/// As the store's.
const LOCAL: &str = "[policy]\nsource = \"local\"\nmin_length = 8\nmin_upper = 1\nmin_digits = 1";
const SERVICE: &str = "[policy]\nsource = \"service\"";

async fn follow_a_link(world: &World, browser: &Browser) {
    world.ask(browser, "bjensen@example.com").await;
    browser.click(BUTTON).await;
    browser.until(SENT).await;
    world.follow(browser, &world.link(1).await).await;
}

/// IDM closes its policy together with its own reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_idm_keeps_its_policy_to_itself_the_gate_tells_it() {
    let Some(browser) = Browser::start().await else { return };
    let world = World::start(Policy::Closed, |_| {}, |text| text).await;
    follow_a_link(&world, &browser).await;
    browser.until(LOGIN).await;

    for source in [LOCAL, SERVICE] {
        let world = World::start(Policy::Closed, |plan| plan.more = source.into(), |text| text).await;
        follow_a_link(&world, &browser).await;
        browser.until(CHOOSE).await;
        browser.fill("input[name=password]", "Weak1").await;
        browser.until(&format!("{UNMET} === 'Must be 8 characters long'")).await;
        browser.shoot("web-policy").await;
        // It is posted all the same.
        browser.press(BUTTON, ENTER).await;
        browser.fill("input[name=password]", "Xbjensen1").await;
        browser.press(BUTTON, ENTER).await;
        // From a refusal on the page shows what was refused, and nothing of it is on its list.
        browser.until(&format!("document.querySelectorAll('#app li').length && !({SECURE}) && {UNMET} === ''")).await;
        assert_eq!(world.around.store.patches(), 0, "{source}");
        browser.fill("input[name=password]", "Fresh-Pass1").await;
        browser.press(BUTTON, ENTER).await;
        browser.until(DONE).await;
        assert!(world.around.store.password_is("bjensen", "Fresh-Pass1"));
        let passed = world.site.seen().into_iter().filter(|seen| seen.target().contains("/policy/")).count();
        assert_eq!(passed, 0, "{source}: the gate answers itself");
    }
}
