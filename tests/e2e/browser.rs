//! The demo's page in a browser, as a person walks it.

use serde_json::Value;

use crate::{
    demo::Demo,
    support::{driver::Browser, setup::client, soon},
};

const WEAK: &str = "weak";
const GOOD: &str = "Fresh-Pass1";

fn shown(step: &str) -> String {
    format!("!document.getElementById('{step}').hidden && document.querySelector('main').ariaBusy !== 'true'")
}

fn says(id: &str, text: &str) -> String {
    format!("document.getElementById('{id}').textContent.includes('{text}')")
}

async fn read(url: &str) -> Value {
    let text = soon(url, async { client().get(url).send().await.unwrap().text().await.unwrap() }).await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_resets_a_password() {
    let Some(browser) = Browser::start().await else { return };
    let demo = Demo::start().await;
    browser.open(&demo.page).await;
    browser.until(&shown("find")).await;
    browser.shoot("1-find").await;
    browser.fill("#who", "bjensen").await;
    browser.double_click("#find button").await;
    browser.until(&shown("sent")).await;
    browser.shoot("2-sent").await;

    let mails = read(&format!("{}/mails?after=0", demo.mailbox)).await;
    let links = mails[0]["links"].as_array().unwrap();
    let link = links.iter().filter_map(Value::as_str).find(|link| link.contains("&token=")).unwrap().to_owned();
    browser.open(&demo.mailbox).await;
    browser.shoot("3-mailbox").await;

    // In a tab of its own, as a mail program opens it; and again, as people do.
    browser.open_tab().await;
    browser.open(&link).await;
    browser.until(&shown("choose")).await;
    assert_eq!(browser.run("return location.href").await, format!("{}/", demo.page), "the link is not left about");
    browser.shoot("4-choose").await;
    browser.reload().await;
    browser.until(&shown("choose")).await;

    browser.fill("#first", GOOD).await;
    browser.fill("#second", WEAK).await;
    browser.click("#choose button").await;
    browser.until(&says("error", "not the same")).await;
    browser.fill("#first", WEAK).await;
    browser.click("#choose button").await;
    browser.until("document.querySelectorAll('#failures li').length >= 2").await;
    let reasons = browser.text("#failures").await;
    assert!(reasons.contains("at least 8 characters") && reasons.contains("capital letters"), "{reasons}");
    browser.shoot("5-weak").await;
    browser.fill("#first", GOOD).await;
    browser.fill("#second", GOOD).await;
    browser.double_click("#choose button").await;
    browser.until(&shown("done")).await;
    assert_eq!(browser.text("#error").await, "");
    browser.shoot("6-done").await;

    browser.fill("#user", "bjensen").await;
    browser.fill("#secret", "Secret12").await;
    browser.click("#login button").await;
    browser.until("document.getElementById('error').textContent").await;
    assert_eq!(browser.text("#error").await, "The user name or the password is wrong.");
    browser.shoot("7-refused").await;
    browser.fill("#secret", GOOD).await;
    browser.click("#login button").await;
    browser.until(&says("status", "the new password works")).await;
    browser.shoot("8-signed-in").await;

    // A reload after the end begins anew; the link is spent.
    browser.reload().await;
    browser.until(&shown("find")).await;
    browser.open_tab().await;
    browser.open(&link).await;
    // The first answer to it is still repeated, as to a double click; but it sets nothing any more.
    browser.until(&shown("choose")).await;
    browser.fill("#first", "Another-Pass1").await;
    browser.fill("#second", "Another-Pass1").await;
    browser.click("#choose button").await;
    browser.until("document.getElementById('error').textContent && !document.getElementById('again').hidden").await;
    assert!(browser.text("#error").await.starts_with("This link does not work any more."));
    browser.shoot("9-spent").await;
    browser.click("#again").await;
    browser.until(&shown("find")).await;
    let told = read(&format!("{}/mails?after=1", demo.mailbox)).await;
    assert_eq!(told[0]["links"], serde_json::json!([]), "it is only told that it was used");
    assert_eq!(read(&format!("{}/count", demo.mailbox)).await, 2);
}
