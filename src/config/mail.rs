//! `[mail]`: how mail leaves, and from whom.

use std::{fmt, path::PathBuf};

use super::{
    Secret,
    process::ProcessFile,
    raw::{MISSING, Section},
    secret::{EXPOSED, Surroundings},
    units,
    wording::{Wording, wording},
};

/// `[mail]`
#[derive(Debug)]
pub struct Mail {
    /// How mail leaves.
    pub transport: Transport,
    /// The sender: one mailbox. None only where IDM's own mail service is to say.
    pub from: Option<String>,
    /// In which words.
    pub wording: Wording,
    /// `EHLO` name, where not the host's own.
    pub helo: Option<String>,
    /// Mails waiting, decoys included.
    pub capacity: usize,
    /// Of these, how many may be of clients that asked a moment ago.
    pub later: usize,
}

/// How mail leaves.
#[derive(Debug)]
pub enum Transport {
    /// Over SMTP.
    Smtp(Smtp),
    /// By IDM's own mail service, where the process file says that it is.
    Idm,
    /// Into a folder, one file (0600) a mail: for development.
    File(PathBuf),
}

/// An SMTP relay.
pub struct Smtp {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether and how it is encrypted.
    pub tls: SmtpTls,
    /// A PEM file of additional roots to trust, already read.
    pub ca: Option<String>,
    /// `AUTH`, where asked for.
    pub credentials: Option<(String, Secret)>,
}

/// All but who sends.
impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// Encryption of SMTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// `smtp://`
    None,
    /// `smtp+starttls://`: required.
    StartTls,
    /// `smtps://`
    Implicit,
}

/// Reads the section. Who sends is the process file's word where this section has none.
pub(super) fn mail(
    mut section: Section<'_>,
    process: Option<&ProcessFile<'_>>,
    around: &Surroundings<'_>,
) -> Option<Mail> {
    let allow_plaintext = section.flag("allow_plaintext");
    let credentials = credentials(&mut section, around);
    let ca = section.optional("ca", |text| {
        let pem = around.read(text)?;
        if pem.contains("-----BEGIN CERTIFICATE-----") {
            Ok(pem)
        } else {
            Err("must name a PEM certificate".to_owned())
        }
    });
    let transport = section.or("transport", "smtp://127.0.0.1:25", |text| match text.strip_prefix("file:") {
        Some("") => Err("must name a folder after file:".to_owned()),
        Some(dir) => around.place(dir).map(Way::File),
        None if text == "idm" => Ok(Way::Idm),
        None => units::relay(text).map(|(tls, host, port)| Way::Smtp(tls, host, port)),
    });
    let transport = match transport {
        Some(Way::File(dir)) => {
            section.warn("transport", "sends no mail: it is for development");
            of_a_relay(&section, "a file: transport");
            Some(Transport::File(dir))
        }
        Some(Way::Idm) => {
            of_a_relay(&section, "transport = \"idm\", which asks as identity.auth");
            if process.is_some_and(|process| process.mails() && !process.has_mail_service()) {
                section.fault("transport", "needs emailServiceUrl in the process file's emailValidation stage");
            }
            Some(Transport::Idm)
        }
        Some(Way::Smtp(tls, host, port)) => {
            if tls == SmtpTls::None {
                check_plaintext(&section, units::is_loopback(&host), allow_plaintext);
            }
            let host = match host {
                url::Host::Ipv6(ip) => ip.to_string(),
                host => host.to_string(),
            };
            match (ca, credentials) {
                (Some(ca), Some(credentials)) => Some(Transport::Smtp(Smtp { host, port, tls, ca, credentials })),
                _ => None,
            }
        }
        None => None,
    };
    let from = match section.optional("from", units::mailbox) {
        Some(None) => {
            // Without a process file nobody knows yet whether this one is missing.
            let missing = process.is_some_and(|process| process.mails() && !process.has_from());
            let idm_says = matches!(transport, Some(Transport::Idm));
            if missing && !idm_says {
                section.fault("from", &format!("{MISSING}, here or in the process file's emailValidation stage"));
            }
            let silent = process.is_some_and(|process| !process.mails());
            match process.and_then(ProcessFile::from) {
                None if silent => Some(None),
                None if !(missing && idm_says) => None,
                from => Some(from),
            }
        }
        from => from,
    };
    let helo = section.optional("helo", |text| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if text.chars().all(plain) { Ok(text.to_owned()) } else { Err("must be a host name or [address]".to_owned()) }
    });
    let wording = wording(&mut section, around);
    let capacity = section.number("capacity", 10_000, 1..=1_000_000);
    section.finish();
    let capacity = usize::try_from(capacity?).ok()?;
    Some(Mail { transport: transport?, from: from?, wording: wording?, helo: helo?, capacity, later: capacity })
}

/// What only a relay has.
fn of_a_relay(section: &Section<'_>, with: &str) {
    section.means("allow_plaintext", None);
    for key in ["username", "password", "ca", "helo", "allow_plaintext"] {
        if section.has(key) {
            section.fault(key, &format!("means nothing with {with}"));
        }
    }
}

enum Way {
    File(PathBuf),
    Idm,
    Smtp(SmtpTls, url::Host, u16),
}

#[allow(clippy::option_option, reason = "missing and wrong are two things")]
fn credentials(section: &mut Section<'_>, around: &Surroundings<'_>) -> Option<Option<(String, Secret)>> {
    section.hide("password");
    let username = section.optional("username", units::printable);
    let password = section.optional("password", |text| around.secret(text));
    match (section.has("username"), section.has("password")) {
        (true, false) => section.fault("username", "must come with mail.password"),
        (false, true) => section.fault("password", "must come with mail.username"),
        _ => {}
    }
    let password = password?;
    if password.as_ref().is_some_and(|found| found.exposed) {
        section.warn("password", EXPOSED);
    }
    Some(username?.zip(password.map(|found| found.text)))
}

fn check_plaintext(section: &Section<'_>, loopback: bool, allowed: bool) {
    if section.has("ca") {
        section.fault("ca", "means nothing with smtp://: use smtp+starttls:// or smtps://");
    }
    if loopback {
        return;
    }
    if section.has("password") {
        section.fault(
            "transport",
            "must not send mail.password in the clear beyond loopback: use smtp+starttls:// or smtps://",
        );
    } else if !allowed {
        section.fault("transport", "is plaintext beyond loopback: use TLS, or set mail.allow_plaintext = true");
    }
}
