//! `captcha`: has somebody show that they are no program, or that they let it work. One solved captcha is good for one user
//! query: the token carries a pass, which the query spends.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Map, json};

use super::email_validation::codes_down;
use crate::reset::{
    error::Stop,
    flow::{Flow, Tag},
    ports::{About, Challenge, Digest, Event, Purpose, Reason, Secret, Service, Spent, Time, Verdict},
    process::Reader,
    stage::{Cx, Next, QUERY_LIFETIME, Stage},
    wire::{self, Input, Requirements},
};

/// The stage's name.
pub const NAME: &str = "captcha";

/// In the place of a service's address: this process sets a piece of work by itself.
pub const OWN: &str = "altcha:";

/// When trying again makes sense while nobody judges answers, or there is no room for what is spent.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The stage's part of the process file.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// What a page shows the service that sets the captcha.
    pub site_key: String,
    /// Who judges answers: a URL, or [`OWN`].
    pub uri: String,
    /// What we show them; the configuration may have another, or the only one.
    pub secret: Option<Arc<Secret>>,
}

/// Without the secret: tokens go on when it changes.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { site_key, uri, .. } = self;
        f.debug_struct("Captcha").field("site_key", site_key).field("uri", uri).finish()
    }
}

impl Settings {
    pub(in crate::reset) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let uri = reader.text("recaptchaUri");
        let secret = reader.secret("recaptchaSecretKey");
        let site_key = match uri.as_deref() {
            Some(OWN) => Some(reader.optional_text("recaptchaSiteKey").unwrap_or_default()),
            _ => reader.text("recaptchaSiteKey"),
        };
        Some(Self { site_key: site_key?, uri: uri?, secret })
    }

    /// Has a user query spend the flow's pass. Where it has none and needs one, what is to be done first.
    ///
    /// It comes before all that is everyone's: whoever shows a spent pass takes none of it.
    pub(super) async fn admit(&self, flow: &mut Flow, cx: &Cx<'_>) -> Result<Option<Next>, Stop> {
        let Some(pass) = flow.state.pass.take() else {
            let to_do = is_asked(cx).await.then(|| self.question(cx)).transpose()?;
            return Ok(to_do.map(|requirements| Next::Return { to: NAME, requirements }));
        };
        // Longer than any token lives that has it.
        let until = cx.began.after(QUERY_LIFETIME + Duration::from_secs(1));
        if !spend(pass_mark(&pass, cx), until, cx).await? {
            cx.record(Event::CaptchaSpent);
            return Err(Stop::bad("The captcha was used already, start again"));
        }
        flow.spent = Some(pass);
        Ok(None)
    }

    /// What the stage asks.
    fn question(&self, cx: &Cx<'_>) -> Result<Requirements, Stop> {
        let question = challenge(cx)?.question(cx.now()).map_err(|_| cx.no_crypto())?;
        let mut response = Map::new();
        response.insert("recaptchaSiteKey".to_owned(), self.site_key.as_str().into());
        response.insert("description".to_owned(), "Captcha response".into());
        response.insert("type".to_owned(), "string".into());
        // What IDM's stage has not is where its clients do not look.
        response.extend(question.map(|question| ("challenge".to_owned(), question)));
        let mut schema = wire::requirements("Captcha stage", &["response"], &[]);
        if let Some(properties) = schema.get_mut("properties") {
            *properties = json!({"response": response});
        }
        Ok(Requirements::of(&schema))
    }
}

/// Whether a captcha is asked of whoever asks.
async fn is_asked(cx: &Cx<'_>) -> bool {
    !cx.settings.captcha_under_pressure || cx.ports.limits.is_pressed(cx.caller.client).await
}

/// The stage.
pub struct Captcha(pub Settings);

#[async_trait]
impl Stage for Captcha {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn requirements(&self, _: &mut Flow, cx: &Cx<'_>) -> Result<Option<Requirements>, Stop> {
        if is_asked(cx).await { self.0.question(cx).map(Some) } else { Ok(None) }
    }

    async fn advance(&self, input: &Input, flow: &mut Flow, cx: &Cx<'_>) -> Result<Next, Stop> {
        let response = match input.text("response")? {
            Some(response) => response,
            None if !cx.settings.captcha_under_pressure => input.required_text("response")?,
            // Whoever began before there was any pressure was never asked.
            None if is_asked(cx).await => {
                return Ok(Next::Ask { tag: Tag::Initial, requirements: self.0.question(cx)? });
            }
            None => return Ok(Next::Done),
        };
        let pass = cx.random()?;
        let judged = match response {
            "" => Ok(Verdict::Refused("empty")),
            response => challenge(cx)?.verify(response, cx.caller, cx.now()).await,
        };
        match judged {
            Ok(Verdict::Solved { mark, until }) if spend(mark, until, cx).await? => {}
            Ok(Verdict::Solved { .. }) => return Err(refused("used", cx)),
            Ok(Verdict::Refused(why)) => return Err(refused(why, cx)),
            Err(down) => {
                cx.record(Event::ServiceDown { service: Service::Captcha });
                return Err(Stop::Unavailable(down.retry_after));
            }
        }
        cx.record(Event::CaptchaSolved);
        flow.state.pass = Some(pass);
        Ok(Next::Done)
    }

    fn own_fields(&self, _: Tag) -> Vec<&str> {
        vec!["response"]
    }

    fn asks_anew(&self, cx: &Cx<'_>) -> bool {
        cx.settings.captcha_under_pressure || cx.ports.challenge.as_ref().is_some_and(|own| own.asks_anew())
    }

    async fn is_skipped(&self, input: &Input, cx: &Cx<'_>) -> bool {
        // An answer that somebody took the trouble to find is heard.
        cx.settings.captcha_under_pressure && matches!(input.text("response"), Ok(None)) && !is_asked(cx).await
    }

    fn tells_apart(&self, input: &Input) -> bool {
        matches!(input.text("response"), Ok(Some(response)) if !response.is_empty())
    }
}

/// Gives a pass back whose query came to nothing and may be asked again.
pub(in crate::reset) async fn unspend(pass: &[u8; 16], cx: &Cx<'_>) {
    if let Err(down) = cx.ports.flows.unspend(pass_mark(pass, cx)).await {
        codes_down(cx, down);
    }
}

fn pass_mark(pass: &[u8; 16], cx: &Cx<'_>) -> Digest {
    cx.ports.keys.mac(Purpose::Captcha, &[b"pass", pass])
}

/// Whether this call spends it.
async fn spend(mark: Digest, until: Time, cx: &Cx<'_>) -> Result<bool, Stop> {
    match cx.ports.flows.spend_once(mark, until).await.map_err(|down| codes_down(cx, down))? {
        Spent::Now => Ok(true),
        Spent::Before => Ok(false),
        Spent::Full => {
            cx.record(Event::MarksFull);
            Err(Stop::Unavailable(RETRY_AFTER))
        }
    }
}

/// IDM's own text, but for the service's whole answer, which it puts behind it.
fn refused(why: &'static str, cx: &Cx<'_>) -> Stop {
    cx.note(Event::CaptchaRefused, &About { reason: Reason::Word(why), ..About::default() });
    Stop::bad("Recaptcha verification is unsuccessful")
}

fn challenge<'a>(cx: &Cx<'a>) -> Result<&'a dyn Challenge, Stop> {
    cx.ports.challenge.as_deref().ok_or_else(|| {
        cx.record(Event::Broken { what: "a captcha stage that nobody judges for" });
        Stop::Unavailable(RETRY_AFTER)
    })
}
