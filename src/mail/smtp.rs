//! An SMTP relay as a carrier.
//!
//! Each mail has a connection of its own. A pool would save a handshake, but a connection whose mail ran into the
//! deadline is in the middle of a dialogue, and reusing it would take the late answer to one mail for the answer to
//! the next. A reset service sends about one mail a second; the handshake does not matter.

mod trial;

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use lettre::{
    Message,
    transport::smtp::{
        Error,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, Certificate, TlsParameters},
        extension::ClientId,
    },
};
use tokio::time::timeout;

pub use self::trial::{Dialogue, Step, Wrong};
use super::{Carrier, Outcome, StartError, Trouble, letter::Written};
use crate::{
    config::{Smtp, SmtpTls},
    reset::ports::Secret,
};

/// A whole dialogue, from the look-up of the name to the answer to the message.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// The parting words: the mail's fate does not hang on them.
const FAREWELL: Duration = Duration::from_secs(1);

/// The relay.
pub(super) struct Relay {
    host: String,
    port: u16,
    encryption: Encryption,
    credentials: Option<Credentials>,
    helo: ClientId,
    deadline: Duration,
}

enum Encryption {
    None,
    StartTls(TlsParameters),
    Implicit(TlsParameters),
}

impl Relay {
    /// A relay that is not contacted yet.
    pub(super) fn new(config: &Smtp, helo: Option<&str>, deadline: Duration) -> Result<Self, StartError> {
        let encryption = match config.tls {
            SmtpTls::None => Encryption::None,
            SmtpTls::StartTls => Encryption::StartTls(tls(config)?),
            SmtpTls::Implicit => Encryption::Implicit(tls(config)?),
        };
        let credentials = config
            .credentials
            .as_ref()
            .map(|(name, password)| Credentials::new(name.clone(), password.expose().clone()));
        let helo = helo.map_or_else(|| Ok(ClientId::default()), client_id)?;
        Ok(Self { host: config.host.clone(), port: config.port, encryption, credentials, helo, deadline })
    }

    /// A connection that is ready for a mail. Whatever goes wrong here, even a 5xx, is not about the mail.
    async fn connect(&self) -> Result<AsyncSmtpConnection, Trouble> {
        let implicit = match &self.encryption {
            Encryption::Implicit(tls) => Some(tls.clone()),
            Encryption::None | Encryption::StartTls(_) => None,
        };
        // One address that does not answer must not use up the whole deadline: the next may.
        let patience = Some(self.deadline / 3);
        let server = (self.host.as_str(), self.port);
        let mut connection = AsyncSmtpConnection::connect_tokio1(server, patience, &self.helo, implicit, None)
            .await
            .map_err(|error| trouble("connect", &error))?;
        if let Encryption::StartTls(tls) = &self.encryption {
            // Fails where it is not offered: nothing is ever sent in the clear instead.
            connection.starttls(tls.clone(), &self.helo).await.map_err(|error| trouble("starttls", &error))?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(|error| trouble("auth", &error))?;
        }
        Ok(connection)
    }

    async fn hand_over(&self, letter: &Message) -> (Outcome, Option<AsyncSmtpConnection>) {
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(trouble) => return (Outcome::Failed(trouble), None),
        };
        let text = Secret::of(letter.formatted());
        match connection.send(letter.envelope(), text.expose()).await {
            Ok(_) => (Outcome::Taken, Some(connection)),
            // About us and not about the mail (RFC 4954 §6, RFC 3207 §4): the operator can mend it.
            Err(error) if matches!(error.status().map(u16::from), Some(530 | 534 | 535 | 538)) => {
                (Outcome::Failed(trouble("auth", &error)), None)
            }
            Err(error) if error.is_permanent() => (Outcome::Refused(trouble("refused", &error)), None),
            // The library itself refuses: an address beyond ASCII, to a relay without SMTPUTF8.
            Err(error) if error.is_client() => (Outcome::Refused(trouble("no-smtputf8", &error)), None),
            Err(error) if error.is_transient() => (Outcome::Failed(trouble("deferred", &error)), None),
            Err(error) => (Outcome::Failed(trouble("broken", &error)), None),
        }
    }
}

#[async_trait]
impl Carrier for Relay {
    async fn carry(&self, letter: &Written) -> Outcome {
        let Ok(message) = letter.message() else { return Outcome::Refused(Trouble::new("letter")) };
        // Past the deadline the connection is dropped wherever it is. If that is after the message and before its
        // answer, the relay may have taken it: the one case of a mail that goes out twice.
        let Ok((outcome, connection)) = timeout(self.deadline, self.hand_over(&message)).await else {
            return Outcome::Failed(Trouble::new("deadline"));
        };
        if let Some(connection) = connection {
            part(connection).await;
        }
        outcome
    }

    async fn probe(&self) -> Result<(), Trouble> {
        let connection = timeout(self.deadline, self.connect()).await.map_err(|_| Trouble::new("deadline"))??;
        part(connection).await;
        Ok(())
    }
}

async fn part(mut connection: AsyncSmtpConnection) {
    let _ = timeout(FAREWELL, connection.quit()).await;
}

fn trouble(class: &'static str, error: &Error) -> Trouble {
    Trouble { class: if error.is_tls() { "tls" } else { class }, code: error.status().map(u16::from) }
}

/// The system's roots, and the configuration's own.
fn tls(config: &Smtp) -> Result<TlsParameters, StartError> {
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(pem) = &config.ca {
        // A file without any certificate parses, as none.
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(StartError::Ca);
        }
        builder = builder.add_root_certificate(Certificate::from_pem(pem.as_bytes()).map_err(|_| StartError::Ca)?);
    }
    builder.build().map_err(|_| if config.ca.is_some() { StartError::Ca } else { StartError::Tls })
}

fn client_id(name: &str) -> Result<ClientId, StartError> {
    match name.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => return Ok(ClientId::Ipv4(address)),
        Ok(IpAddr::V6(address)) => return Ok(ClientId::Ipv6(address)),
        Err(_) => {}
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if name.is_empty() || name.len() > 255 || !name.bytes().all(plain) {
        return Err(StartError::Helo);
    }
    Ok(ClientId::Domain(name.to_owned()))
}

#[cfg(test)]
mod tests;
