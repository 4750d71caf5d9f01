//! The mails: each in every language, with a link as long as a real one; and where that link leads.

use std::net::IpAddr;

use url::{Host, Url};

use super::sheet::{Sheet, listed};
use crate::{
    config::Config,
    keys::RingKeys,
    mail::trial,
    reset::{
        ports::{Keys, Time},
        process::EmailSettings,
        token,
    },
};

/// Longer links are cut by some mail programs.
const LONG: usize = 2000;
/// Larger mails are cut by some mail services.
const LARGE: usize = 100_000;

/// A link as long as a real one, and as good as none.
pub(super) fn sample(config: &Config, email: &EmailSettings) -> String {
    let token = RingKeys::new(&config.token.keys, &[0; 32])
        .ok()
        .and_then(|keys| keys.seal(token::sample().expose(), Time::from_millis(0)))
        .unwrap_or_default();
    format!("{}&token={token}&code={}", email.verification_link, "A".repeat(22))
}

/// Goes through all of it.
pub(super) fn examine(sheet: &mut Sheet, config: &Config, now: Time) {
    let Some(email) = config.reset.process.email() else { return };
    let link = sample(config, email);
    judge_link(sheet, email, &link);
    let rendered = match trial::render(&config.mail, email, config.codes.digits, &link, now) {
        Ok(rendered) => rendered,
        Err(fault) => {
            return sheet.fail("letters", fault.to_string(), "mend the emailValidation stage of the process file");
        }
    };
    let told = |wanted: fn(&str) -> bool| {
        let faulty = rendered.iter().filter_map(|letter| {
            let faults: Vec<_> = letter.faults.iter().map(String::as_str).filter(|fault| wanted(fault)).collect();
            (!faults.is_empty()).then(|| format!("{} {}", letter.language, faults.join(" and ")))
        });
        faulty.collect::<Vec<_>>()
    };
    let is_foreign = |fault: &str| fault.contains("of its own, but that in");
    let (broken, foreign) = (told(|fault| !fault.contains("of its own, but that in")), told(is_foreign));
    let languages = listed(rendered.iter().map(|letter| &letter.language));
    let largest = rendered.iter().map(|letter| letter.bytes).max().unwrap_or_default();
    if !broken.is_empty() {
        let cure = "mend subjectTranslations and messageTranslations of the emailValidation stage in the process file";
        return sheet.fail("letters", listed(broken), cure);
    }
    if !foreign.is_empty() {
        let cure = "give each language both, in subjectTranslations and messageTranslations of the process file";
        return sheet.warn("letters", listed(foreign), cure);
    }
    if largest > LARGE {
        let cure = "make messageTranslations in the process file shorter: some mail services cut what is longer";
        return sheet.warn("letters", format!("up to {largest} bytes"), cure);
    }
    sheet.ok("letters", format!("written and read again in {languages}; up to {largest} bytes"));
}

fn judge_link(sheet: &mut Sheet, email: &EmailSettings, link: &str) {
    const CHECK: &str = "link";
    const KEY: &str = "emailValidation.verificationLink in the process file";
    let base = &email.verification_link;
    let Ok(url) = Url::parse(base) else {
        return sheet.fail(CHECK, format!("{base} is no URL"), format!("mend {KEY}"));
    };
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback() || ip.is_unspecified(),
        None => false,
    };
    if local {
        let seen = format!("{base} leads to this machine, which is not where mail is read");
        return sheet.fail(CHECK, seen, format!("have {KEY} be the page's public address"));
    }
    if url.scheme() != "https" {
        let seen = format!("{base} shows the code to the network");
        return sheet.warn(CHECK, seen, format!("have {KEY} begin with https://"));
    }
    let ip: Option<IpAddr> = match url.host() {
        Some(Host::Ipv4(ip)) => Some(ip.into()),
        Some(Host::Ipv6(ip)) => Some(ip.into()),
        _ => None,
    };
    let bare = matches!(url.host(), Some(Host::Domain(name)) if !name.contains('.'));
    if ip.is_some() || bare {
        let seen = format!("{base} has no public name, so that hardly anybody outside can follow it");
        return sheet.warn(CHECK, seen, format!("have {KEY} name a host that all readers know"));
    }
    if url.fragment().is_none() {
        let seen = format!("{base} has no #: the code goes to that server with the request, and into its logs");
        return sheet.warn(CHECK, seen, format!("have {KEY} end in the client's route, such as /#/passwordreset/"));
    }
    if link.len() > LONG {
        let seen = format!("a whole link has {} characters, and some mail programs cut it", link.len());
        return sheet.warn(CHECK, seen, format!("make {KEY} shorter"));
    }
    sheet.ok(CHECK, format!("{base}, {} characters when whole", link.len()));
}
