//! A piece of work that this process sets by itself, in the format of ALTCHA's widget (the first one, SHA-256): a number is
//! to be found that, behind a salt, has a given hash. Nobody else is asked, and nothing is kept of a question: its
//! signature says that it is ours, its salt says until when it may be answered, and its mark that it was.
//!
//! Sources: altcha.org/docs, "Proof-of-work CAPTCHA" and the advisory on salts without a delimiter.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::reset::ports::{Caller, Challenge, Down, Keys, Purpose, Time, Verdict};

/// How long a question may be answered: as long as it takes to fill in a form.
const LIFE: Duration = Duration::from_secs(20 * 60);
/// The one algorithm: what an answer says of it is compared, never looked up.
const ALGORITHM: &str = "SHA-256";
/// Bytes of an answer that are looked at.
const LONGEST: usize = 2048;

/// Sets work, and judges it.
pub struct Altcha {
    most: u32,
    keys: Arc<dyn Keys>,
}

/// What the widget takes as `challengejson`.
#[derive(Serialize)]
struct Question<'a> {
    algorithm: &'static str,
    challenge: &'a str,
    maxnumber: u32,
    salt: &'a str,
    signature: &'a str,
}

/// What it gives, in base64.
#[derive(Deserialize)]
struct Answer {
    algorithm: String,
    challenge: String,
    number: u32,
    salt: String,
    signature: String,
}

impl Altcha {
    /// Work of at most so many tries.
    pub fn new(most: u32, keys: Arc<dyn Keys>) -> Self {
        Self { most, keys }
    }

    /// What came of an answer.
    fn judge(&self, response: &str, now: Time) -> Verdict {
        let Some(answer) = read(response) else { return Verdict::Refused("malformed") };
        let Answer { algorithm, challenge, number, salt, signature } = &answer;
        let ours = self.sign(challenge, salt);
        if algorithm != ALGORITHM || !bool::from(ours.as_bytes().ct_eq(signature.as_bytes())) {
            return Verdict::Refused("forged");
        }
        // Whatever is signed is of the shape that was written.
        let Some(until) = end(salt) else { return Verdict::Refused("malformed") };
        if until <= now {
            return Verdict::Refused("expired");
        }
        if hash(salt, *number) != *challenge {
            return Verdict::Refused("unsolved");
        }
        Verdict::Solved { mark: self.keys.mac(Purpose::Captcha, &[b"altcha", salt.as_bytes()]), until }
    }

    /// Of both, each with its length: no digit of the number passes for one of the salt.
    fn sign(&self, challenge: &str, salt: &str) -> String {
        let half = |part: &[u8]| self.keys.mac(Purpose::Captcha, &[part, challenge.as_bytes(), salt.as_bytes()]);
        hex(&half(b"sign 1")) + &hex(&half(b"sign 2"))
    }
}

#[async_trait]
impl Challenge for Altcha {
    fn asks_anew(&self) -> bool {
        true
    }

    fn question(&self, now: Time) -> Result<Option<Value>, Down> {
        const NO_RANDOMNESS: Down = Down { sent: false, full: false, retry_after: Duration::from_secs(1) };
        let draw = || self.keys.random().ok_or(NO_RANDOMNESS);
        let salt = format!("{}?expires={}&", hex(&draw()?), now.after(LIFE).secs());
        let number = u128::from_be_bytes(draw()?) % (u128::from(self.most) + 1);
        let challenge = hash(&salt, u32::try_from(number).unwrap_or(self.most));
        let signature = self.sign(&challenge, &salt);
        let question = Question {
            algorithm: ALGORITHM,
            challenge: &challenge,
            maxnumber: self.most,
            salt: &salt,
            signature: &signature,
        };
        Ok(serde_json::to_value(question).ok())
    }

    async fn verify(&self, response: &str, _: &Caller, now: Time) -> Result<Verdict, Down> {
        Ok(self.judge(response, now))
    }
}

/// Reads an answer: base64 of a JSON object.
fn read(response: &str) -> Option<Answer> {
    if response.len() > LONGEST {
        return None;
    }
    let json = STANDARD.decode(response).ok()?;
    // A list would be taken for the members in their order.
    json.starts_with(b"{").then(|| serde_json::from_slice(&json).ok())?
}

/// When a question ends, as its salt says.
fn end(salt: &str) -> Option<Time> {
    let seconds = salt.split_once("?expires=")?.1.strip_suffix('&')?;
    Some(Time::from_millis(seconds.parse::<u64>().ok()?.saturating_mul(1000)))
}

fn hash(salt: &str, number: u32) -> String {
    hex(digest(&SHA256, format!("{salt}{number}").as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
