//! The reset engine: token ▸ stage ▸ token. It knows no server, mail library, cache or crypto library; it reaches the
//! world through [`ports`].

pub mod error;
pub mod filter;
pub mod flow;
mod kba;
pub mod ports;
pub mod process;
pub mod repeat;
pub mod secret;
pub mod stage;
pub mod stages;
pub mod token;
pub mod wire;

use std::{
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::Poll,
};

use bytes::Bytes;
use serde_json::json;

pub use stage::{Caller, Ports, Settings};

use error::Stop;
use flow::{Flow, State, Tag};
use kba::questions::Questions;
use ports::{About, Client, Digest, Event, Reason, Went};
use process::{Process, StageSettings};
use stage::{Cx, Next, Stage};
use stages::{
    captcha, email_validation, kba as answers, kba_alone, parameters, reset_stage, user_query, validate_active_account,
};
use wire::{Input, Reply, Requirements, Submission};

/// Of a step that no stage gets to see.
const NO_STAGE: &str = "none";

/// The stage machine of one process: `GET` reads it, `POST …?_action=submitRequirements` submits to it.
pub struct Engine {
    ports: Ports,
    settings: Settings,
    stages: Vec<Box<dyn Stage>>,
    binding: Digest,
    /// What a GET is answered, where that is always the same.
    opening: Option<Reply>,
}

impl Engine {
    /// The engine of a checked process.
    pub async fn new(process: &Process, settings: Settings, ports: Ports) -> Self {
        let binding = fingerprint(&process.binding());
        let mut engine = Self { ports, settings, stages: stages(process), binding, opening: None };
        let caller = Caller::nobody();
        let cx = engine.cx(&caller);
        if !engine.stages.first().is_some_and(|first| first.asks_anew(&cx)) {
            engine.opening = Some(engine.open_process(&cx).await);
        }
        engine
    }

    /// What the first stage asks that asks anything of that client: the answer to a GET. It never carries a token.
    pub async fn read(&self, client: Client) -> Reply {
        match &self.opening {
            Some(opening) => opening.clone(),
            None => self.open_process(&self.cx(&Caller { client, ..Caller::nobody() })).await,
        }
    }

    /// Takes a POST's body one step, or several, through the stages. Runs to its end whoever stops waiting for it, so
    /// the caller spawns it.
    pub async fn submit(self: Arc<Self>, body: Bytes, caller: Caller) -> Reply {
        let cx = self.cx(&caller);
        let mut noted = (NO_STAGE, None);
        let reply = self.step(&body, &cx, &mut noted).await.unwrap_or_else(|stop| stop.reply());
        let (stage, went) = noted;
        cx.ports.events.step(stage, went.unwrap_or(Went::of(reply.status)), cx.now().since(cx.began));
        reply
    }

    /// Notes the stage that the step is for, and what came of it, where the answer's status does not say that.
    async fn step(
        &self,
        body: &[u8],
        cx: &Cx<'_>,
        (at, went): &mut (&'static str, Option<Went>),
    ) -> Result<Reply, Stop> {
        let submission = Submission::parse(body)?;
        let Some(token) = &submission.token else {
            let input = submission.input()?;
            let flow = self.begin(&input, cx).await?;
            let Some(stage) = self.stages.get(flow.state.stage) else { return Err(Stop::bad("Invalid token")) };
            *at = stage.name();
            let came = OnceLock::new();
            let reply = if stage.tells_apart(&input) {
                let key = repeat::key(&*self.ports.keys, &self.binding, &stage.own_fields(Tag::Initial), &input);
                self.ports.repeats.once(key, Box::pin(self.walk(flow, input, cx, &came))).await
            } else {
                self.walk(flow, input, cx, &came).await
            };
            *went = Some(came.get().copied().unwrap_or(Went::Repeated));
            return Ok(reply);
        };
        let refuse = |state: Option<&State>, why, message| {
            let flow = state.map(|state| &state.flow);
            let account = state.and_then(|state| state.account.as_ref()).map(|known| &known.id);
            let about = About { flow, account, reason: Reason::Word(why), ..About::default() };
            cx.note(Event::TokenRefused, &about);
            Stop::bad(message)
        };
        let opened = self.ports.keys.open(token.expose());
        let token = opened.ok_or_else(|| refuse(None, "invalid", "Snapshot token is invalid"))?;
        let unpacked = token::unpack(token.state.expose());
        if cx.began >= token.expires {
            return Err(refuse(unpacked.as_ref().map(|(state, _)| state), "expired", "Snapshot token is invalid"));
        }
        let input = submission.input()?;
        let (state, binding) = unpacked.ok_or_else(|| refuse(None, "invalid", "Snapshot token is invalid"))?;
        let stage = self.stages.get(state.stage).filter(|_| binding == self.binding);
        let stage = stage.ok_or_else(|| refuse(Some(&state), "process", "Invalid token"))?;
        *at = stage.name();
        let key = repeat::key(&*self.ports.keys, &token.id, &stage.own_fields(state.tag), &input);
        let came = OnceLock::new();
        let work = Box::pin(self.walk(Flow::resume(state), input, cx, &came));
        let reply = self.ports.repeats.once(key, work).await;
        *went = Some(came.get().copied().unwrap_or(Went::Repeated));
        Ok(reply)
    }

    /// A flow at the first stage that there is for such an input.
    async fn begin(&self, input: &Input, cx: &Cx<'_>) -> Result<Flow, Stop> {
        let mut flow = Flow::start(cx.random()?);
        while let Some(stage) = self.stages.get(flow.state.stage)
            && stage.is_skipped(input, cx).await
        {
            flow.state.stage += 1;
        }
        Ok(flow)
    }

    /// From a stage's advance to the answer; what came of it is told apart, for an equal request may have the answer too.
    async fn walk(&self, mut flow: Flow, input: Input, cx: &Cx<'_>, came: &OnceLock<Went>) -> Reply {
        let floor = self.settings.answer_floor;
        let mut answer_at = cx.began.after(floor);
        let begun = flow.state.stage;
        // Set before the work, for all: answers that are due in the same moment then leave in the order in which they
        // were asked for, and not in the order in which their look-ups ended.
        let may_wait = self.stages.get(begun).is_some_and(|stage| stage.may_wait(cx));
        let mut due = may_wait.then(|| self.ports.clock.until(answer_at));
        poll_fn(|task| {
            due.take_if(|due| due.as_mut().poll(task).is_ready());
            Poll::Ready(())
        })
        .await;
        let reply = self.advance(&mut flow, input, cx).await.unwrap_or_else(|stop| stop.reply());
        let passed = reply.status == 200 && flow.state.stage > begun;
        if let (429 | 503, Some(pass)) = (reply.status, &flow.spent) {
            captcha::unspend(pass, cx).await;
        }
        let _ = came.set(if passed { Went::Passed } else { Went::of(reply.status) });
        if let Some(slot) = flow.slot.take() {
            slot.decoy(cx.now().after(self.settings.link_lifetime));
        }
        if flow.floored {
            if cx.now() > answer_at {
                cx.record_of(&flow, Event::FloorMissed, Reason::None);
                let now = cx.now();
                while answer_at < now && !floor.is_zero() {
                    answer_at = answer_at.after(floor);
                }
                self.ports.clock.until(answer_at).await;
            } else {
                due.unwrap_or_else(|| self.ports.clock.until(answer_at)).await;
            }
        }
        reply
    }

    async fn advance(&self, flow: &mut Flow, mut input: Input, cx: &Cx<'_>) -> Result<Reply, Stop> {
        while let Some(stage) = self.stages.get(flow.state.stage) {
            match stage.advance(&input, flow, cx).await? {
                Next::Ask { tag, requirements } => return self.ask(&**stage, tag, &requirements, flow, cx),
                Next::Return { to, requirements } => {
                    let earlier = self.stages.iter().enumerate().find(|(_, stage)| stage.name() == to);
                    let Some((index, earlier)) = earlier else { break };
                    flow.state.stage = index;
                    return self.ask(&**earlier, Tag::Initial, &requirements, flow, cx);
                }
                Next::Done => {}
            }
            input = Input::nothing();
            flow.state.stage += 1;
            flow.state.tag = Tag::Initial;
            let Some(next) = self.stages.get(flow.state.stage) else {
                return Ok(Reply::ok(&json!({
                    "type": stage.name(),
                    "tag": "end",
                    "status": {"success": true},
                    "additions": flow.state.additions,
                })));
            };
            if let Some(requirements) = next.requirements(flow, cx).await? {
                return self.ask(&**next, Tag::Initial, &requirements, flow, cx);
            }
        }
        // A token holds an index that `step` has looked up, and the last stage ends above.
        cx.record(Event::Broken { what: "a flow beyond its last stage" });
        Err(Stop::bad("Invalid token"))
    }

    fn ask(
        &self,
        stage: &dyn Stage,
        tag: Tag,
        requirements: &Requirements,
        flow: &mut Flow,
        cx: &Cx<'_>,
    ) -> Result<Reply, Stop> {
        flow.state.tag = tag;
        let token = cx.seal_answer(&flow.state)?;
        Ok(Reply::written(wire::progress(stage.name(), tag.as_str(), requirements, Some(&token))))
    }

    async fn open_process(&self, cx: &Cx<'_>) -> Reply {
        let mut flow = match self.begin(&Input::nothing(), cx).await {
            Ok(flow) => flow,
            Err(stop) => return stop.reply(),
        };
        let Some(stage) = self.stages.get(flow.state.stage) else { return Reply::error(503, "Not ready") };
        let requirements = match stage.requirements(&mut flow, cx).await {
            Ok(requirements) => requirements.unwrap_or_else(|| Requirements::of(&json!({}))),
            Err(stop) => return stop.reply(),
        };
        let mut body = wire::progress(stage.name(), Tag::Initial.as_str(), &requirements, None);
        let [.., a, b, c, d] = fingerprint(&body);
        let revision = i32::from_be_bytes([a, b, c, d]).to_string();
        let etag = Some(format!("\"{revision}\""));
        if self.settings.crest_ids {
            body = body.replacen('{', &format!(r#"{{"_id":"1","_rev":"{revision}","#), 1);
        }
        Reply { etag, ..Reply::written(body) }
    }

    fn cx<'a>(&'a self, caller: &'a Caller) -> Cx<'a> {
        let began = self.ports.clock.now();
        Cx { ports: &self.ports, settings: &self.settings, binding: &self.binding, caller, began }
    }
}

/// Tells texts apart, the same in every build (FNV-1a, 128 bits). Not against an attacker: what it is used for is sealed
/// in tokens or says nothing.
fn fingerprint(text: &str) -> Digest {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME)).to_be_bytes()
}

fn stages(process: &Process) -> Vec<Box<dyn Stage>> {
    let query = process.stages.iter().find_map(|stage| match stage {
        StageSettings::UserQuery(settings) => Some(settings),
        _ => None,
    });
    let status = process.stages.iter().find_map(|stage| match stage {
        StageSettings::ValidateActiveAccount(settings) => Some(settings.clone()),
        _ => None,
    });
    let captcha = process.captcha();
    let stages = process.stages.iter().cloned().filter_map(|settings| -> Option<Box<dyn Stage>> {
        Some(match settings {
            StageSettings::Parameters(settings) => Box::new(parameters::Parameters(settings)),
            StageSettings::Captcha(settings) => Box::new(captcha::Captcha(settings)),
            StageSettings::UserQuery(settings) => {
                Box::new(user_query::UserQuery { settings, captcha: captcha.clone() })
            }
            StageSettings::ValidateActiveAccount(settings) => {
                Box::new(validate_active_account::ValidateActiveAccount(settings))
            }
            StageSettings::EmailValidation(settings) => Box::new(email_validation::EmailValidation(settings)),
            // A checked process has a user query before them.
            StageSettings::Kba(settings) => {
                let questions = Questions::new(settings, query?.clone(), status.clone());
                if process.asks_strangers() {
                    Box::new(kba_alone::Alone { questions, mails: process.email().is_some() })
                } else {
                    Box::new(answers::Verification(questions))
                }
            }
            StageSettings::ResetStage(mut settings) => {
                let query = query?.clone();
                settings.resource.id_field = query.resource.id_field.clone();
                Box::new(reset_stage::ResetStage { settings, query, status: status.clone() })
            }
        })
    });
    stages.collect()
}
