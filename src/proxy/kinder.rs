//! Says what an operator wants people to read in place of IDM's own texts.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{config::Messages, reset::wire::Reply};

/// The answer with the operator's text, where there is one for it. What is no error has no text that anybody reads.
pub(super) fn kinder(reply: Reply, messages: &Messages) -> Reply {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        message: Cow<'a, str>,
    }
    if messages.is_empty() || reply.status < 400 {
        return reply;
    }
    let said = serde_json::from_slice::<Body<'_>>(&reply.body).ok();
    match said.and_then(|body| messages.in_place_of(&body.message)) {
        Some(message) => Reply { body: Reply::error(reply.status, message).body, ..reply },
        None => reply,
    }
}
