//! The notice: what an account's owner reads when its password was set. It has no link and no code in it, and no word of
//! whoever set it, but where that was, if the operator wants it said.

use std::net::{Ipv4Addr, Ipv6Addr};

use lettre::message::Mailbox;

use super::{
    StartError,
    language::choose,
    letter::{Unwritable, Written, address, clean, html_of, one_line, prefer, same, sender, words_of},
};
use crate::{
    config::Wording,
    reset::ports::{Client, Notice, Secret, Time},
    telemetry::audit::time,
};

/// Stands for when it was, in UTC.
pub(super) const TIME_TOKEN: &str = "%time%";
/// Stands for the address, or the network, that it was done from.
pub(super) const CLIENT_TOKEN: &str = "%client%";

/// The notices of one configuration.
pub(super) struct Notices {
    from: Option<Mailbox>,
    texts: Vec<(String, Text)>,
}

/// A notice in one language.
struct Text {
    subject: String,
    plain: Body,
    /// The same, and where it was done from.
    telling: Body,
}

/// Both parts of a body.
struct Body {
    text: String,
    html: String,
}

impl Body {
    fn new(tag: &str, text: &str) -> Self {
        let text = clean(text);
        Self { html: html_of(tag, &text), text }
    }

    /// Of the parts that there are; `None` if there is none.
    fn of(tag: &str, text: Option<&str>, html: Option<&str>) -> Option<Self> {
        let html = html.map(clean);
        let text = text.map(clean).or_else(|| html.as_deref().map(words_of))?;
        Some(Self { html: html.unwrap_or_else(|| html_of(tag, &text)), text })
    }
}

impl Notices {
    /// Those in our own words and, before these, in the operator's, which say themselves where it was done from if they
    /// want to.
    pub(super) fn new(from: Option<&str>, wording: &Wording) -> Result<Self, StartError> {
        let own = |[tag, subject, text, client]: &[&str; 4]| {
            let (plain, telling) = (Body::new(tag, text), Body::new(tag, &format!("{text}\n{client}\n")));
            ((*tag).to_owned(), Text { subject: one_line(subject), plain, telling })
        };
        let mut texts: Vec<_> = OWN.iter().map(own).collect();
        for template in &wording.notice {
            let body = || Body::of(&template.tag, template.text.as_deref(), template.html.as_deref());
            let subject = template.subject.as_deref().map(one_line);
            let known = texts.iter().position(|(tag, _)| same(tag, &template.tag));
            let (_, text) = match known.and_then(|at| texts.get_mut(at)) {
                Some(text) => text,
                None => {
                    // In a language that we have no words in: what it does not say is said in English.
                    let Some(english) = OWN.first() else { continue };
                    texts.push((template.tag.clone(), own(english).1));
                    let Some(text) = texts.last_mut() else { continue };
                    text
                }
            };
            if let Some(subject) = subject {
                text.subject = subject;
            }
            if let (Some(plain), Some(telling)) = (body(), body()) {
                (text.plain, text.telling) = (plain, telling);
            }
        }
        prefer(&mut texts, &wording.locale);
        Ok(Self { from: from.map(sender).transpose()?, texts })
    }

    /// Writes one as of `now`. `id` makes its `Message-ID`.
    pub(super) fn write(&self, notice: &Notice, now: Time, id: &str) -> Result<Written, Unwritable> {
        let (_, text) = choose(&self.texts, &notice.languages).ok_or(Unwritable)?;
        let when = minute(notice.at);
        let client = client(notice.source.client).filter(|_| notice.tells_client);
        let body = if client.is_some() { &text.telling } else { &text.plain };
        let client = client.unwrap_or_default();
        let filled = |part: &str| Secret::new(part.replace(TIME_TOKEN, &when).replace(CLIENT_TOKEN, &client));
        Ok(Written {
            id: id.to_owned(),
            date: now,
            from: self.from.clone(),
            to: address(notice.to.expose()).ok_or(Unwritable)?,
            subject: text.subject.clone(),
            text: filled(&body.text),
            html: filled(&body.html),
            is_html: false,
            mime_type: Some("text/plain".to_owned()),
        })
    }
}

/// `2026-01-02 03:04 UTC`
fn minute(at: Time) -> String {
    let text = time(at);
    format!("{} UTC", text.get(..16).unwrap_or_default().replace('T', " "))
}

/// The address, or the network; nothing where it is not known.
fn client(of: Client) -> Option<String> {
    match of {
        Client::V4(octets) => Some(Ipv4Addr::from(octets).to_string()),
        Client::V6([a, b, c, d, e, f, g, h]) => {
            Some(format!("{}/64", Ipv6Addr::from([a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0])))
        }
        Client::Unknown => None,
    }
}

/// Language, subject, text, and where it was done from.
const OWN: [[&str; 4]; 7] = [
    [
        "en",
        "Your password was changed",
        "The password of your account was changed on %time%.\n\nIf it was you, there is nothing to do. If it was not you, \
         reset your password again at once, and tell your help desk.\n",
        "It was done from %client%.",
    ],
    [
        "de",
        "Ihr Passwort wurde geändert",
        "Das Passwort Ihres Kontos wurde am %time% geändert.\n\nWenn Sie es waren, ist nichts zu tun. Wenn nicht, setzen Sie \
         es sofort neu und verständigen Sie Ihren Helpdesk.\n",
        "Es geschah von %client% aus.",
    ],
    [
        "fr",
        "Votre mot de passe a été modifié",
        "Le mot de passe de votre compte a été modifié le %time%.\n\nSi c'était vous, il n'y a rien à faire. Sinon, \
         réinitialisez-le tout de suite et prévenez votre service d'assistance.\n",
        "La modification a été faite depuis %client%.",
    ],
    [
        "es",
        "Su contraseña ha cambiado",
        "La contraseña de su cuenta se cambió el %time%.\n\nSi fue usted, no hay nada que hacer. Si no, restablézcala de \
         inmediato y avise a su servicio de asistencia.\n",
        "Se hizo desde %client%.",
    ],
    [
        "it",
        "La sua password è stata cambiata",
        "La password del suo account è stata cambiata il %time%.\n\nSe è stato lei, non deve fare nulla. Altrimenti la \
         reimposti subito e avvisi l'assistenza.\n",
        "È stato fatto da %client%.",
    ],
    [
        "nl",
        "Uw wachtwoord is gewijzigd",
        "Het wachtwoord van uw account is gewijzigd op %time%.\n\nWas u het zelf, dan hoeft u niets te doen. Was u het niet, \
         stel het dan meteen opnieuw in en waarschuw uw helpdesk.\n",
        "Dat gebeurde vanaf %client%.",
    ],
    [
        "pt",
        "A sua palavra-passe foi alterada",
        "A palavra-passe da sua conta foi alterada em %time%.\n\nSe foi você, não precisa de fazer nada. Se não foi, \
         reponha-a já e avise o seu suporte técnico.\n",
        "Foi feito a partir de %client%.",
    ],
];

#[cfg(test)]
mod tests;
