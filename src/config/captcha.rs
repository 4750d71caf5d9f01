//! `[captcha]`: who judges the captchas of the process file's stage, and when one is asked for.

use std::sync::Arc;

use url::Url;

use super::{
    Secret, Service,
    process::ProcessFile,
    raw::Section,
    secret::{EXPOSED, Surroundings},
    service::service_at,
    units,
};
use crate::reset::process::{CaptchaSettings, OWN_CAPTCHA};

/// What only a service has that judges captchas.
const OF_A_SERVICE: [&str; 3] = ["secret", "min_score", "action"];

/// `[captcha]`, where the process has such a stage.
#[derive(Debug)]
pub struct Captcha {
    /// Whether it is asked for only where limits are more than half used up.
    pub under_pressure: bool,
    /// Who judges answers.
    pub judge: Judge,
}

/// Who judges answers to captchas.
#[derive(Debug)]
pub enum Judge {
    /// This process, which sets a piece of work: numbers up to `difficulty` are to be tried.
    Own {
        /// The most that is to be done.
        difficulty: u32,
    },
    /// Somebody else.
    Service(Box<Siteverify>),
}

/// A service that is asked whether a captcha was solved.
pub struct Siteverify {
    /// Whose it is.
    pub provider: Provider,
    /// Where.
    pub service: Service,
    /// What we show it.
    pub secret: Arc<Secret>,
    /// What pages show it.
    pub site_key: String,
    /// The least score, of those that have one.
    pub min_score: Option<f64>,
    /// What the captcha must have been solved for.
    pub action: Option<String>,
    /// On whose pages; anybody's, if there are none.
    pub hostnames: Vec<String>,
    /// Whether it is told who the client is.
    pub remote_ip: bool,
}

impl std::fmt::Debug for Siteverify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Siteverify").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// The services that are known, by their host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Google's reCAPTCHA, version 2 or 3.
    Recaptcha,
    /// hCaptcha.
    Hcaptcha,
    /// Cloudflare's Turnstile.
    Turnstile,
    /// Another with the same protocol.
    Other,
}

impl Provider {
    /// Whose service is at that URL.
    pub fn of(url: &Url) -> Self {
        match url.host_str().unwrap_or_default() {
            "www.google.com" | "google.com" | "www.recaptcha.net" | "recaptcha.net" => Self::Recaptcha,
            "api.hcaptcha.com" | "hcaptcha.com" => Self::Hcaptcha,
            "challenges.cloudflare.com" => Self::Turnstile,
            _ => Self::Other,
        }
    }
}

/// Reads the section. Inside is none where the process has no captcha stage.
#[allow(clippy::option_option, reason = "missing and wrong are two things")]
pub(super) fn captcha(
    mut section: Section<'_>,
    process: Option<&ProcessFile<'_>>,
    around: &Surroundings<'_>,
) -> Option<Option<Captcha>> {
    let stage = process.and_then(|file| file.process.as_ref()?.captcha());
    let under_pressure =
        section.or("when", "always", |text| units::one_of(text, &[("always", false), ("pressure", true)]));
    section.hide("secret");
    let secret = section.optional("secret", |text| around.secret(text));
    if secret.as_ref().is_some_and(|found| found.as_ref().is_some_and(|found| found.exposed)) {
        section.warn("secret", EXPOSED);
    }
    let min_score = section.fraction("min_score");
    let action = section.optional("action", action);
    let hostnames = section.list("hostnames", &[], hostname);
    let remote_ip = section.flag("remote_ip");
    let difficulty = section.number("difficulty", 100_000, 1_000..=10_000_000);
    let by_service = stage.as_ref().filter(|stage| stage.uri != OWN_CAPTCHA);
    let url = by_service.and_then(|stage| match units::endpoint(&stage.uri) {
        Ok(url) => Some(url),
        Err(rule) => {
            let rule = format!("{rule}, or \"{OWN_CAPTCHA}\" for work that resetgate sets itself");
            process?.stage_fault("captcha", "recaptchaUri", &rule);
            None
        }
    });
    let service = service_at(&mut section, "allow_plaintext", url, "3s", around);
    let secret = secret?.map(|found| Arc::new(found.text));
    if by_service.is_none() {
        for key in OF_A_SERVICE.into_iter().filter(|key| section.has(key)) {
            section.warn(key, "means nothing without a captcha stage whose recaptchaUri is a service");
        }
    }
    section.finish();
    let (under_pressure, difficulty) = (under_pressure?, difficulty?);
    let (min_score, action, hostnames) = (min_score?, action?, hostnames?);
    let Some(stage) = stage else { return Some(None) };
    if stage.uri == OWN_CAPTCHA {
        return Some(Some(Captcha { under_pressure, judge: Judge::Own { difficulty } }));
    }
    let Some(secret) = secret.or_else(|| stage.secret.clone()) else {
        process?.stage_fault(
            "captcha",
            "recaptchaSecretKey",
            "must be a text, or captcha.secret in the configuration be set: what IDM has encrypted, only IDM can read",
        );
        return None;
    };
    let service = service?;
    let provider = Provider::of(&service.url);
    let CaptchaSettings { site_key, .. } = stage;
    let judge = Siteverify { provider, service, secret, site_key, min_score, action, hostnames, remote_ip };
    Some(Some(Captcha { under_pressure, judge: Judge::Service(Box::new(judge)) }))
}

/// As Turnstile and reCAPTCHA have them.
fn action(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'/' | b'-');
    let fits = text.len() <= 100 && text.bytes().all(plain);
    if fits { Ok(text.to_owned()) } else { Err("must be letters, digits, _, / and -, 100 at most".to_owned()) }
}

fn hostname(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let fits = !text.is_empty() && text.len() <= 253 && text.bytes().all(plain);
    if fits { Ok(text.to_ascii_lowercase()) } else { Err("must be a host's name, without scheme and port".to_owned()) }
}
