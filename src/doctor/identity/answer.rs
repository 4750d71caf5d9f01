//! Whether it is the store that answered, or what it is instead.

use http::StatusCode;
use url::Url;

use super::{Accounts, described};
use crate::{
    config::Identity,
    identity::{Crest, Question, Seen},
};

/// Who asks, and whom.
pub(super) struct Judge<'a> {
    pub(super) store: &'a Crest,
    pub(super) identity: &'a Identity,
    pub(super) accounts: &'a Accounts<'a>,
}

impl Judge<'_> {
    /// What is wrong with the answer to a query, and what to do; `None` if it is one that IDM could give at that URL.
    pub(super) async fn not_the_store(&self, seen: &Seen) -> Option<(String, String)> {
        let url = self.identity.endpoints.url.as_str();
        let answers = format!("{url} answers {}", described(seen));
        if seen.status.is_redirection() {
            let to = seen.location.as_deref().unwrap_or("nowhere");
            let cure =
                "have identity.url be IDM's REST interface itself, past whatever signs people in there".to_owned();
            return Some((format!("{answers}: it sends whoever asks to {to}"), cure));
        }
        if seen.status == StatusCode::NOT_FOUND || seen.status == StatusCode::METHOD_NOT_ALLOWED {
            return Some(self.nothing_there(seen).await);
        }
        if seen.status.is_server_error() {
            let cure = "see the store's own log: it, or a proxy before it, is not ready".to_owned();
            return Some((answers, cure));
        }
        if seen.status == StatusCode::OK {
            let page = seen.page(self.accounts.find, &self.accounts.want).is_some();
            if page {
                return None;
            }
            let cure = self.elsewhere().await.unwrap_or_else(|| {
                "have identity.url be IDM's REST interface, such as https://idm.internal:8443/openidm".to_owned()
            });
            return match seen.is_json() {
                true if seen.media.contains("json") => {
                    Some((format!("{answers}, which is no page of accounts as CREST has them"), cure))
                }
                _ => Some((format!("{answers}: a page for people, and no store"), cure)),
            };
        }
        // 400 and 403 are IDM's own where they are as CREST has them; 401 may be of whatever it has sign people in.
        let plain_to_tls = seen.status == StatusCode::BAD_REQUEST && !seen.is_json();
        match seen.status.as_u16() {
            401 => None,
            400 | 403 if seen.is_crest_error() => None,
            _ if plain_to_tls && self.identity.endpoints.url.scheme() == "http" => {
                let cure = "see whether that port speaks TLS: then identity.url must be https://".to_owned();
                Some((format!("{answers}, which is not IDM's"), cure))
            }
            _ => {
                let cure = "see what stands before the store (a proxy, a firewall for web applications), or whether \
                            identity.url leads to something else"
                    .to_owned();
                Some((format!("{answers}, which is not IDM's"), cure))
            }
        }
    }

    /// Nothing is at the collection: is it the URL that is wrong, or the process file?
    async fn nothing_there(&self, seen: &Seen) -> (String, String) {
        let url = &self.identity.endpoints.url;
        let collection = &self.accounts.find.path;
        let answers = format!("{}/{collection} answers {}", url.as_str().trim_end_matches('/'), described(seen));
        let path = url.path().trim_end_matches('/').to_owned();
        if self.pings(&path).await {
            let cure = format!(
                "have identityServiceUrl in the process file name a managed object that IDM has: \"{collection}\" is none"
            );
            return (format!("{answers}, though IDM is at identity.url"), cure);
        }
        if let Some(cure) = self.elsewhere().await {
            return (format!("{answers}: IDM is not there"), cure);
        }
        let cure = "have identity.url end with IDM's own path, which is /openidm if nobody changed it, and \
                    identityServiceUrl in the process file be below it, such as managed/user"
            .to_owned();
        (answers, cure)
    }

    /// What to do if IDM is at another path of that server.
    async fn elsewhere(&self) -> Option<String> {
        let url = &self.identity.endpoints.url;
        for other in ["/openidm", "/idm", ""] {
            if other != url.path().trim_end_matches('/') && self.pings(other).await {
                let right = url.join(&format!("{other}/")).map(String::from).unwrap_or_default();
                return Some(format!("set identity.url = \"{}\", where IDM is", right.trim_end_matches('/')));
            }
        }
        None
    }

    /// Whether IDM is at that path.
    async fn pings(&self, path: &str) -> bool {
        let mut url: Url = self.identity.endpoints.url.clone();
        url.set_path(&format!("{path}/info/ping"));
        let asked = self.store.ask(&Question::Get(&url)).await;
        asked.is_ok_and(|seen| seen.is_ping())
    }
}
