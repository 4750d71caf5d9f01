//! Services that are asked only now and then: who judges captchas, who hears of passwords, who ends sessions.

use super::{Right, Told, whole};
use crate::support::{
    setup::{NOBODY, Plan},
    upstream::Upstream,
};

#[tokio::test]
async fn who_is_called_when_a_password_is_set_can_be_reached_or_is_named() {
    let right = Right::start().await;
    let told = async |webhook: &str, revoke: &str| {
        let more = format!(
            "[after.webhook]\nurl = \"http://{webhook}/hook\"\nsecrets = [\"file:key-B\"]\n\
             [[after.revoke]]\nurl = \"http://{revoke}/sessions/{{id}}\"\n"
        );
        Told::of(&whole(&Plan { more, ..right.plan() }), &[]).await
    };
    let there = Upstream::start().await;
    let address = there.address.to_string();
    let all = told(&address, &address).await;
    all.has("webhook.connect", "ok", &address, "");
    all.has("revoke.connect", "ok", &address, "");
    assert_eq!(there.count(), 0, "nobody is told of a password that nobody set");
    let gone = told(NOBODY, NOBODY).await;
    gone.fails("webhook.connect", NOBODY, "after.webhook.url");
    gone.fails("revoke.connect", NOBODY, "after.revoke.url");
}
