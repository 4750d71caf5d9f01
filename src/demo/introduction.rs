//! What the demo prints when it is up.

use std::{fmt::Write as _, net::SocketAddr};

use super::{Surroundings, store};

/// Whose password the walk resets, and to what.
const USER: &str = "bjensen";
const NEW: &str = "Fresh-Pass1";

/// The addresses, the accounts, and the whole flow by hand.
pub fn introduction(around: &Surroundings, listen: SocketAddr, admin: SocketAddr) -> String {
    let (store, mailbox, smtp) = (around.store.address(), around.mailbox.http_address(), around.mailbox.smtp_address());
    let places = [
        ("Reset page", format!("http://{listen}/"), "forgot a password? begin here"),
        ("Mailbox", format!("http://{mailbox}/"), &*format!("every mail arrives here (SMTP: {smtp})")),
        ("Gate", format!("http://{listen}/openidm/"), "answers selfservice/reset itself, passes the rest on"),
        ("Upstream", format!("http://{store}/openidm/"), "the identity store behind it"),
        ("Admin", format!("http://{admin}/metrics"), "and /livez, /readyz"),
    ];
    let mut text =
        "resetgate demo: everything in this process, on loopback, in memory, gone when it ends (Ctrl-C).\n\n"
            .to_owned();
    // Writing to a String cannot fail.
    for (name, address, what) in &places {
        let _ = writeln!(text, "  {name:<10} {address:<33} {what}");
    }
    text.push_str("\nAccounts:\n\n");
    let _ = writeln!(text, "  {:<10} {:<10} {:<22} status", "user name", "password", "mail");
    for user in store::accounts() {
        let mail = if user.text("mail").is_empty() { "(none)" } else { user.text("mail") };
        let _ = writeln!(
            text,
            "  {:<10} {:<10} {mail:<22} {}",
            user.text("userName"),
            user.password,
            user.text("accountStatus")
        );
    }
    let _ = write!(
        text,
        "\nWhoever is asked for, the answers are the same; only a mail to an active account's own address goes on.\n\
         An account gets one mail a minute and three an hour: an earlier link stays good meanwhile.\n\n\
         The whole flow by hand (bash, curl, sed), one line after the other or all at once:\n\n{}",
        walk(around, listen)
    );
    text
}

/// The flow as lines for bash, from the first request to the new password's first use.
pub fn walk(around: &Surroundings, listen: SocketAddr) -> String {
    let mailbox = around.mailbox.http_address();
    let old = store::accounts().into_iter().find(|user| user.text("userName") == USER);
    let old = old.map(|user| user.password).unwrap_or_default();
    WALK.replace("%gate%", &listen.to_string())
        .replace("%mailbox%", &mailbox.to_string())
        .replace("%user%", USER)
        .replace("%old%", &old)
        .replace("%new%", NEW)
}

const WALK: &str = r##"export no_proxy=127.0.0.1 GATE=http://%gate% MAILBOX=http://%mailbox%
RESET="$GATE/openidm/selfservice/reset"
post() { curl -sS "$RESET?_action=submitRequirements" -H 'Content-Type: application/json' -H 'X-Requested-With: XMLHttpRequest' -d "$1"; }
login() { curl -sS -o /dev/null -w '%{http_code}\n' "$GATE/openidm/authentication?_action=login" -H 'X-Requested-With: XMLHttpRequest' -H "X-OpenIDM-Username: $1" -H "X-OpenIDM-Password: $2" -d ''; }
token() { sed -n 's/.*"token":"\([^"]*\)".*/\1/p'; }

# 1. What the flow begins with
curl -sS "$RESET"; echo

# 2. Begin it
TOKEN=$(post '{"input":{}}' | token)

# 3. Say whose password: the answer is the same for anyone
SEEN=$(curl -sS "$MAILBOX/count")
post '{"input":{"queryFilter":"userName eq \"%user%\""},"token":"'"$TOKEN"'"}'; echo

# 4. Open the mail, which waits up to 20 seconds for one: its link holds a token and a code
MAIL=$(curl -sS "$MAILBOX/mails?after=$SEEN"); echo "$MAIL"
TOKEN=$(echo "$MAIL" | sed -n 's/.*&token=\([A-Za-z0-9._~-]*\)&code=.*/\1/p')
CODE=$(echo "$MAIL" | sed -n 's/.*&code=\([A-Za-z0-9._~-]*\).*/\1/p')

# 5. Show them
TOKEN=$(post '{"input":{"code":"'"$CODE"'"},"token":"'"$TOKEN"'"}' | token)

# 6. A weak password is refused, with the reasons and a fresh token
ANSWER=$(post '{"input":{"password":"weak"},"token":"'"$TOKEN"'"}'); echo "$ANSWER"
TOKEN=$(echo "$ANSWER" | token)

# 7. A good one is set
post '{"input":{"password":"%new%"},"token":"'"$TOKEN"'"}'; echo

# 8. The new password signs in (200), the old one does not (401)
login %user% %new%
login %user% %old%

# 9. Any other path arrives at the upstream as it was sent
curl -sS "$GATE/openidm/info/ping"; echo
curl -sS "$GATE/any//other%2Fpath?x=%20y"; echo
"##;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tells_everything_in_order() {
        let around = super::super::surroundings().await.unwrap();
        let (listen, admin) = (([127, 0, 0, 1], 7_001).into(), ([127, 0, 0, 1], 7_002).into());
        let text = introduction(&around, listen, admin);
        let mut rest = text.as_str();
        for part in [
            "http://127.0.0.1:7001/",
            &format!("http://{}/", around.mailbox.http_address()),
            &around.mailbox.smtp_address().to_string(),
            &format!("http://{}/openidm", around.store.address()),
            "http://127.0.0.1:7002/metrics",
            "bjensen    Secret12   bjensen@example.com    active",
            "zoë",
            "o'brien",
            "pat",
            "sam",
            "dormant@example.com    inactive",
            "(none)",
            "GATE=http://127.0.0.1:7001 MAILBOX=http://127.0.0.1:",
            "curl -sS \"$RESET\"",
            "TOKEN=$(post '{\"input\":{}}' | token)",
            "userName eq \\\"bjensen\\\"",
            "$MAILBOX/mails?after=$SEEN",
            "\"code\":\"'\"$CODE\"'\"",
            "\"password\":\"weak\"",
            "\"password\":\"Fresh-Pass1\"",
            "login bjensen Fresh-Pass1\n",
            "login bjensen Secret12\n",
            "$GATE/openidm/info/ping",
        ] {
            let at = rest.find(part).unwrap_or_else(|| panic!("{part} is missing, or too early, in\n{text}"));
            rest = &rest[at + part.len()..];
        }
        for placeholder in ["%gate%", "%mailbox%", "%user%", "%old%", "%new%"] {
            assert!(!text.contains(placeholder), "{placeholder}");
        }
    }
}
