//! What each token of a walk is worth, kept apart from the engine and far simpler.

use std::{collections::BTreeMap, time::Duration};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use proptest::prelude::*;
use resetgate::reset::ports::{Client, Clock, Time};
use serde_json::{Value, json};

use super::{Input, NAMES, Step, Token};
use crate::support::engine::{Answered, Machine, Mailed, Patch, client};

/// Wrong codes that a lane takes, by default.
const TRIES: u32 = 5;

/// What is known of a token that was answered or mailed.
#[derive(Clone, Debug)]
struct Known {
    text: String,
    /// Whom its flow is for, once somebody was asked for.
    name: Option<&'static str>,
    /// The step in which that was.
    asked: usize,
    /// Whether it was answered to the right code.
    proven: bool,
}

/// A POST about to be made.
#[derive(Clone, Debug)]
struct Attempt {
    token: Option<Known>,
    input: Input,
    body: Value,
    code: Option<String>,
    password: Option<String>,
}

/// What walks came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcomes {
    pub(super) patches: u64,
    /// Right codes.
    pub(super) proofs: u64,
    /// Links that had to be good, and were.
    pub(super) good_links: u64,
}

pub(super) struct Walk {
    machine: Machine,
    step: usize,
    tokens: Vec<Known>,
    mails: Vec<(Mailed, Known)>,
    /// Wrong codes shown with a token, by its text.
    wrong: BTreeMap<String, u32>,
    /// The step in which each account's password was set last.
    set: BTreeMap<String, usize>,
    seen: Vec<Patch>,
    outcomes: Outcomes,
}

type Checked = Result<(), TestCaseError>;

impl Walk {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            machine,
            step: 0,
            tokens: Vec::new(),
            mails: Vec::new(),
            wrong: BTreeMap::new(),
            set: BTreeMap::new(),
            seen: Vec::new(),
            outcomes: Outcomes::default(),
        }
    }

    pub(super) fn outcomes(&self) -> Outcomes {
        self.outcomes
    }

    pub(super) async fn take(&mut self, step: &Step) -> Checked {
        self.step += 1;
        match *step {
            Step::Get => prop_assert!(self.machine.read(Client::Unknown).await.token().is_none()),
            Step::Wait(seconds) => self.machine.clock.forward(Duration::from_secs(seconds)),
            Step::Start(who) => {
                self.post(Token::None, Input::Empty).await?;
                self.post(Token::Recent(0), Input::Query(who)).await?;
            }
            Step::Post(token, input) => self.post(token, input).await?,
            Step::Twice(token, input) => {
                let attempt = self.attempt(token, input);
                self.one(&attempt).await?;
                self.one(&attempt).await?;
            }
            Step::Pair((token, input), (other, its)) => {
                let pair = [self.attempt(token, input), self.attempt(other, its)];
                let answers = self.at_once(&pair).await;
                self.judge(&pair, &answers)?;
            }
            Step::Burn(token) => {
                for n in 0..=TRIES {
                    let attempt = self.attempt(token, Input::Wrong(n as u8));
                    self.one(&attempt).await?;
                }
            }
            Step::Follow(mail, password) => {
                self.post(Token::Link(mail), Input::Code(mail, 0)).await?;
                if self.tokens.last().is_some_and(|known| known.proven) {
                    self.post(Token::Recent(0), Input::Password(password)).await?;
                }
            }
        }
        Ok(())
    }

    async fn post(&mut self, token: Token, input: Input) -> Checked {
        let attempt = self.attempt(token, input);
        self.one(&attempt).await
    }

    async fn one(&mut self, attempt: &Attempt) -> Checked {
        let must_be_right = self.must_be_right(attempt);
        let answer = self.machine.post(client(1), &attempt.body).await;
        if must_be_right {
            prop_assert!(answer.asks_for("resetStage"), "a live link is refused: {attempt:?} {answer:?}");
            self.outcomes.good_links += 1;
        }
        self.judge(std::slice::from_ref(attempt), &[answer])
    }

    /// Both in flight together, the clock moving on while one waits for the other.
    async fn at_once(&self, pair: &[Attempt; 2]) -> Vec<Answered> {
        let [one, other] = pair.each_ref().map(|attempt| self.machine.post(client(1), &attempt.body));
        let time = async {
            loop {
                for _ in 0..64 {
                    tokio::task::yield_now().await;
                }
                self.machine.clock.forward(Duration::from_millis(50));
            }
        };
        tokio::select! {
            biased;
            (one, other) = async { tokio::join!(one, other) } => vec![one, other],
            () = time => Vec::new(),
        }
    }

    fn attempt(&self, token: Token, input: Input) -> Attempt {
        let newest =
            |list: &[Known], back: usize| list.len().checked_sub(back + 1).and_then(|at| list.get(at)).cloned();
        let (known, text) = match token {
            Token::None => (None, None),
            Token::Garbage => (None, Some("a.b.c".to_owned())),
            Token::Recent(back) => (newest(&self.tokens, back), None),
            Token::Any(at) => (self.tokens.get(at % self.tokens.len().max(1)).cloned(), None),
            Token::Link(back) => (self.mail(back).map(|(_, known)| known.clone()), None),
        };
        let text = text.or_else(|| known.as_ref().map(|known| known.text.clone()));
        let code_of = |back| self.mail(back).map_or("none".to_owned(), |(mail, _)| mail.code.clone());
        let (code, password, said) = match input {
            Input::Code(mail, blanks) => {
                let code = code_of(mail);
                let said = json!({"code": format!("{}{code}", " ".repeat(blanks))});
                (Some(code), None, said)
            }
            Input::Wrong(n) => (Some(format!("wrong {n}")), None, json!({"code": format!("wrong {n}")})),
            Input::Password(n) => (None, Some(password(n)), json!({"password": password(n)})),
            Input::Query(who) => (None, None, json!({"queryFilter": format!("userName eq \"{}\"", NAMES[who])})),
            Input::Everything(mail, n) => {
                let code = code_of(mail);
                let filter = "userName eq \"alice\"";
                let said = json!({"code": code, "password": password(n), "queryFilter": filter, "x": [1]});
                (Some(code), Some(password(n)), said)
            }
            Input::Empty => (None, None, json!({})),
            Input::Missing => (None, None, Value::Null),
            Input::NoObject => (None, None, json!(["code", "password"])),
        };
        let mut body = json!({"input": said});
        if let Some(text) = text {
            body["token"] = text.into();
        }
        Attempt { token: known, input, body, code, password }
    }

    fn mail(&self, back: usize) -> Option<&(Mailed, Known)> {
        self.mails.len().checked_sub(back + 1).and_then(|at| self.mails.get(at))
    }

    /// Whether it is the right code on a mailed link that is alive, has tries left, and whose account was not reset.
    fn must_be_right(&self, attempt: &Attempt) -> bool {
        let (Some(token), Some(code)) = (&attempt.token, &attempt.code) else { return false };
        self.mails.iter().any(|(mail, known)| mail.token == token.text && mail.code == *code && self.is_open(known))
            && self.wrong.get(&token.text).is_none_or(|wrong| *wrong < TRIES)
            && self.machine.clock.now() < ends(&token.text)
    }

    /// Whether the password was not set since its flow began.
    fn is_open(&self, known: &Known) -> bool {
        known.name.is_some_and(|name| self.set.get(name).is_none_or(|set| *set < known.asked))
    }

    /// What these answers and the PATCHes behind them must not be.
    fn judge(&mut self, attempts: &[Attempt], answers: &[Answered]) -> Checked {
        self.judge_patches(attempts)?;
        for (attempt, answer) in attempts.iter().zip(answers) {
            prop_assert!([200, 400].contains(&answer.0.status), "{attempt:?} {answer:?}");
            self.judge_answer(attempt, answer)?;
        }
        let mails = self.machine.mailed();
        for mail in mails.into_iter().skip(self.mails.len()) {
            let name = NAMES[..3].iter().copied().find(|name| mail.to == format!("{name}@example.com"));
            prop_assert!(name.is_some(), "a mail to {}", mail.to);
            let known = Known { text: mail.token.clone(), name, asked: self.step, proven: false };
            self.mails.push((mail, known));
        }
        Ok(())
    }

    fn judge_patches(&mut self, attempts: &[Attempt]) -> Checked {
        let patches = self.machine.patches();
        let new = patches[self.seen.len()..].to_vec();
        self.seen = patches;
        for patch in new {
            let entitled = attempts.iter().any(|attempt| {
                attempt.password.as_ref() == Some(&patch.password)
                    && attempt.token.as_ref().is_some_and(|token| {
                        token.proven
                            && token.name == Some(&*patch.account)
                            && self.is_open(token)
                            && self.machine.clock.now() < ends(&token.text).after(PAIR_TAKES)
                    })
            });
            prop_assert!(entitled, "{patch:?} by {attempts:?}, set before: {:?}", self.set);
            self.outcomes.patches += 1;
            // Before any other PATCH of the same pair is judged: the first one ends every flow of the account.
            self.set.insert(patch.account, self.step);
        }
        Ok(())
    }

    fn judge_answer(&mut self, attempt: &Attempt, answer: &Answered) -> Checked {
        if let (Some(token), Some(_), 400) = (&attempt.token, &attempt.code, answer.0.status) {
            *self.wrong.entry(token.text.clone()).or_default() += 1;
        }
        let token = attempt.token.clone();
        if answer.is_success() {
            let proven = token.as_ref().is_some_and(|token| token.proven);
            let was_set = self.seen.iter().any(|patch| {
                Some(&*patch.account) == token.as_ref().and_then(|token| token.name)
                    && Some(&patch.password) == attempt.password.as_ref()
            });
            prop_assert!(proven && was_set, "success for nothing: {attempt:?}");
        }
        let Some(text) = answer.token() else { return Ok(()) };
        if answer.asks_for("resetStage") {
            let token = token.expect("a flow goes on by its token only");
            let right = attempt.code.as_ref().is_some_and(|code| {
                self.mails.iter().any(|(mail, known)| mail.code == *code && known.name == token.name)
            });
            prop_assert!(right && token.name.is_some(), "a code that is not right: {attempt:?} {answer:?}");
            self.outcomes.proofs += 1;
            self.tokens.push(Known { text, proven: true, ..token });
        } else if answer.asks_for("emailValidation") {
            let name = match attempt.input {
                Input::Query(who) => Some(NAMES[who]),
                Input::Everything(..) => Some("alice"),
                _ => None,
            };
            prop_assert!(name.is_some(), "mails without a query: {attempt:?}");
            // A repeat is answered with the token of then, and does not make its flow any younger.
            let asked = self.tokens.iter().find(|known| known.text == text).map_or(self.step, |known| known.asked);
            self.tokens.push(Known { text, name, asked, proven: false });
        } else {
            prop_assert!(answer.asks_for("userQuery"), "{answer:?}");
            self.tokens.push(Known { text, name: None, asked: self.step, proven: false });
        }
        Ok(())
    }
}

/// A pair's clock moves on while it runs.
const PAIR_TAKES: Duration = Duration::from_secs(1);

fn password(n: u8) -> String {
    format!("Fresh-Pass{n}")
}

/// A token's own end, which everybody can read.
fn ends(token: &str) -> Time {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    Time::from_millis(claims["exp"].as_u64().unwrap() * 1000)
}
