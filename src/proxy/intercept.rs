//! A request to the reset path: what HTTP asks before the engine is asked, in this order: the client's limit, the body,
//! the page it comes from, the method, the query, the content type.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, header};
use pingora::proxy::Session;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::{
    Parts,
    body::{self, Unread},
    client,
    origin::{self, From},
    query::{self, Query, Repeated},
    respond,
};
use crate::{
    config,
    reset::{
        Caller,
        ports::{Client, Decision, Event, LimitKey, Rule},
        wire::Reply,
    },
};

/// How long a client waits for a submit. The work goes on.
const PATIENCE: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_secs(1);
/// Of `Accept-Language`, in bytes; more says nothing more.
const MAX_LANGUAGES: usize = 256;
/// One of them is enough for a POST without a content type: a form cannot send them (IDM's own CSRF guard).
const NOT_A_FORM: [HeaderName; 3] =
    [HeaderName::from_static("x-requested-with"), HeaderName::from_static("x-openidm-username"), header::AUTHORIZATION];

/// Answers the reset path.
pub(super) struct Intercept {
    parts: Parts,
    listed_origins: Vec<String>,
    work: TaskTracker,
    room: Arc<Semaphore>,
}

impl Intercept {
    pub(super) fn new(parts: Parts, reset: &config::Reset, work: TaskTracker, room: Arc<Semaphore>) -> Self {
        Self { parts, listed_origins: reset.cors_origins.clone(), work, room }
    }

    /// Answers one request of that client.
    ///
    /// # Errors
    /// pingora's, when the client cannot be written to.
    pub(super) async fn answer(
        &self,
        session: &mut Session,
        query: &[u8],
        caller: client::Caller,
    ) -> pingora::Result<()> {
        let client = caller.client;
        let from = self.from(session, caller.trusted);
        let allowed = self.allowed(client).await;
        // Read even for a client that is over its limit: an answer before the body's end costs the connection.
        let body = body::read(session).await;
        let query = query::parse(query);
        let pretty = query.as_ref().is_ok_and(|query| query.pretty);
        let reply = match allowed {
            Err(reply) => reply,
            Ok(()) if session.req_header().method == Method::OPTIONS => match &from {
                From::Listed(origin) => {
                    self.parts.metrics.answered(204);
                    return respond::send_empty(session, &origin::allow_preflight(origin)).await;
                }
                _ => forbidden(),
            },
            Ok(()) => self.reply(session, query, &from, body, client).await,
        };
        let reply = if pretty { respond::pretty(reply) } else { reply };
        let headers = match &from {
            From::Listed(origin) => origin::allow(origin),
            _ => Vec::new(),
        };
        self.parts.metrics.answered(reply.status);
        respond::send(session, &reply, &headers).await
    }

    async fn allowed(&self, client: Client) -> Result<(), Reply> {
        match self.parts.limits.charge(Rule::Client, LimitKey::Client(client)).await {
            Decision::Allowed => Ok(()),
            Decision::Denied { retry_after } => {
                self.parts.events.record(Event::Limited { rule: Rule::Client });
                Err(Reply::retry(429, "Too many requests, try again later", retry_after))
            }
        }
    }

    fn from(&self, session: &Session, trusted: bool) -> From {
        let headers = &session.req_header().headers;
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let forwarded = text(HeaderName::from_static("x-forwarded-host")).filter(|_| trusted);
        let authority = session.req_header().uri.authority().map(http::uri::Authority::as_str);
        let hosts: Vec<&str> = [text(header::HOST), authority, forwarded].into_iter().flatten().collect();
        origin::judge(headers, &hosts, &self.listed_origins)
    }

    async fn reply(
        &self,
        session: &Session,
        query: Result<Query, Repeated>,
        from: &From,
        body: Result<Bytes, Unread>,
        client: Client,
    ) -> Reply {
        let body = match body {
            Ok(body) => body,
            Err(Unread::TooLarge) => return Reply::error(413, "The request is too large"),
            Err(Unread::TooSlow) => return Reply::error(408, "The request took too long"),
            Err(Unread::Broken) => return Reply::error(400, "The request could not be read"),
        };
        let request = session.req_header();
        match request.method {
            Method::GET | Method::HEAD => match query {
                Err(repeated) => twice(repeated),
                // CREST has actions on POST only.
                Ok(Query { action: Some(_), .. }) => Reply::error(400, "An action needs a POST"),
                Ok(_) => self.parts.engine.read(),
            },
            Method::POST => {
                if *from == From::Elsewhere {
                    return forbidden();
                }
                if let Some(refusal) = refuse_content(&request.headers) {
                    return refusal;
                }
                match query {
                    Err(repeated) => twice(repeated),
                    Ok(Query { action: Some(action), .. }) if action == "submitRequirements" => {
                        self.submit(body, caller(client, &request.headers)).await
                    }
                    Ok(_) => Reply::error(501, "Unknown action"),
                }
            }
            _ => forbidden(),
        }
    }

    /// Runs the submit as a task of its own: a deadline, or a client that went away, ends the waiting, never the work.
    async fn submit(&self, body: Bytes, caller: Caller) -> Reply {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else { return busy() };
        let engine = Arc::clone(&self.parts.engine);
        let task = self.work.spawn(async move {
            let reply = engine.submit(body, caller).await;
            drop(place);
            reply
        });
        match tokio::time::timeout(PATIENCE, task).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => {
                self.parts.metrics.panicked();
                Reply::error(500, "Internal error")
            }
            Err(_) => busy(),
        }
    }
}

fn caller(client: Client, headers: &HeaderMap) -> Caller {
    let languages = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    Caller { client, languages: languages.filter(|text| text.len() <= MAX_LANGUAGES).unwrap_or_default().to_owned() }
}

/// Only JSON: another site's form cannot send it without asking first (OWASP ASVS 3.5.2).
fn refuse_content(headers: &HeaderMap) -> Option<Reply> {
    let text = |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect::<Vec<_>>();
    let encodings = text(header::CONTENT_ENCODING);
    if encodings.iter().any(|encoding| !encoding.trim().eq_ignore_ascii_case("identity")) {
        return Some(Reply::error(415, "An encoded body is not supported"));
    }
    match text(header::CONTENT_TYPE).as_slice() {
        [] if NOT_A_FORM.iter().any(|name| headers.contains_key(name)) => None,
        [] => Some(forbidden()),
        [one] if is_json(one) => None,
        _ => Some(Reply::error(415, "Only application/json is supported")),
    }
}

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"));
    let utf8 = |parameter: &str| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("charset") && value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    };
    json && parts.all(|parameter| parameter.is_empty() || utf8(parameter))
}

fn forbidden() -> Reply {
    Reply::error(403, "Access denied")
}

fn busy() -> Reply {
    Reply::retry(503, "The service is busy, try again later", RETRY)
}

fn twice(repeated: Repeated) -> Reply {
    match repeated {
        Repeated::Action => {
            Reply::error(400, "Multiple values provided for the single-valued request parameter '_action'")
        }
        Repeated::Other => Reply::error(400, "Multiple values provided for a single-valued request parameter"),
    }
}
