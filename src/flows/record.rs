//! One account's record: what each atomic step does to it. Pure: time is a parameter.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{
    config::Config,
    reset::ports::{Attempt, Claim, Digest, FlowRef, Lane, NewCode, Opened, Settled, Time, Turn},
};

/// Codes that may be live for one account at a time; the mail budget normally keeps them far fewer.
const MAX_CODES: usize = 16;
/// Flows that may join one code.
const MAX_JOINED: usize = 4;

/// By what a code of digits is known: the first half of its digest, as there are far fewer such codes than 64 bits tell apart.
pub(super) type Typed = [u8; 8];

/// Whose record stands in for those that are not there.
const NOBODY: FlowRef = FlowRef { account: [0; 16], flow: [0; 16] };

/// The rules of a code cache, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Tries of each lane.
    pub tries: u32,
    /// Passwords that may be refused in one flow.
    pub refused: u32,
    /// Within it of a mail, another start joins its code.
    pub mail_gap: Duration,
}

impl Rules {
    /// As configured.
    pub const fn of(config: &Config) -> Self {
        Self { tries: config.codes.tries, refused: config.codes.refused, mail_gap: config.reset.mail_gap }
    }
}

/// The few live flows of one account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    flows: Vec<Live>,
    // Few have any of these, at any time.
    lease: Option<Box<Lease>>,
    set: Option<Box<SetBy>>,
    answering: Option<Box<Answering>>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Live {
    pub(super) flow: [u8; 16],
    pub(super) code: Digest,
    pub(super) digits: Option<Typed>,
    /// When its own code was queued; `None` where it joined another's.
    pub(super) mailed: Option<Time>,
    pub(super) expires: Time,
    pub(super) asker_tries: u32,
    pub(super) link_tries: u32,
    pub(super) refused: u32,
    /// A password that may have been set: no other may be tried.
    pub(super) undecided: Option<Digest>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Lease {
    flow: [u8; 16],
    password: Digest,
    until: Time,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct SetBy {
    flow: [u8; 16],
    password: Digest,
    until: Time,
}

/// Whose answers are looked at.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Answering {
    ticket: [u8; 16],
    until: Time,
}

fn typed(digest: &Digest) -> Typed {
    digest.first_chunk().copied().unwrap_or_default()
}

impl Record {
    /// One of as many flows as most have; it is nobody's and does not end.
    pub(super) fn stand_in() -> Self {
        Self::of(Live {
            flow: NOBODY.flow,
            code: Digest::default(),
            digits: Some(Typed::default()),
            mailed: None,
            expires: Time::from_millis(u64::MAX),
            asker_tries: 1,
            link_tries: 1,
            refused: 0,
            undecided: None,
        })
    }

    /// One of that flow and nothing else.
    pub(super) fn of(live: Live) -> Self {
        Self { flows: vec![live], ..Self::default() }
    }

    /// Its flow, if that is all there is of it.
    pub(super) fn only(&self) -> Option<&Live> {
        match self {
            Self { flows, lease: None, set: None, answering: None } if flows.len() == 1 => flows.first(),
            _ => None,
        }
    }

    /// When nothing in it is worth keeping any more.
    pub(super) fn ends(&self) -> Time {
        let flows = self.flows.iter().map(|live| live.expires);
        let others = [self.lease.as_ref().map(|lease| lease.until), self.set.as_ref().map(|set| set.until)];
        flows.chain(others.into_iter().flatten()).max().unwrap_or(Time::from_millis(0))
    }

    /// Forgets what has ended. A lease that nobody settled leaves its password undecided.
    pub(super) fn prune(&mut self, now: Time) {
        if let Some(lease) = self.lease.take_if(|lease| lease.until <= now)
            && let Some(live) = self.find(&lease.flow)
        {
            live.undecided = Some(lease.password);
        }
        let leased = self.lease.as_ref().map(|lease| lease.flow);
        self.flows.retain(|live| live.expires > now || leased == Some(live.flow));
        self.set.take_if(|set| set.until <= now);
        self.answering.take_if(|answering| answering.until <= now);
    }

    pub(super) fn open(&mut self, at: &FlowRef, code: NewCode, rules: Rules, now: Time) -> Opened {
        let recent = |live: &&Live| live.mailed.is_some_and(|mailed| now.since(mailed) < rules.mail_gap);
        let live = |code, digits, mailed, expires| Live {
            flow: at.flow,
            code,
            digits,
            mailed,
            expires,
            asker_tries: rules.tries,
            link_tries: rules.tries,
            refused: 0,
            undecided: None,
        };
        if let Some(mailed) = self.flows.iter().find(recent).copied() {
            let joined = self.flows.iter().filter(|live| live.mailed.is_none() && live.code == mailed.code).count();
            if joined >= MAX_JOINED {
                return Opened::Crowded;
            }
            self.enter(live(mailed.code, mailed.digits, None, mailed.expires));
            return Opened::Joined;
        }
        if self.flows.iter().filter(|live| live.mailed.is_some()).count() >= MAX_CODES {
            return Opened::Crowded;
        }
        self.enter(live(code.digest, code.digits.as_ref().map(typed), Some(now), code.expires));
        Opened::Mail
    }

    /// Most accounts have one, and there are many accounts.
    fn enter(&mut self, live: Live) {
        self.flows.reserve_exact(1);
        self.flows.push(live);
    }

    pub(super) fn withdraw(&mut self, at: &FlowRef) {
        if let Some(code) = self.find(&at.flow).map(|live| live.code) {
            self.flows.retain(|live| live.code != code);
        }
    }

    /// Takes a try before it compares; the right code gives it back, for it may be shown again.
    pub(super) fn attempt(&mut self, at: &FlowRef, lane: Lane, code: &Digest, until: Time) -> Attempt {
        let spent = self.set.is_some();
        let Some(live) = self.find(&at.flow) else { return if spent { Attempt::Spent } else { Attempt::Gone } };
        let (tries, digits) = match lane {
            Lane::Asker => (&mut live.asker_tries, live.digits),
            Lane::Link => (&mut live.link_tries, None),
        };
        let Some(left) = tries.checked_sub(1) else { return Attempt::TriedOut };
        *tries = left;
        let right = bool::from(live.code.ct_eq(code)) | digits.is_some_and(|digits| digits.ct_eq(&typed(code)).into());
        if right {
            *tries += 1;
            live.expires = live.expires.max(until);
        }
        if right { Attempt::Right } else { Attempt::Wrong }
    }

    /// As much work as an attempt at a record that is there; the tries of a stand-in have no end.
    pub(super) fn attempt_in_vain(&mut self, lane: Lane, code: &Digest, until: Time) {
        self.attempt(&NOBODY, lane, code, until);
        if let Some(live) = self.find(&NOBODY.flow) {
            (live.asker_tries, live.link_tries) = (1, 1);
        }
    }

    pub(super) fn turn(&mut self, at: &FlowRef, ticket: [u8; 16], lease: Duration, now: Time) -> Turn {
        if self.find(&at.flow).is_none() {
            return Turn::Gone;
        }
        if self.answering.as_ref().is_some_and(|answering| answering.ticket != ticket) {
            return Turn::Busy;
        }
        self.answering = Some(Box::new(Answering { ticket, until: now.after(lease) }));
        Turn::Ours
    }

    pub(super) fn pass(&mut self, at: &FlowRef, ticket: [u8; 16], until: Option<Time>) {
        self.answering.take_if(|answering| answering.ticket == ticket);
        if let (Some(live), Some(until)) = (self.find(&at.flow), until) {
            live.expires = live.expires.max(until);
        }
    }

    pub(super) fn claim(&mut self, at: &FlowRef, password: Digest, lease: Duration, now: Time) -> Claim {
        if let Some(set) = self.set.as_ref().filter(|set| set.flow == at.flow) {
            return if bool::from(set.password.ct_eq(&password)) { Claim::AlreadySet } else { Claim::Gone };
        }
        let busy = self.lease.is_some();
        let Some(live) = self.find(&at.flow) else { return Claim::Gone };
        if live.undecided.is_some_and(|only| !bool::from(only.ct_eq(&password))) {
            return Claim::Undecided;
        }
        if busy {
            return Claim::Busy;
        }
        self.lease = Some(Box::new(Lease { flow: at.flow, password, until: now.after(lease) }));
        Claim::Granted
    }

    pub(super) fn settle(&mut self, at: &FlowRef, how: Settled, rules: Rules) {
        let Some(lease) = self.lease.take_if(|lease| lease.flow == at.flow) else { return };
        let Some(live) = self.find(&at.flow) else { return };
        match how {
            Settled::Set => {
                self.set = Some(Box::new(SetBy { flow: at.flow, password: lease.password, until: live.expires }));
                self.flows = Vec::new();
            }
            Settled::Refused { until } => {
                live.undecided = None;
                live.refused += 1;
                live.expires = live.expires.max(until);
                if live.refused >= rules.refused {
                    self.flows.retain(|live| live.flow != at.flow);
                }
            }
            Settled::NotSent => {}
            Settled::Unknown => live.undecided = Some(lease.password),
        }
    }

    fn find(&mut self, flow: &[u8; 16]) -> Option<&mut Live> {
        self.flows.iter_mut().find(|live| live.flow == *flow)
    }
}
