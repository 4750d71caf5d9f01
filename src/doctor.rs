//! `resetgate doctor`: finds a set-up that is wrong before it harms anyone. Each check is a line: what was seen, and what
//! to do. It asks what the engine asks, in the engine's own words, and changes nothing: nobody is looked up but who is
//! not there (and a canary, if one is named), no mail is sent but to who was named for it, the one PATCH has a revision
//! that no account has, and the keys that are set where codes are go at once.
//!
//! Parts that do not hang on each other are looked at at the same time, and told in one order. Within a part, what
//! cannot be looked at because of what failed before is skipped. No line holds a secret, or what is in an account.

mod clock;
mod codes;
mod gate;
mod identity;
mod letters;
mod mail_service;
mod outside;
mod place;
mod policy;
mod reach;
mod relay;
mod sheet;
mod upstream;
mod wire;

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use url::Url;

use self::sheet::Sheet;
pub use self::sheet::{Line, Outcome};
use crate::{
    clock::SystemClock,
    config::{Config, Fault, Transport},
    keys::install_crypto,
    reset::ports::Clock,
    telemetry::metrics::Metrics,
};

/// How long all of it may take, but for a moment.
const WITHIN: Duration = Duration::from_secs(55);

/// What is asked for beside the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// A canary account's name.
    pub canary: Option<String>,
    /// Who gets a letter.
    pub mail_to: Option<String>,
    /// Where the gate is, from outside.
    pub gate: Option<Url>,
}

/// Goes through all checks. `environment` is where secrets may be; `warnings` what is unwise in the configuration.
pub async fn examine(
    mut config: Config,
    warnings: &[Fault],
    questions: &Questions,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Vec<Line> {
    // For lettre, which asks for it.
    install_crypto();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let now = clock.now();
    let [mut start, mut listen, mut files, mut letters] = ["config", "listen", "files", "mail"].map(Sheet::new);
    let [mut upstream, mut identity, mut codes] = ["upstream", "identity", "codes"].map(Sheet::new);
    let [mut mail, mut policy, mut gate] = ["mail", "policy", "gate"].map(Sheet::new);
    let [mut captcha, mut webhook, mut revoke] = ["captcha", "webhook", "revoke"].map(Sheet::new);
    place::warnings(&mut start, warnings);
    place::listeners(&mut listen, &config, now);
    place::files(&mut files, &config);
    letters::examine(&mut letters, &config, now);
    let spare = config.texts.check(environment).ok().map(|(config, _)| config);
    quiet(&mut config);
    let Ok(metrics) = Metrics::new(now).map(Arc::new) else { return start.lines };
    let link = config.reset.process.email().map(|email| letters::sample(&config, email)).unwrap_or_default();
    let to = questions.mail_to.as_deref().map(|to| (to, link.as_str()));
    tokio::join!(
        in_time(&mut upstream, async |sheet| upstream::examine(sheet, &config, &clock, &metrics).await),
        in_time(&mut identity, async |sheet| {
            identity::examine(sheet, &config, questions.canary.as_deref(), &clock, &metrics).await;
        }),
        in_time(&mut codes, async |sheet| codes::examine(sheet, &config.codes.store, &clock).await),
        in_time(&mut mail, async |sheet| match config.mail.transport {
            Transport::Idm => mail_service::examine(sheet, &config, to, &clock, &metrics).await,
            Transport::Smtp(_) | Transport::File(_) => relay::examine(sheet, &config, to, now).await,
        }),
        in_time(&mut policy, async |sheet| policy::examine(sheet, &config, &clock, &metrics).await),
        in_time(&mut captcha, async |sheet| outside::captcha(sheet, &config, now).await),
        in_time(&mut webhook, async |sheet| outside::webhook(sheet, &config, now).await),
        in_time(&mut revoke, async |sheet| outside::revoke(sheet, &config, now).await),
        in_time(&mut gate, async |sheet| gate::examine(sheet, &config, spare, questions.gate.as_ref()).await),
    );
    let sheets =
        [start, listen, files, upstream, identity, codes, letters, mail, policy, captcha, webhook, revoke, gate];
    sheets.into_iter().flat_map(|sheet| sheet.lines).collect()
}

/// Nothing is asked in the background, and everything as often as a check wants.
fn quiet(config: &mut Config) {
    config.identity.breaker.failures = None;
    config.identity.endpoints.health.interval = Duration::ZERO;
    config.upstream.endpoints.health.interval = Duration::ZERO;
}

async fn in_time(sheet: &mut Sheet, examine: impl AsyncFnOnce(&mut Sheet)) {
    if timeout(WITHIN, examine(sheet)).await.is_err() {
        let seen = format!("not all of it was looked at in {} s", WITHIN.as_secs());
        sheet.fail("time", seen, format!("see why {} is so slow, and ask again", sheet.part()));
    }
}
