//! Captchas: whoever can tell whether one was solved.

use async_trait::async_trait;
use serde_json::Value;

use super::{Caller, Digest, Down, Time};

/// What came of an answer to a captcha.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is solved. The answer is good once: `mark` stands for it, until it is good for nothing by itself.
    Solved {
        /// To be spent.
        mark: Digest,
        /// For how long.
        until: Time,
    },
    /// It is not, in a word of ours for the audit trail.
    Refused(&'static str),
}

/// Who sets captchas, or knows who does.
#[async_trait]
pub trait Challenge: Send + Sync {
    /// Whether [`Challenge::question`] is another one each time.
    fn asks_anew(&self) -> bool;
    /// What a page needs beside the site key in order to solve one; nothing, where it asks somebody else for it.
    ///
    /// # Errors
    /// [`Down`] where there is no randomness.
    fn question(&self, now: Time) -> Result<Option<Value>, Down>;
    /// Judges an answer.
    ///
    /// # Errors
    /// [`Down`] where nobody can tell: who does not know does not say yes.
    async fn verify(&self, response: &str, caller: &Caller, now: Time) -> Result<Verdict, Down>;
}
