//! `[after]`, key by key.

use http::Method;

use super::*;
use crate::config::{AfterAt, Called, Notice, Piece};

fn folder() -> Folder {
    let folder = Folder::new();
    folder.put("keys/webhook", &format!("whsec_{CURRENT}\n"));
    folder.put("keys/am", "am-session\n");
    folder
}

fn faults(after: &str) -> Vec<String> {
    let toml = format!("{GOOD}{after}\n");
    let faults = folder().load(&toml).expect_err(after);
    faults.iter().map(|fault| fault.split_once(": ").unwrap().1.to_owned()).collect()
}

#[test]
fn an_owner_is_told_and_nobody_else_unless_the_operator_says_so() {
    let after = folder().good(GOOD).after;
    assert_eq!(after.lifetime, Duration::from_secs(3600));
    assert_eq!(after.notice, Some(Notice { attributes: vec![], client: false }));
    assert!(after.webhook.is_none() && after.revoke.is_empty());
    let off = folder().good(&format!("{GOOD}[after]\nlifetime = \"24h\"\n[after.notice]\nmail = \"off\"\n")).after;
    assert_eq!((off.lifetime, off.notice), (Duration::from_secs(86_400), None));
    let more = "[after.notice]\nattributes = [\"recoveryMail\", \"profile/mails\"]\nclient = true\n";
    let notice = folder().good(&format!("{GOOD}{more}")).after.notice.unwrap();
    assert_eq!(
        (notice.attributes.as_slice(), notice.client),
        (["recoveryMail", "profile/mails"].map(str::to_owned).as_slice(), true)
    );
}

#[test]
fn a_webhook_and_calls_are_read_whole_with_the_files_that_they_name() {
    let toml = format!(
        r#"{GOOD}
[after.webhook]
url = "https://hooks.example.com/reset?of=us"
timeout = "2s"
secrets = ["file:keys/webhook", "file:keys/current"]
account = "hash"
[after.webhook.tls]
server_name = "hooks.internal"
[[after.revoke]]
url = "https://am.example.com/am/json/sessions/?_action=logoutByUser"
headers = ["iPlanetDirectoryPro: file:keys/am", "Accept-API-Version: resource=5.1"]
body = '{{"username": "{{userName}}"}}'
[[after.revoke]]
url = "identity:managed/user/{{id}}/sessions?at={{time}}&of={{request}}&x={{profile/x}}"
method = "DELETE"
"#
    );
    let config = folder().good(&toml);
    let webhook = config.after.webhook.as_ref().unwrap();
    assert_eq!(webhook.service.url.as_str(), "https://hooks.example.com/reset?of=us");
    assert_eq!((webhook.service.timeout, webhook.account), (Duration::from_secs(2), Called::Hash));
    assert_eq!(webhook.service.tls.as_ref().unwrap().server_name.as_deref(), Some("hooks.internal"));
    assert!(webhook.secrets.iter().all(|secret| secret.expose().len() == 32) && webhook.secrets.len() == 2);
    let [am, own] = &config.after.revoke[..] else { panic!("two calls") };
    assert!(matches!(&am.at, AfterAt::Service(service) if service.timeout == Duration::from_secs(5)));
    assert_eq!((am.method.clone(), own.method.clone()), (Method::POST, Method::DELETE));
    assert!(am.headers.iter().any(|(name, value)| name == "iplanetdirectorypro" && value == "am-session"));
    assert_eq!(am.body.as_ref().unwrap().attributes().collect::<Vec<_>>(), ["userName"]);
    assert_eq!((&own.at, own.url.attributes().collect::<Vec<_>>()), (&AfterAt::Identity, vec!["profile/x"]));
    let filled = own.url.fill(
        |piece| match piece {
            Piece::Id => Some("I"),
            Piece::Time => Some("T"),
            Piece::Request => Some("R"),
            _ => Some("X"),
        },
        str::to_owned,
    );
    assert_eq!(filled.unwrap(), "managed/user/I/sessions?at=T&of=R&x=X");
    for file in ["keys/webhook", "keys/am"] {
        assert!(config.files.iter().any(|known| known.ends_with(file)), "{file} is watched");
    }
    let shown = format!("{:?}{}", config.after, config.effective.toml());
    assert!(!shown.contains("am-session") && !shown.contains(CURRENT), "{shown}");
}

#[test]
fn every_fault_of_it_is_named() {
    let hook = |lines: &str| format!("[after.webhook]\nurl = \"https://h.example/\"\n{lines}");
    let secrets = "secrets = [\"file:keys/webhook\"]\n";
    let call = |url: &str, lines: &str| format!("[[after.revoke]]\nurl = \"{url}\"\n{lines}");
    for (after, fault) in [
        ("[after]\nlifetime = \"25h\"".to_owned(), "after.lifetime = \"25h\": must be from 1m to 24h"),
        ("[after.notice]\nmail = \"maybe\"".to_owned(), "after.notice.mail = \"maybe\": must be \"on\" or \"off\""),
        (
            "[after.notice]\nmail = \"off\"\nclient = true".to_owned(),
            "after.notice.client = true: means nothing with mail = \"off\"",
        ),
        (
            "[after.notice]\nattributes = [\"a b\"]".to_owned(),
            "after.notice.attributes[0] = \"a b\": must be an attribute's name",
        ),
        (
            "[after.webhook]\naccount = \"id\"".to_owned(),
            "after.webhook.account = \"id\": means nothing without after.webhook.url",
        ),
        (hook(""), "after.webhook.secrets: must be set: at least one, which `resetgate key` makes"),
        (
            hook("secrets = [\"file:keys/am\"]"),
            "after.webhook.secrets[0] = \"file:keys/am\": must lead to the base64 of 24 to 64 bytes, such as `resetgate key` \
             makes, with whsec_ before it or not",
        ),
        (
            hook("secrets = [\"hunter2\"]"),
            "after.webhook.secrets[0] = …: must be \"env:NAME\" or \"file:path\": a secret does not stand in this file",
        ),
        (
            hook(secrets).replace("https", "http"),
            "after.webhook.url = \"http://h.example/\": is plaintext beyond loopback: use https, or set allow_plaintext = \
             true beside it",
        ),
        (hook(&format!("{secrets}account = \"name\"")), "after.webhook.account = \"name\": must be \"id\" or \"hash\""),
        (
            call("https://{id}.example/", ""),
            "after.revoke[0].url = \"https://{id}.example/\": must not have a placeholder in its host",
        ),
        (
            call("identity:/managed/../user", ""),
            "after.revoke[0].url = \"identity:/managed/../user\": must have a relative path after identity:, such as \
             identity:managed/user/{id}?_action=logout",
        ),
        (
            call("identity:managed/user", "timeout = \"5s\""),
            "after.revoke[0].timeout = \"5s\": means nothing with identity:, which is asked as [identity] says",
        ),
        (
            call("https://am.example/", "method = \"GET\""),
            "after.revoke[0].method = \"GET\": must be POST, PUT, PATCH or DELETE",
        ),
        (
            call("https://am.example/", "headers = [\"authorization: hunter2\"]"),
            "after.revoke[0].headers[0] = …: must be \"name: env:NAME\" or \"name: file:path\": only accept, \
             accept-api-version, content-type, if-match, x-openidm-nosession, x-openidm-username, x-requested-with may stand \
             in this file",
        ),
        (
            call("https://am.example/", "headers = [\"host: x\"]"),
            "after.revoke[0].headers[0] = …: must not be a header that a call has anyway",
        ),
        (
            call("https://am.example/", "body = \"{id}\""),
            "after.revoke[0].body = \"{id}\": must be JSON, with placeholders such as {id} within texts alone",
        ),
        (call("https://am.example/", "").repeat(9), "after.revoke = [[after.revoke]]: must be 8 calls at most"),
    ] {
        assert_eq!(faults(&after), [fault], "{after}");
    }
}
