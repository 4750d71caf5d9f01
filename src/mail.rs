//! Mail, off the request path: an outbox with a bounded number of places, the letter that is written when its turn
//! comes, and a carrier that takes it away: an SMTP relay, IDM's own mail service or, for development, a folder.
//!
//! What it promises: a mail is tried until a carrier has taken it, refused it for good, or its link is dead. It is
//! delivered twice only if the relay took it and the answer was lost on the way (connection broken, deadline passed);
//! both copies then bear the same `Message-ID`. IDM's mail service knows no such names, so there a letter whose fate is
//! unknown is sent twice more at most, and later. What is queued lives in memory, and is lost with the process.
//!
//! What it never tells, to logs or to anyone else: the address, the link, the subject, the relay's words.

mod folder;
mod idm;
mod language;
pub mod letter;
mod nothing;
mod notices;
mod outbox;
mod smtp;
pub mod trial;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::idm::Service;
use self::letter::Written;
use crate::{
    config,
    reset::{
        ports::{Clock, Events, Limits, Outbox, Reason},
        process::EmailSettings,
    },
};

/// Why the mail part cannot start. None of the texts holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The sender is not exactly one mailbox.
    #[error("mail.from is not exactly one mailbox, such as info@example.com or Example <info@example.com>")]
    From,
    /// The process file has no subject or no message.
    #[error("the process has no mail subject or no mail message")]
    NoText,
    /// The `EHLO` name cannot be said.
    #[error("mail.helo is not a host name")]
    Helo,
    /// No root of trust could be read.
    #[error("mail.ca holds no certificate that can be read")]
    Ca,
    /// Nobody can be written to at that address.
    #[error("a letter cannot be written to that address")]
    Recipient,
    /// TLS cannot be set up.
    #[error("TLS for the mail relay cannot be set up")]
    Tls,
    /// Nobody said where IDM's own mail service is.
    #[error("the process has no emailServiceUrl")]
    Service,
    /// The folder cannot be used.
    #[error("the mail folder cannot be used: {0}")]
    Folder(#[source] std::io::Error),
}

/// Starts the outbox and its worker, which ends with the outbox. With `digits`, a letter has a code to type beside its
/// link. `service` is IDM's own, for the transport that goes by it. To be called inside the runtime.
pub fn start(
    config: &config::Mail,
    email: &EmailSettings,
    digits: bool,
    service: Option<Arc<dyn Service>>,
    limits: Arc<dyn Limits>,
    clock: Arc<dyn Clock>,
    events: Arc<dyn Events>,
) -> Result<Arc<dyn Outbox>, StartError> {
    let letters = Some(letter::Letters::new(config.from.as_deref(), email, digits, &config.wording)?);
    Ok(Arc::new(postbox(config, letters, service, limits, clock, events)?))
}

/// The outbox of a process that mails nothing but notices, and these only where the configuration says who sends them.
pub fn notices_alone(
    config: &config::Mail,
    limits: Arc<dyn Limits>,
    clock: Arc<dyn Clock>,
    events: Arc<dyn Events>,
) -> Result<Arc<dyn Outbox>, StartError> {
    let sends = config.from.is_some() && !matches!(config.transport, config::Transport::Idm);
    let postbox = sends.then(|| postbox(config, None, None, limits, clock, events)).transpose()?;
    Ok(Arc::new(nothing::Nothing(postbox.map(Arc::new))))
}

fn postbox(
    config: &config::Mail,
    letters: Option<letter::Letters>,
    service: Option<Arc<dyn Service>>,
    limits: Arc<dyn Limits>,
    clock: Arc<dyn Clock>,
    events: Arc<dyn Events>,
) -> Result<outbox::Postbox, StartError> {
    let carrier: Box<dyn Carrier> = match &config.transport {
        config::Transport::Smtp(relay) => Box::new(smtp::Relay::new(relay, config.helo.as_deref(), smtp::DEADLINE)?),
        config::Transport::Idm => {
            let service = service.ok_or(StartError::Service)?;
            Box::new(idm::Idm::new(service, config.from.clone()))
        }
        config::Transport::File(path) => Box::new(folder::Folder::new(path.clone()).map_err(StartError::Folder)?),
    };
    let notices = notices::Notices::new(config.from.as_deref(), &config.wording)?;
    let world = outbox::World { letters, notices, carrier, limits, clock, events, random: outbox::random };
    Ok(outbox::Postbox::start(world, config.capacity, config.later))
}

/// What takes letters away. Every call ends within a deadline of the carrier's own.
#[async_trait]
trait Carrier: Send + Sync {
    /// Hands one letter over.
    async fn carry(&self, letter: &Written) -> Outcome;
    /// Whether a letter could be handed over now, as far as can be told without one.
    async fn probe(&self) -> Result<(), Trouble>;
}

/// How an attempt to hand a letter over ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It is taken.
    Taken,
    /// It will never be taken: trying again makes no sense.
    Refused(Trouble),
    /// It was not taken now; or nobody knows, and whoever gets it twice can tell that it is the same.
    Failed(Trouble),
    /// Nobody knows, and a second one would be told from the first by nothing.
    Unknown(Trouble),
}

/// What went wrong, in words that are ours: a relay's own may hold the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trouble {
    /// The kind of fault.
    class: &'static str,
    /// The SMTP reply code, where there was a reply.
    code: Option<u16>,
}

impl Trouble {
    const fn new(class: &'static str) -> Self {
        Self { class, code: None }
    }

    /// For the audit trail: what the relay answered, if it did.
    fn reason(self) -> Reason<'static> {
        self.code.map_or(Reason::Word(self.class), Reason::Status)
    }
}
