//! The mail relay, up to the point where a mail would be sent; or the folder in its place.

use std::{net::IpAddr, time::Duration};

use super::{
    clock::spelled,
    place::writable,
    reach::{Service, reach},
    sheet::Sheet,
};
use crate::{
    config::{Config, Place, Smtp, SmtpTls, Transport},
    mail::trial::{self, Dialogue, Step, Wrong},
    reset::ports::Time,
};

/// Of a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// A certificate that ends in less is warned of.
const SOON: u64 = 21 * 86_400;
/// The checks, by their steps.
const STEPS: [(Step, &str); 6] = [
    (Step::Hello, "hello"),
    (Step::StartTls, "tls"),
    (Step::Auth, "auth"),
    (Step::Sender, "sender"),
    (Step::Recipient, "recipient"),
    (Step::Letter, "letter"),
];

/// Goes through all of it. A letter is sent to `to` alone, if there is somebody.
pub(super) async fn examine(sheet: &mut Sheet, config: &Config, to: Option<(&str, &str)>, now: Time) {
    let relay = match &config.mail.transport {
        Transport::Smtp(relay) => relay,
        // Asked as the store is.
        Transport::Idm => return,
        Transport::File(path) => {
            match writable(path) {
                Ok(()) => sheet.ok("folder", format!("{} takes files", path.display())),
                Err(fault) => {
                    let cure = "let the user that runs resetgate write there, or name another in mail.transport";
                    sheet.fail("folder", format!("{}: {fault}", path.display()), cure);
                }
            }
            if to.is_some() {
                sheet.skip("letter", "mail.transport is a folder: nothing is sent");
            }
            return;
        }
    };
    let place = match relay.host.parse::<IpAddr>() {
        Ok(ip) => Place::Ip((ip, relay.port).into()),
        Err(_) if relay.host == "localhost" => Place::Ip(([127, 0, 0, 1], relay.port).into()),
        Err(_) => Place::Name(relay.host.clone(), relay.port),
    };
    // TLS is a part of the dialogue, which goes by mail's own settings.
    let places = [place];
    let (url, secure) = ("mail.transport", "smtps://");
    let service = Service { section: "mail", url, places: &places, tls: None, speaks: &[], secure, within: CONNECT };
    let mut own = Sheet::new("mail");
    let reached = reach(&mut own, &service, now).await.is_some();
    own.lines.retain(|line| line.check != "mail.tls");
    sheet.lines.append(&mut own.lines);
    let rest = || STEPS.iter().map(|(_, check)| *check).filter(|check| *check != "letter" || to.is_some());
    if !reached {
        return rest().for_each(|check| sheet.skip(check, "the relay cannot be reached"));
    }
    let Some(email) = config.reset.process.email() else { return };
    let dialogue = match trial::relay(&config.mail, relay, email, to, now).await {
        Ok(dialogue) => dialogue,
        Err(fault) => {
            sheet.fail("hello", fault.to_string(), "mend [mail], or the address of --mail-to");
            return rest().skip(1).for_each(|check| sheet.skip(check, "no dialogue can be begun"));
        }
    };
    judge(sheet, relay, &dialogue, to.is_some(), now);
}

fn judge(sheet: &mut Sheet, relay: &Smtp, dialogue: &Dialogue, letter: bool, now: Time) {
    let outcome = |step: Step| dialogue.steps.iter().find(|(made, _)| *made == step).map(|(_, outcome)| outcome);
    let failed = dialogue.steps.iter().find(|(step, outcome)| *step != Step::Recipient && outcome.is_err());
    for (step, check) in STEPS {
        match (step, outcome(step)) {
            (Step::StartTls, None) if outcome(Step::Hello).is_some_and(Result::is_ok) => {
                tls(sheet, relay, dialogue, now)
            }
            (Step::StartTls, Some(Ok(()))) => tls(sheet, relay, dialogue, now),
            (Step::Auth, None) if relay.credentials.is_none() && failed.is_none_or(|(step, _)| *step > Step::Auth) => {
                sheet.ok(check, "not wanted: mail.username is not set");
            }
            (Step::Letter, None) if !letter => {}
            (_, None) => sheet.skip(check, "the dialogue ended before it"),
            (_, Some(Ok(()))) => sheet.ok(check, done(step)),
            (_, Some(Err(wrong))) => {
                let (seen, cure) = told(step, wrong, relay);
                match step {
                    Step::Recipient => sheet.warn(check, seen, cure),
                    _ => sheet.fail(check, seen, cure),
                }
            }
        }
    }
}

const fn done(step: Step) -> &'static str {
    match step {
        Step::Hello => "it greets, and answers EHLO",
        Step::StartTls => "TLS by STARTTLS",
        Step::Auth => "it takes mail.username with mail.password",
        Step::Sender => "it takes mail from mail.from",
        Step::Recipient => "it would take mail for mail.from; nothing was sent",
        Step::Letter => "sent to the address of --mail-to; its link leads nowhere",
    }
}

fn tls(sheet: &mut Sheet, relay: &Smtp, dialogue: &Dialogue, now: Time) {
    const CHECK: &str = "tls";
    let local = relay.host == "localhost" || relay.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if !dialogue.encrypted {
        return match (local, dialogue.offers_tls) {
            (true, _) => sheet.ok(CHECK, "none, and none is needed: it is on this machine"),
            (false, true) => sheet.warn(
                CHECK,
                "none, although it offers STARTTLS: links and codes go over the network as they are",
                "have mail.transport begin with smtp+starttls://",
            ),
            (false, false) => sheet.warn(
                CHECK,
                "none, and it offers no STARTTLS: links and codes go over the network as they are",
                "let a mesh encrypt that way, or use a port of the relay with TLS: smtps:// (465), smtp+starttls:// (587)",
            ),
        };
    }
    let left = dialogue.ends.and_then(|end| u64::try_from(end).ok()).map(|end| end.saturating_sub(now.secs()));
    match left {
        Some(left @ ..SOON) => {
            let seen = format!("its certificate, or one that vouches for it, ends in {}", spelled(left));
            sheet.warn(CHECK, seen, "have it renewed in time, at the relay");
        }
        Some(left) => sheet.ok(CHECK, format!("its certificate is believed, for {} yet", spelled(left))),
        None => sheet.ok(CHECK, "its certificate is believed"),
    }
}

/// What was seen, and what to do.
fn told(step: Step, wrong: &Wrong, relay: &Smtp) -> (String, String) {
    if let Some((seen, cure)) = wrong.hint.and_then(|hint| hint.split_once(": ")) {
        return (seen.to_owned(), cure.to_owned());
    }
    let cure = match (step, wrong.code) {
        (Step::Hello, None) => match relay.tls {
            SmtpTls::Implicit => "see that the port is one with TLS from the start (465); others need smtp+starttls://",
            SmtpTls::None | SmtpTls::StartTls => {
                "see that the port is the relay's own; one with TLS from the start (465) needs smtps://"
            }
        },
        (Step::Hello, Some(_)) => "see the relay's own log: it does not want to speak with this machine (mail.helo?)",
        (Step::StartTls, None) => {
            "have the relay offer it (or use its submission port, 587), or smtps://host:465 in mail.transport; smtp:// would \
             send links and codes as they are"
        }
        (Step::StartTls, Some(_)) => "see the relay's own log: it offers STARTTLS, and does not begin",
        (Step::Auth, None) => "have the relay offer AUTH PLAIN or LOGIN there, or leave mail.username and password out",
        (Step::Auth, Some(_)) => "the relay does not take mail.username with mail.password: see both",
        (Step::Sender, Some(530 | 538)) => "the relay wants somebody to sign in: set mail.username and mail.password",
        (Step::Sender, _) => "let the relay send for mail.from, or name a sender in mail.from that it sends for",
        (Step::Recipient, _) => {
            "see whether the relay passes mail on for this machine (mail.username, or its list of networks); it may be \
             that mail.from has no mailbox"
        }
        (Step::Letter, _) => "see the relay's own log, and the address of --mail-to",
    };
    let what = match step {
        Step::Hello => "greeting and EHLO",
        Step::StartTls => "STARTTLS",
        Step::Auth => "AUTH",
        Step::Sender => "MAIL FROM mail.from",
        Step::Recipient => "RCPT TO mail.from",
        Step::Letter => "the letter",
    };
    (format!("{what}: {}", wrong.why), cure.to_owned())
}
