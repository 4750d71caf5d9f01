//! The authorization server that gives access tokens, where there is one.

use std::sync::Arc;

use url::{Host, Url};

use crate::{
    config::{Auth, ClientTls, Identity, Place},
    doctor::{
        reach::{HTTP, Service, reach},
        sheet::Sheet,
    },
    identity::Crest,
    reset::ports::Clock,
};

/// Whether there is what to ask with.
pub(super) async fn get(sheet: &mut Sheet, identity: &Identity, store: &Crest, clock: &Arc<dyn Clock>) -> bool {
    let Auth::OAuth2(settings) = &identity.auth else { return true };
    let mut own = Sheet::new("identity.auth");
    let url = &settings.token_url;
    let place = [place(url)];
    let encrypted = url.scheme() == "https";
    let host = url.host_str().unwrap_or_default();
    let tls: Option<(&ClientTls, &str)> = encrypted.then_some((&settings.tls, host));
    let within = identity.endpoints.connect_timeout;
    let (section, url, secure) = ("identity.auth", "identity.auth.token_url", "https://");
    let service = Service { section, url, places: &place, tls, speaks: HTTP, secure, within };
    let reached = reach(&mut own, &service, clock.now()).await.is_some();
    let mut good = false;
    if reached {
        match store.fetch_token().await {
            Some(Ok(())) | None => {
                own.ok("token", "the server gives an access token");
                good = true;
            }
            Some(Err(unanswered)) => {
                let hint = unanswered.hint.unwrap_or(
                    "see identity.auth.token_url, client_id, client_secret and client_auth, and the server's own log",
                );
                own.fail("token", format!("the server gives no token: {unanswered}"), hint);
            }
        }
    } else {
        own.skip("token", "the server cannot be reached");
    }
    sheet.lines.append(&mut own.lines);
    good
}

fn place(url: &Url) -> Place {
    let port = url.port_or_known_default().unwrap_or(443);
    match url.host() {
        Some(Host::Ipv4(ip)) => Place::Ip((ip, port).into()),
        Some(Host::Ipv6(ip)) => Place::Ip((ip, port).into()),
        Some(Host::Domain(name)) => Place::Name(name.to_owned(), port),
        None => Place::Name(String::new(), port),
    }
}
