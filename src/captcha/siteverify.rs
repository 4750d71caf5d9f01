//! A service that is asked whether a captcha was solved, by the protocol that reCAPTCHA began and others took over: a form
//! with our secret and the answer goes there, an object with `success` comes back. Its words go nowhere else.
//!
//! Sources: developers.google.com/recaptcha/docs/verify and v3, docs.hcaptcha.com, developers.cloudflare.com/turnstile.

mod verdict;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderValue, Method, header};
use serde_json::Value;
use tokio::time::Instant;
use url::form_urlencoded;

use self::verdict::{Rules, Said};
use crate::{
    config::{self, Provider},
    outbound::{Client, Name, Unusable, Whole},
    reset::ports::{self, Caller, Challenge, Down, Keys, Purpose, Secret, Time, Verdict},
    telemetry::{metrics::Metrics, throttle::Throttle},
};

/// Longer than any answer that the known services give their pages; and no more than a token's request has room for.
const LONGEST: usize = 8 << 10;
/// Bytes of what the service says that are looked at.
const MOST: usize = 16 << 10;
/// The service takes an answer for two to five minutes. Ours are known for longer.
const KNOWN: Duration = Duration::from_secs(10 * 60);
/// When asking again makes sense.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How often is said that the secret is wrong.
const QUIET: Duration = Duration::from_secs(60);
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Asks such a service.
pub struct Siteverify {
    client: Client,
    provider: Provider,
    secret: Arc<Secret>,
    site_key: String,
    rules: Rules,
    remote_ip: bool,
    keys: Arc<dyn Keys>,
    began: Instant,
    said: Throttle,
}

impl Siteverify {
    /// That of the configuration. Nothing is asked yet.
    ///
    /// # Errors
    /// If it can never be asked.
    pub fn new(config: &config::Siteverify, keys: Arc<dyn Keys>, metrics: Arc<Metrics>) -> Result<Self, Unusable> {
        Ok(Self {
            client: Client::new(&config.service, Name::Captcha, MOST, metrics)?,
            provider: config.provider,
            secret: Arc::clone(&config.secret),
            site_key: config.site_key.clone(),
            rules: Rules {
                min_score: config.min_score,
                action: config.action.clone(),
                hostnames: config.hostnames.clone(),
            },
            remote_ip: config.remote_ip,
            keys,
            began: Instant::now(),
            said: Throttle::new(QUIET),
        })
    }

    /// What the service says of an answer. None if it says nothing, or nothing that makes sense; that has been told.
    async fn ask(&self, response: &str, client: ports::Client) -> Option<Said> {
        let headers = vec![(header::CONTENT_TYPE, FORM), (header::ACCEPT, JSON)];
        let form = self.form(response, client).into_bytes();
        let Whole { status, body } = self.client.send(Method::POST, None, headers, form).await.ok()?;
        // Some say no by the status as well.
        if !status.is_success() && !status.is_client_error() {
            return None;
        }
        let said = Said::read(body.expose()).filter(|said| status.is_success() || !said.success);
        if said.is_none() {
            self.client.malformed();
        }
        said
    }

    fn form(&self, response: &str, client: ports::Client) -> Secret {
        // Room enough from the start: what moves is not wiped.
        let room = 64 + 3 * (self.secret.expose().len() + response.len() + self.site_key.len() + 15);
        let mut form = form_urlencoded::Serializer::new(String::with_capacity(room));
        form.append_pair("secret", self.secret.expose()).append_pair("response", response);
        if self.provider == Provider::Hcaptcha {
            // Else an answer for another site of the same owner would do.
            form.append_pair("sitekey", &self.site_key);
        }
        // Of IPv6 no more is known here than the network, which is not what the service has seen.
        if let (true, ports::Client::V4(octets)) = (self.remote_ip, client) {
            form.append_pair("remoteip", &Ipv4Addr::from(octets).to_string());
        }
        Secret::new(form.finish())
    }

    fn say_secret(&self) {
        if let Some(skipped) = self.said.pass(self.began.elapsed()) {
            tracing::error!(
                service = Name::Captcha.as_str(),
                skipped = Some(skipped).filter(|n| *n > 0),
                "the captcha service does not know our secret: see captcha.secret, or recaptchaSecretKey of the process file"
            );
        }
    }
}

#[async_trait]
impl Challenge for Siteverify {
    fn asks_anew(&self) -> bool {
        false
    }

    fn question(&self, _: Time) -> Result<Option<Value>, Down> {
        Ok(None)
    }

    async fn verify(&self, response: &str, caller: &Caller, now: Time) -> Result<Verdict, Down> {
        const DOWN: Down = Down { sent: false, full: false, retry_after: RETRY_AFTER };
        if response.len() > LONGEST {
            return Ok(Verdict::Refused("too-long"));
        }
        let said = self.ask(response, caller.client).await.ok_or(DOWN)?;
        if said.blames_us() {
            self.say_secret();
            return Err(DOWN);
        }
        if said.is_its_own_fault() {
            return Err(DOWN);
        }
        Ok(match self.rules.refuse(&said) {
            Some(why) => Verdict::Refused(why),
            None => {
                let mark = self.keys.mac(Purpose::Captcha, &[b"response", response.as_bytes()]);
                Verdict::Solved { mark, until: now.after(KNOWN) }
            }
        })
    }
}

#[cfg(test)]
mod tests;
