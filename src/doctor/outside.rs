//! The services that are asked only now and then: whether they can be reached. None of them is asked anything, for there is
//! no call that would mean nothing to it.

use super::{
    reach::{self, reach},
    sheet::Sheet,
};
use crate::{
    config::{AfterAt, Config, Judge, Service},
    reset::ports::Time,
};

/// Who judges captchas, if that is somebody else.
pub(super) async fn captcha(sheet: &mut Sheet, config: &Config, now: Time) {
    if let Some(Judge::Service(service)) = config.captcha.as_ref().map(|captcha| &captcha.judge) {
        look(sheet, &service.service, ("captcha", "recaptchaUri"), now).await;
    }
}

/// Who hears that a password was set.
pub(super) async fn webhook(sheet: &mut Sheet, config: &Config, now: Time) {
    if let Some(webhook) = &config.after.webhook {
        look(sheet, &webhook.service, ("after.webhook", "after.webhook.url"), now).await;
    }
}

/// Who ends sessions.
pub(super) async fn revoke(sheet: &mut Sheet, config: &Config, now: Time) {
    for revoke in &config.after.revoke {
        if let AfterAt::Service(service) = &revoke.at {
            look(sheet, service, ("after.revoke", "after.revoke.url"), now).await;
        }
    }
}

async fn look(sheet: &mut Sheet, service: &Service, (section, url): (&'static str, &'static str), now: Time) {
    let places = [service.place()];
    let tls = service.tls.as_ref().map(|tls| (tls, service.host()));
    let (speaks, secure, within) = (reach::HTTP, "https://", service.timeout);
    reach(sheet, &reach::Service { section, url, places: &places, tls, speaks, secure, within }, now).await;
}
