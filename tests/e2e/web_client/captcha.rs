//! A captcha first: the page brings in the service's script, which here a double of it stands for.

use serde_json::{Value, json};

use super::{BUTTON, FAILED, Policy, QUERY, SENT, World};
use crate::support::{
    driver::Browser,
    setup::PATH,
    upstream::{Seen, Upstream},
};

/// Shows whose key it has, and is solved by a call.
const WIDGET: &str = "window.grecaptcha = {
    render: (place, {sitekey, callback}) => {
        document.getElementById(place).textContent = `Captcha of ${sitekey}`;
        window.solve = callback;
    },
};";
const ASKED: &str = "document.getElementById('recaptchaContainer')?.textContent === 'Captcha of site-key'";

fn judge(seen: &Seen) -> Vec<u8> {
    let good = String::from_utf8_lossy(&seen.body).contains("response=good");
    let body = json!({"success": good}).to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_solves_a_captcha_on_idms_own_page() {
    let Some(browser) = Browser::start().await else { return };
    let service = Upstream::answering(judge).await;
    let uri = format!("http://{}/siteverify", service.address);
    let with_captcha = |text: String| {
        let mut process: Value = serde_json::from_str(&text).unwrap();
        let stage = json!({
            "name": "captcha",
            "recaptchaSiteKey": "site-key",
            "recaptchaSecretKey": "secret-key",
            "recaptchaUri": uri,
        });
        process["stageConfigs"].as_array_mut().unwrap().insert(1, stage);
        process.to_string()
    };
    let world = World::start(Policy::Open, |_| {}, with_captcha).await;
    browser.prepare(WIDGET).await;
    let start = format!("{}#/passwordreset", world.home);
    world.follow(&browser, &start).await;
    browser.until(ASKED).await;
    browser.shoot("web-captcha").await;
    browser.run("solve('bad')").await;
    browser.until(FAILED).await;
    assert_eq!(browser.text("#app .alert-danger p").await, "Recaptcha verification is unsuccessful");

    world.follow(&browser, &start).await;
    browser.until(ASKED).await;
    // Nothing says that a widget calls once.
    browser.run("solve('good'); solve('good')").await;
    browser.until(QUERY).await;
    let posts = world.posts();
    let solved = json!({"response": "good", "g-recaptcha-response": "good"});
    assert_eq!(posts.iter().filter(|post| post.json()["input"] == solved).count(), 2);
    assert_eq!(service.count(), 2, "the second of two equal ones asks nobody");
    browser.fill("input[name=mail]", "bjensen@example.com").await;
    browser.click(BUTTON).await;
    browser.until(SENT).await;
    world.around.mail(1).await;
    assert!(world.site.seen().iter().all(|seen| !seen.target().starts_with(PATH)));
}
