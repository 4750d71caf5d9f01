//! Requests to the reset path: which of them the engine gets to see.
//!
//! Order: client limit, then everything that head and query tell, then the body, then the engine. A refusal reads a
//! small body first, so that the client sees the answer and keeps its connection.

use std::{panic::AssertUnwindSafe, path::Path, sync::Arc};

use futures_util::FutureExt;
use http::{HeaderMap, Method, header};
use pingora::{http::RequestHeader, protocols::http::ServerSession};

use super::{
    Gate, Generation, Passage,
    body::{self, Fault},
    client::Caller,
    desk,
    kinder::kinder,
    origin::Page,
    passage::Course,
    phases::Verdict,
    query::{Action, Query, Repeated},
    respond::{Answer, Dress},
    steps::{self, Unclear},
};
use crate::{
    reset::{
        self,
        ports::{About, Decision, Event, LimitKey, RequestId, Rule, Trace},
        wire::Reply,
    },
    telemetry::metrics::Asked,
};

/// Bytes of `Accept-Language` that are looked at.
const MAX_LANGUAGES: usize = 256;

/// Who answers a request.
enum Answered {
    /// This process.
    Here(Answer),
    /// Another: the request is to be passed to that socket.
    There(Arc<Path>),
}

/// What a request that may be answered asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// To be told something: the first requirements.
    Read,
    /// The action: a step.
    Submit,
    /// Whether a listed page may ask.
    Preflight,
}

/// Whose request it is, and which.
pub(super) type Asker = (Caller, RequestId, Option<Arc<dyn Trace>>);

impl Gate {
    /// The answer to a request to the reset path, whatever happens meanwhile; none if another process is to give it.
    pub(super) async fn answer(
        &self,
        session: &mut ServerSession,
        passage: &mut Passage,
        request: RequestId,
        query: &[u8],
    ) -> pingora::Result<Verdict> {
        passage.course = Some(Course::Intercepted);
        passage.under_way = Some(self.metrics.requests.answering());
        let generation = Arc::clone(&passage.generation);
        let headers = &session.req_header().headers;
        let trace = passage.trail.errands(headers, generation.tracer.as_ref());
        let caller = passage.caller.unwrap_or_else(|| generation.clients.caller(None, headers));
        let work = self.intercept(session, &generation, (caller, request, trace), query, &mut passage.asked);
        let answered = AssertUnwindSafe(work).catch_unwind();
        match answered.await {
            Ok(Ok(Answered::Here(answer))) => Ok(Verdict::Answer(answer)),
            Ok(Ok(Answered::There(path))) => {
                passage.there = Some(path);
                Ok(Verdict::Pass)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(self.after_panic(session)),
        }
    }

    /// One answer, and not a lost connection.
    pub(super) fn after_panic(&self, session: &mut ServerSession) -> Verdict {
        session.set_keepalive(None);
        Verdict::Answer(Answer::plain(desk::panicked(&self.metrics)))
    }

    async fn intercept(
        &self,
        session: &mut ServerSession,
        generation: &Generation,
        (caller, request, trace): Asker,
        query: &[u8],
        asked: &mut Asked,
    ) -> pingora::Result<Answered> {
        let page = generation.origins.page(&session.req_header().headers);
        let query = Query::parse(query);
        let dress = dress(generation, &page, query);
        let limit = generation.limits.charge(Rule::Client, LimitKey::Client(caller.client)).await;
        let task = match limit {
            Decision::Allowed => judge(session.req_header(), &page, query, Action::Submit),
            Decision::Denied { retry_after, policy } => {
                let about = About { request: Some(&request), client: Some(caller.client), ..About::default() };
                self.events.record(Event::Limited { rule: Rule::Client }, &about);
                Err(Reply::too_many(retry_after, policy))
            }
        };
        *asked = match &task {
            Ok(Task::Read) => Asked::Read,
            Ok(Task::Submit) => Asked::Submit,
            Ok(Task::Preflight) => Asked::Preflight,
            Err(_) => Asked::Refused,
        };
        let reply = match task {
            Ok(Task::Submit) => {
                // In case it has to be passed on after it was read.
                session.enable_retry_buffering();
                match body::read(session, body::MAX_BODY).await {
                    Ok(body) => loop {
                        let caller = engine_caller(session, caller, request.clone(), trace.clone());
                        if let Some(reply) = self.desk.submit(&generation.engine, body.clone(), caller).await {
                            break reply;
                        }
                        match steps::elsewhere(&self.steps).await {
                            Ok(Some(path)) => return Ok(Answered::There(path)),
                            // Who was to take over did not.
                            Ok(None) => {}
                            Err(Unclear) => break desk::unavailable(),
                        }
                    },
                    Err(fault) => broken_off(session, fault).await?,
                }
            }
            Ok(Task::Read) => {
                body::discard(session).await;
                generation.engine.read(caller.client).await
            }
            Ok(Task::Preflight) => return Ok(Answered::Here(Answer::preflight(dress))),
            Err(refusal) => {
                body::discard(session).await;
                refusal
            }
        };
        let reply = kinder(reply, &generation.messages);
        Ok(Answered::Here(Answer { reply, dress }))
    }
}

/// What an answer to such a page and query looks like.
pub(super) fn dress(generation: &Generation, page: &Page, query: Result<Query, Repeated>) -> Dress {
    Dress {
        pretty: query.is_ok_and(|query| query.pretty),
        origin: if let Page::Listed(origin) = page { Some(origin.clone()) } else { None },
        vary: generation.origins.any(),
        preflight: false,
    }
}

/// What everybody on this path is told who may not do what they try: IDM's own words.
pub(super) fn denied() -> Reply {
    Reply::error(403, "Access denied")
}

/// Judges by head and query alone; there is one action.
pub(super) fn judge(
    request: &RequestHeader,
    page: &Page,
    query: Result<Query, Repeated>,
    action: Action,
) -> Result<Task, Reply> {
    if request.method == Method::OPTIONS {
        let preflight = request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        return if preflight && matches!(page, Page::Listed(_)) { Ok(Task::Preflight) } else { Err(denied()) };
    }
    let query = query.map_err(|repeated| {
        Reply::error(
            400,
            match repeated {
                Repeated::Action => "Multiple values provided for the single-valued request parameter '_action'",
                Repeated::Other => "Multiple values provided for a single-valued request parameter",
            },
        )
    })?;
    match request.method {
        // As in IDM, `_action` means nothing on a GET, and a method override nothing at all.
        Method::GET | Method::HEAD if !query.search => Ok(Task::Read),
        // Only a step does something; what another site's page reads, its browser does not show it.
        Method::POST if *page != Page::Foreign => {
            check_content(&request.headers)?;
            if query.action == action { Ok(Task::Submit) } else { Err(Reply::error(501, "Unknown action")) }
        }
        _ => Err(denied()),
    }
}

/// A form that another site's page posts in a browser has neither this type nor these headers.
fn check_content(headers: &HeaderMap) -> Result<(), Reply> {
    let unsupported = || Err(Reply::error(415, "The request's content is not 'application/json'"));
    let identity = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(identity) {
        return unsupported();
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (None, _)
            if ["x-requested-with", "x-openidm-username", "authorization"].iter().any(|n| headers.contains_key(*n)) =>
        {
            Ok(())
        }
        (None, _) => Err(denied()),
        (Some(one), None) if one.to_str().is_ok_and(is_json) => Ok(()),
        _ => unsupported(),
    }
}

/// `application/json`, with no parameter but `charset=utf-8`.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    json && parts.all(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else { return parameter.is_empty() };
        let value = value.trim_matches('"');
        name.eq_ignore_ascii_case("charset")
            && (value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8"))
    })
}

/// The answer where no body came. What is left of it on the connection cannot be told from the next request.
pub(super) async fn broken_off(session: &mut ServerSession, fault: Fault) -> pingora::Result<Reply> {
    if matches!(fault, Fault::TooLarge) {
        body::discard(session).await;
    } else {
        session.set_keepalive(None);
    }
    Ok(match fault {
        Fault::TooLarge => Reply::error(413, "The request is too large"),
        Fault::Slow => Reply::error(408, "The request took too long"),
        Fault::Malformed => Reply::error(400, "Bad Request"),
        Fault::Gone(error) => return Err(error),
    })
}

pub(super) fn engine_caller(
    session: &ServerSession,
    caller: Caller,
    request: RequestId,
    trace: Option<Arc<dyn Trace>>,
) -> reset::Caller {
    let languages = session.get_header(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    // ASCII, so any cut is one between characters; a language cut in two is one that nobody has.
    let languages = languages.map(|text| text.get(..MAX_LANGUAGES).unwrap_or(text).to_owned());
    reset::Caller { client: caller.client, languages: languages.unwrap_or_default(), request, trace }
}

#[cfg(test)]
mod tests {
    use super::{super::origin::Origins, *};

    fn judged(method: &str, query: &str, lines: &[(&'static str, &'static str)]) -> Result<Task, u16> {
        let mut request = RequestHeader::build(method, b"/", None).unwrap();
        request.append_header("Host", "idm.example.com").unwrap();
        for (name, value) in lines {
            request.append_header(*name, *value).unwrap();
        }
        let page = Origins::new(&["https://login.example.com".to_owned()]).page(&request.headers);
        judge(&request, &page, Query::parse(query.as_bytes()), Action::Submit).map_err(|reply| reply.status)
    }

    const SUBMIT: &str = "_action=submitRequirements";
    const JSON: (&str, &str) = ("Content-Type", "application/json");

    #[test]
    fn methods() {
        assert_eq!(judged("GET", "", &[]), Ok(Task::Read));
        assert_eq!(judged("HEAD", "", &[]), Ok(Task::Read));
        assert_eq!(judged("GET", "_action=submitRequirements", &[]), Ok(Task::Read));
        assert_eq!(judged("GET", "_queryFilter=true", &[]), Err(403));
        assert_eq!(judged("POST", SUBMIT, &[JSON]), Ok(Task::Submit));
        for method in ["PUT", "PATCH", "DELETE", "OPTIONS", "SUBMIT", "get", "post"] {
            assert_eq!(judged(method, SUBMIT, &[JSON]), Err(403), "{method}");
        }
        let overridden = [JSON, ("X-HTTP-Method-Override", "PATCH")];
        assert_eq!(judged("POST", SUBMIT, &overridden), Ok(Task::Submit));
    }

    #[test]
    fn actions() {
        assert_eq!(judged("POST", "", &[JSON]), Err(501));
        assert_eq!(judged("POST", "_action=create", &[JSON]), Err(501));
        assert_eq!(judged("POST", "_action=validateObject", &[JSON]), Err(501));
        assert_eq!(judged("POST", "_action=submitRequirements&_ACTION=x", &[JSON]), Err(400));
        assert_eq!(judged("GET", "a=1&a=2", &[]), Err(400));
    }

    #[test]
    fn contents() {
        for value in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json;",
        ] {
            assert_eq!(judged("POST", SUBMIT, &[("Content-Type", value)]), Ok(Task::Submit), "{value}");
        }
        for value in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json; charset=utf-7",
            "application/json; a=b",
            "application/json, text/plain",
        ] {
            assert_eq!(judged("POST", SUBMIT, &[("Content-Type", value)]), Err(415), "{value}");
        }
        assert_eq!(judged("POST", SUBMIT, &[JSON, JSON]), Err(415));
        assert_eq!(judged("POST", SUBMIT, &[JSON, ("Content-Encoding", "gzip")]), Err(415));
        assert_eq!(judged("POST", SUBMIT, &[JSON, ("Content-Encoding", "identity")]), Ok(Task::Submit));
        assert_eq!(judged("POST", SUBMIT, &[]), Err(403));
        for name in ["X-Requested-With", "X-OpenIDM-Username", "Authorization"] {
            assert_eq!(judged("POST", SUBMIT, &[(name, "x")]), Ok(Task::Submit), "{name}");
        }
    }

    #[test]
    fn pages() {
        let listed = ("Origin", "https://login.example.com");
        let method = ("Access-Control-Request-Method", "POST");
        assert_eq!(judged("OPTIONS", "", &[listed, method]), Ok(Task::Preflight));
        assert_eq!(judged("OPTIONS", "", &[listed]), Err(403));
        assert_eq!(judged("OPTIONS", "", &[("Origin", "https://idm.example.com"), method]), Err(403));
        assert_eq!(judged("POST", SUBMIT, &[JSON, listed]), Ok(Task::Submit));
        assert_eq!(judged("POST", SUBMIT, &[JSON, ("Origin", "https://evil.example")]), Err(403));
        assert_eq!(judged("POST", SUBMIT, &[JSON, ("Origin", "null")]), Err(403));
        assert_eq!(judged("POST", SUBMIT, &[JSON, ("Origin", "https://idm.example.com")]), Ok(Task::Submit));
    }
}
