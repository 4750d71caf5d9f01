//! A relay tried step by step, up to the point where a mail would be sent.

use std::{error::Error as StdError, future::Future, time::Duration};

use lettre::{
    Address, Message,
    transport::smtp::{
        Error,
        authentication::DEFAULT_MECHANISMS,
        client::AsyncSmtpConnection,
        commands::{Mail, Rcpt, Rset},
        extension::Extension,
    },
};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::{Encryption, Relay, part};
use crate::tls;

/// How long one step may take.
const STEP: Duration = Duration::from_secs(8);

/// A step of a dialogue with a relay, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The connection, with TLS where it is there from the start, the greeting, and `EHLO`.
    Hello,
    /// `STARTTLS`, where the configuration wants it.
    StartTls,
    /// `AUTH`, where the configuration has credentials.
    Auth,
    /// `MAIL FROM` the sender of the configuration.
    Sender,
    /// `RCPT TO` the same: it is tried, and taken back.
    Recipient,
    /// A letter, where one was asked for.
    Letter,
}

/// How far a dialogue went.
#[derive(Debug, Default)]
pub struct Dialogue {
    /// The steps that were made, and how each ended. The last one is the first that failed, but for the recipient's.
    pub steps: Vec<(Step, Result<(), Wrong>)>,
    /// Whether `STARTTLS` was offered where there was no TLS yet.
    pub offers_tls: bool,
    /// Whether what followed was encrypted.
    pub encrypted: bool,
    /// When the certificates that it showed end, in seconds since 1970.
    pub ends: Option<i64>,
}

/// What went wrong, in words that are ours: a relay's own may hold an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What it was.
    pub why: String,
    /// The reply code, where there was a reply.
    pub code: Option<u16>,
    /// What an operator may change, after a colon, and why, before it.
    pub hint: Option<&'static str>,
}

impl Relay {
    /// Goes through a dialogue. Nothing is sent to anybody but `letter`, if there is one.
    pub(in crate::mail) async fn try_out(&self, sender: &Address, letter: Option<&Message>) -> Dialogue {
        let mut dialogue = Dialogue::default();
        if let Some(mut connection) = self.go_through(sender, letter, &mut dialogue).await {
            dialogue.ends = connection.certificate_chain().ok().and_then(|chain| {
                let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
                tls::ends(&chain)
            });
            if connection.has_broken() {
                let _ = timeout(STEP, connection.abort()).await;
            } else {
                part(connection).await;
            }
        }
        dialogue
    }

    async fn go_through(
        &self,
        sender: &Address,
        letter: Option<&Message>,
        dialogue: &mut Dialogue,
    ) -> Option<AsyncSmtpConnection> {
        let implicit = match &self.encryption {
            Encryption::Implicit(tls) => Some(tls.clone()),
            Encryption::None | Encryption::StartTls(_) => None,
        };
        let server = (self.host.as_str(), self.port);
        let hello = AsyncSmtpConnection::connect_tokio1(server, Some(STEP / 2), &self.helo, implicit, None);
        let mut connection = dialogue.step(Step::Hello, hello).await?;
        dialogue.offers_tls = connection.can_starttls();
        if let Encryption::StartTls(tls) = &self.encryption {
            if !connection.server_info().supports_feature(Extension::StartTls) {
                let why = "it does not offer STARTTLS".to_owned();
                dialogue.steps.push((Step::StartTls, Err(Wrong { why, code: None, hint: None })));
                return Some(connection);
            }
            // Where that fails, the library has no stream any more, and panics when it is asked for one.
            dialogue.step(Step::StartTls, connection.starttls(tls.clone(), &self.helo)).await?;
        }
        dialogue.encrypted = connection.is_encrypted();
        if let Some(credentials) = &self.credentials
            && dialogue.step(Step::Auth, connection.auth(DEFAULT_MECHANISMS, credentials)).await.is_none()
        {
            return Some(connection);
        }
        let from = Mail::new(Some(sender.clone()), Vec::new());
        if dialogue.step(Step::Sender, connection.command(from)).await.is_none() {
            return Some(connection);
        }
        let _ = dialogue.step(Step::Recipient, connection.command(Rcpt::new(sender.clone(), Vec::new()))).await;
        // What is begun is not to become a mail.
        let Ok(Ok(_)) = timeout(STEP, connection.command(Rset)).await else { return Some(connection) };
        if let Some(letter) = letter {
            let text = letter.formatted();
            let _ = dialogue.step(Step::Letter, connection.send(letter.envelope(), &text)).await;
        }
        Some(connection)
    }
}

impl Dialogue {
    async fn step<T>(&mut self, step: Step, done: impl Future<Output = Result<T, Error>>) -> Option<T> {
        let (outcome, value) = match timeout(STEP, done).await {
            Ok(Ok(value)) => (Ok(()), Some(value)),
            Ok(Err(error)) => (Err(Wrong::of(&error)), None),
            Err(_) => (Err(Wrong { why: "it said nothing in time".to_owned(), code: None, hint: None }), None),
        };
        self.steps.push((step, outcome));
        value
    }
}

impl Wrong {
    fn of(error: &Error) -> Self {
        let code = error.status().map(u16::from);
        let why = match (code, system(error)) {
            (Some(code), _) => format!("it answers {code}"),
            (None, Some(fault)) => fault,
            (None, None) if error.is_timeout() => "it said nothing in time".to_owned(),
            (None, None) if error.is_tls() => "no TLS came about".to_owned(),
            (None, None) if error.is_client() => "it offers nothing that can be used".to_owned(),
            (None, None) => "it does not speak SMTP".to_owned(),
        };
        Self { why, code, hint: tls::explain_relay(error).filter(|_| tls::is_of_tls(error)) }
    }
}

/// What the system says, where it is the system that failed.
fn system(error: &Error) -> Option<String> {
    let mut next: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = next {
        if let Some(fault) = error.downcast_ref::<std::io::Error>()
            && fault.raw_os_error().is_some()
        {
            return Some(fault.to_string());
        }
        next = error.source();
    }
    None
}
