//! What a stage is.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    error::Stop,
    filter::Filter,
    flow::{Flow, State, Tag},
    ports::{
        About, Account, AccountId, Accounts, Aftermath, Challenge, Clock, Decoy, Digest, Done, Down, Event, Events,
        Flows, Keys, Limits, Outbox, Passwords, Reason, Repeats, Secret, Service, Share, Source, Start, Time,
    },
    token,
    wire::{Input, Requirements},
};

pub use super::ports::Caller;

/// One step of the process. Whether the flow has an account or is a decoy is `flow.state.account`; no other branch exists.
#[async_trait]
pub trait Stage: Send + Sync {
    /// The name in the process file and in answers.
    fn name(&self) -> &'static str;
    /// What the stage asks on entry; `None`: nothing, advance at once.
    async fn requirements(&self, flow: &mut Flow, cx: &Cx<'_>) -> Result<Option<Requirements>, Stop>;
    /// Takes the input.
    async fn advance(&self, input: &Input, flow: &mut Flow, cx: &Cx<'_>) -> Result<Next, Stop>;
    /// Which inputs the stage reads at that tag: what tells one request from another.
    fn own_fields(&self, tag: Tag) -> Vec<&str>;
    /// Whether what it asks on entry is not the same for everyone and at all times.
    fn asks_anew(&self, _: &Cx<'_>) -> bool {
        false
    }
    /// Whether a flow that begins with that input begins behind the stage, as if it were not there.
    async fn is_skipped(&self, _: &Input, _: &Cx<'_>) -> bool {
        false
    }
    /// Whether nobody has such an input twice, so that two requests with it are one gesture, also without a token.
    fn tells_apart(&self, _: &Input) -> bool {
        false
    }

    /// Whether its answers may have to wait for the answer floor.
    fn may_wait(&self, _: &Cx<'_>) -> bool {
        false
    }
}

/// What follows a stage's advance.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// The same stage asks on.
    Ask {
        /// Where within it the flow is now.
        tag: Tag,
        /// What it asks.
        requirements: Requirements,
    },
    /// The next stage.
    Done,
    /// An earlier stage, which is to be passed first.
    Return {
        /// Its name.
        to: &'static str,
        /// What it asks.
        requirements: Requirements,
    },
}

/// The world, as the engine needs it.
#[derive(Clone)]
#[allow(missing_docs, reason = "each is the port of that name")]
pub struct Ports {
    pub accounts: Arc<dyn Accounts>,
    pub flows: Arc<dyn Flows>,
    pub repeats: Arc<dyn Repeats>,
    pub limits: Arc<dyn Limits>,
    pub outbox: Arc<dyn Outbox>,
    pub passwords: Arc<dyn Passwords>,
    pub aftermath: Arc<dyn Aftermath>,
    pub keys: Arc<dyn Keys>,
    pub clock: Arc<dyn Clock>,
    pub events: Arc<dyn Events>,
    /// There if the process has a captcha stage.
    pub challenge: Option<Arc<dyn Challenge>>,
}

/// The settings of `[reset]` that the engine itself needs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The mailed link's life.
    pub link_lifetime: Duration,
    /// The life of the asker's tokens once they carry an account, or seem to.
    pub token_expiry: Duration,
    /// User queries are answered at its next multiple.
    pub answer_floor: Duration,
    /// How many digits a mail has to type beside its link; none where that is `None`.
    pub digits: Option<u32>,
    /// Whether the GET's body has `_id` and `_rev`.
    pub crest_ids: bool,
    /// IDM's own behaviour: an unknown account is told.
    pub reveal_unknown_accounts: bool,
    /// Whether a captcha is asked for only where the limits are more than half used up.
    pub captcha_under_pressure: bool,
    /// The store tells `A` from `a`.
    pub case_sensitive: bool,
    /// Of several accounts with one mail address, each gets a link.
    pub each_of_a_mailbox: bool,
}

/// The life of a token that carries no account: long enough to look for one's user name.
pub(super) const QUERY_LIFETIME: Duration = Duration::from_secs(3600);

/// What a stage may use while it serves one request.
pub struct Cx<'a> {
    /// The world.
    pub ports: &'a Ports,
    /// `[reset]`.
    pub settings: &'a Settings,
    /// What tokens and records are bound to.
    pub binding: &'a Digest,
    /// Who asks.
    pub caller: &'a Caller,
    /// When the request came. A token's end is readable to whoever holds it, so it is counted from here: from the time
    /// of sealing it would tell how long the look-up took.
    pub began: Time,
}

impl Cx<'_> {
    /// Takes note.
    pub fn record(&self, event: Event) {
        self.note(event, &About::default());
    }

    /// Takes note of what happens in a flow.
    pub fn record_of(&self, flow: &Flow, event: Event, reason: Reason<'_>) {
        let account = flow.state.account.as_ref().map(|known| &known.id);
        let mail = flow.found.address.as_ref();
        self.note(event, &About { flow: Some(&flow.state.flow), account, mail, reason, ..About::default() });
    }

    /// Takes note, with the request that it happens in.
    pub fn note(&self, event: Event, about: &About<'_>) {
        let Caller { request, client, .. } = self.caller;
        self.ports.events.record(event, &About { request: Some(request), client: Some(*client), ..*about });
    }

    /// Where what comes of a flow with an account comes from.
    pub fn source(&self, flow: &Flow) -> Source {
        // Nobody else has a mail, or sets a password.
        let account = flow.state.account.as_ref().map_or_else(|| AccountId(String::new()), |known| known.id.clone());
        let Caller { request, client, .. } = self.caller;
        Source { request: request.clone(), client: *client, flow: flow.state.flow, account }
    }

    /// What is to follow, follows: the account's password was set, or may have been.
    pub fn password_set(&self, flow: &Flow, found: Account, certain: bool) {
        self.ports.aftermath.password_set(Done {
            account: flow.at().account,
            source: self.source(flow),
            at: self.now(),
            languages: self.caller.languages.clone(),
            found,
            certain,
            trace: self.caller.trace.clone(),
        });
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.ports.clock.now()
    }

    /// 128 random bits.
    ///
    /// # Errors
    /// [`Stop::Unavailable`] where the system has none.
    pub fn random(&self) -> Result<[u8; 16], Stop> {
        self.ports.keys.random().ok_or_else(|| self.no_crypto())
    }

    /// Charges a user query, and tells how much the asker may have of what everyone shares.
    ///
    /// # Errors
    /// [`Stop::TooMany`] over a limit.
    pub async fn start(&self, asked: &Filter) -> Result<Share, Stop> {
        match self.ports.limits.start(self.caller.client).await {
            Start::Allowed(share) => Ok(share),
            Start::Denied { rule, retry_after, policy } => {
                self.note(Event::Limited { rule }, &About { asked: Some(asked), ..About::default() });
                Err(Stop::TooMany(retry_after, policy))
            }
        }
    }

    /// The flow goes on without its account; what it found is forgotten.
    ///
    /// # Errors
    /// [`Stop::Unavailable`] where the system has no randomness for its record key.
    pub fn decoy(&self, flow: &mut Flow, why: Decoy) -> Result<(), Stop> {
        self.record_of(flow, Event::Decoyed { why }, Reason::None);
        flow.state.account = None;
        flow.state.record = Some(self.random()?);
        flow.found = Default::default();
        Ok(())
    }

    /// A token that carries the state until then.
    ///
    /// # Errors
    /// [`Stop::Unavailable`] where the crypto library fails.
    pub fn seal(&self, state: &State, expires: Time) -> Result<Secret, Stop> {
        let sealed = self.ports.keys.seal(token::pack(state, self.binding).expose(), expires);
        sealed.map(Secret::new).ok_or_else(|| self.no_crypto())
    }

    /// The asker's next token.
    ///
    /// # Errors
    /// As [`Cx::seal`].
    pub fn seal_answer(&self, state: &State) -> Result<Secret, Stop> {
        let life = if state.record.is_some() { self.settings.token_expiry } else { QUERY_LIFETIME };
        self.seal(state, self.began.after(life))
    }

    /// Takes note that the identity store did not do its work, or had too much of it.
    pub fn identity_down(&self, down: Down) {
        self.record(if down.full { Event::LookUpsFull } else { Event::ServiceDown { service: Service::Identity } });
    }

    /// The crypto library failed: 503.
    pub fn no_crypto(&self) -> Stop {
        self.record(Event::ServiceDown { service: Service::Keys });
        Stop::Unavailable(Duration::from_secs(1))
    }
}
