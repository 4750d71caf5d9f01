//! What a request is told that goes nowhere.

use pingora::protocols::http::ServerSession;

use super::{Gate, Passage, body, respond::Answer};
use crate::{
    reset::{
        ports::{About, Event, Reason},
        wire::{Reply, reason},
    },
    telemetry::metrics::Denial,
};

impl Gate {
    /// Answers with an error and closes. Where the body's end is certain, it is read first, so that the client hears.
    pub(super) async fn refuse(&self, session: &mut ServerSession, passage: &Passage, status: u16) -> Answer {
        if status == 404 {
            self.metrics.disguised();
            self.events.record(Event::Disguised, &about(passage, Reason::None));
        } else {
            self.metrics.malformed();
        }
        if matches!(status, 404 | 405 | 414) {
            body::discard(session).await;
        }
        session.set_keepalive(None);
        Answer::plain(Reply::error(status, reason(status)))
    }

    /// Answers what `[edge]` keeps from the upstream, and keeps the connection.
    pub(super) async fn deny(&self, session: &mut ServerSession, passage: &Passage, why: Denial) -> Answer {
        self.metrics.denied(why);
        let reason = match why {
            Denial::Path => "path",
            Denial::MethodOverride => "method_override",
            Denial::User => "user",
        };
        self.events.record(Event::Denied, &about(passage, Reason::Word(reason)));
        body::discard(session).await;
        let message = match why {
            Denial::MethodOverride => "Method override is not allowed",
            Denial::Path | Denial::User => "Access denied",
        };
        Answer::plain(Reply::error(403, message))
    }
}

/// Who it was, for the audit trail.
fn about<'a>(passage: &'a Passage, reason: Reason<'a>) -> About<'a> {
    let client = passage.caller.map(|caller| caller.client);
    About { request: passage.request.as_ref(), client, reason, ..About::default() }
}
