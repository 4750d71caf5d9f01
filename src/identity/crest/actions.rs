//! Actions of a store that are none of its accounts', such as sending a letter.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use tokio::time::timeout;

use super::{Crest, JSON, encode};
use crate::{
    identity::calls::{Call, Name},
    outbound::{Failure, Kind, Outgoing},
    reset::ports::{Caller, Resource, Secret},
};

/// A service of IDM's, asked as the service user.
pub struct Action<'a> {
    /// Where it is, below the store's base URL: `external/email`.
    pub path: &'a str,
    /// What it is to do: `send`.
    pub action: &'a str,
    /// With what, beside its body.
    pub parameters: &'a [(String, String)],
    /// Where accounts are: of nobody there is asked whether the store answers at all.
    pub accounts: &'a Resource,
}

impl Crest {
    /// Has a letter sent by IDM's own mail service; whatever its status, an answer is an answer. So few are sent at a
    /// time that look-ups hardly wait for them.
    ///
    /// # Errors
    /// If there is none.
    pub async fn send_letter(
        &self,
        action: &Action<'_>,
        body: Bytes,
    ) -> Result<(StatusCode, Secret<Vec<u8>>), Failure> {
        let turn = timeout(self.calls.longest(), self.errands.acquire()).await;
        let _turn = turn.ok().and_then(Result::ok).ok_or(Failure::unsent(Kind::Busy))?;
        let call = self.calls.call(&Caller::nobody(), Name::Mail);
        let answered = async {
            let request = self.acting(action, body)?;
            let answer = call.send(&request, || self.nobody(action.accounts)).await?.answer;
            Ok((answer.status, answer.body().await?))
        };
        let answered = answered.await;
        self.note(&call, answered.as_ref().map(|(status, _)| *status).map_err(|failure| *failure));
        answered
    }

    /// Makes a call below the store's base URL, path and query as they are; whatever its status, an answer is an answer.
    ///
    /// # Errors
    /// If there is none.
    pub async fn call_below(
        &self,
        (method, below): (Method, &str),
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        accounts: &Resource,
    ) -> Result<StatusCode, Failure> {
        let turn = timeout(self.calls.longest(), self.errands.acquire()).await;
        let _turn = turn.ok().and_then(Result::ok).ok_or(Failure::unsent(Kind::Busy))?;
        let call = self.calls.call(&Caller::nobody(), Name::Revoke);
        let answered = async {
            let mut request = self.below(method, below, "")?;
            request.own.extend(headers);
            request.body = body;
            let answer = call.send(&request, || self.nobody(accounts)).await?.answer;
            Ok(answer.status)
        };
        let answered = answered.await;
        self.note(&call, answered);
        answered
    }

    /// Counted and said, as of any call.
    fn note(&self, call: &Call<'_>, answered: Result<StatusCode, Failure>) {
        let _ = call.ended(match answered {
            Ok(status) if !status.is_success() => Err(Failure::status(status)),
            Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        });
    }

    /// Whether the store answers, which a look-up for nobody tells.
    pub async fn answers(&self, accounts: &Resource) -> bool {
        let call = self.calls.call(&Caller::nobody(), Name::Find);
        let asked = async {
            let nobody = self.nobody(accounts).ok_or(Failure::unsent(Kind::Request))?;
            let answer = call.send(&nobody, || self.nobody(accounts)).await?.answer;
            if answer.status.is_success() { Ok(()) } else { Err(Failure::status(answer.status)) }
        };
        call.ended(asked.await).is_ok()
    }

    pub(super) fn acting(&self, action: &Action<'_>, body: Bytes) -> Result<Outgoing, Failure> {
        let mut query = format!("?_action={}", encode(action.action));
        for (name, value) in action.parameters {
            let _ = write!(query, "&{}={}", encode(name), encode(value));
        }
        let mut request = self.below(Method::POST, action.path, &query)?;
        request.own.push((CONTENT_TYPE, JSON));
        request.body = body;
        Ok(request)
    }
}

/// How many errands may be under way at a time: a quarter of all calls, but no more than the outbox has hands, and one.
pub(super) fn most(calls: usize) -> usize {
    (calls / 4).clamp(1, 4)
}
