//! Requests for the password policy, where they are answered here: what it is, and, at every key that somebody presses,
//! whether what they have typed so far meets it.
//!
//! No limit of the reset counts them: who types slowly sends dozens. They have bounds of their own, and cost nothing that a
//! reset needs. Nothing of them is told but that they were there.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use pingora::protocols::http::ServerSession;

use super::{
    Gate, Generation, Passage, body,
    intercept::{Asker, Task, broken_off, denied, dress, engine_caller, judge},
    passage::Course,
    phases::Verdict,
    query::{Action, Query},
    respond::Answer,
};
use crate::reset::{ports::RequestId, wire::Reply};

/// The largest body, in bytes: a password, whatever it is spelled like.
const MAX_BODY: usize = 8 << 10;

impl Gate {
    /// Answers it, whatever happens meanwhile.
    pub(super) async fn tell_policy(
        &self,
        session: &mut ServerSession,
        passage: &mut Passage,
        request: RequestId,
        query: &[u8],
    ) -> pingora::Result<Verdict> {
        passage.course = Some(Course::Policy);
        let generation = Arc::clone(&passage.generation);
        let headers = &session.req_header().headers;
        let trace = passage.trail.errands(headers, generation.tracer.as_ref());
        let caller = passage.caller.unwrap_or_else(|| generation.clients.caller(None, headers));
        let work = AssertUnwindSafe(tell(session, &generation, (caller, request, trace), query));
        match work.catch_unwind().await {
            Ok(told) => told.map(Verdict::Answer),
            Err(_) => Ok(self.after_panic(session)),
        }
    }
}

async fn tell(
    session: &mut ServerSession,
    generation: &Generation,
    (caller, request, trace): Asker,
    query: &[u8],
) -> pingora::Result<Answer> {
    let page = generation.origins.page(&session.req_header().headers);
    let query = Query::parse(query);
    let dress = dress(generation, &page, query);
    let caller = engine_caller(session, caller, request, trace);
    let reply = match (judge(session.req_header(), &page, query, Action::Validate), &generation.policy) {
        (Ok(Task::Preflight), _) => return Ok(Answer::preflight(dress)),
        (Ok(Task::Submit), Some(policy)) => match body::read(session, MAX_BODY).await {
            Ok(body) => policy.validate(body, &caller).await,
            Err(fault) => broken_off(session, fault).await?,
        },
        (Ok(Task::Read), Some(policy)) => {
            body::discard(session).await;
            policy.read(&caller).await
        }
        (Err(refusal), _) => {
            body::discard(session).await;
            // Which action it is, IDM's access rules look at before anything else does.
            if refusal.status == 501 { denied() } else { refusal }
        }
        // A generation has the page where it has its path.
        (Ok(_), None) => {
            body::discard(session).await;
            Reply::error(404, "Not Found")
        }
    };
    Ok(Answer { reply, dress })
}
