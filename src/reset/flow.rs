//! A flow: what one asker's walk through the stages has come to.

use std::collections::BTreeMap;

use super::{
    filter::Filter,
    ports::{AccountId, Digest, FlowRef, Lane, Secret, Slot},
};

/// Where within its stage a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// `initial`
    Initial,
    /// `validateCode`: the code was mailed and is awaited.
    ValidateCode,
}

impl Tag {
    /// As it stands in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::ValidateCode => "validateCode",
        }
    }
}

/// The account that the user query found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its id in the store.
    pub id: AccountId,
    /// MAC of the mail address that it had.
    pub mail: Digest,
}

/// What the look-up said and no token carries: used up by the stages that the same request crosses.
#[derive(Default)]
pub struct Found {
    /// The stored address.
    pub address: Option<Secret>,
    /// The stored status.
    pub status: Option<String>,
    /// The accounts that have that address, where there are several and each gets a link of its own.
    pub sharers: Vec<Sharer>,
}

/// One of several accounts with one mail address.
pub struct Sharer {
    /// The account.
    pub known: Known,
    /// Its record key.
    pub record: Digest,
    /// Its status.
    pub status: Option<String>,
    /// What its owner calls it.
    pub name: Secret,
}

/// The state that tokens carry from request to request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Index of the stage.
    pub stage: usize,
    /// Where within it.
    pub tag: Tag,
    /// Whose token it is.
    pub lane: Lane,
    /// The flow's own id, drawn anew at every user query.
    pub flow: [u8; 16],
    /// What a solved captcha gave, for one user query.
    pub pass: Option<[u8; 16]>,
    /// The account's record key once the user query is through; random for a decoy.
    pub record: Option<Digest>,
    /// The account; `None` for a decoy: no other branch exists.
    pub account: Option<Known>,
    /// What the success answer gives back, by name.
    pub additions: BTreeMap<String, String>,
}

/// A flow in one request.
pub struct Flow {
    /// What the next token carries.
    pub state: State,
    /// What the look-up of this request found.
    pub found: Found,
    /// The place in the outbox, taken before the look-up.
    pub slot: Option<Box<dyn Slot>>,
    /// Whether the answer waits for the answer floor.
    pub floored: bool,
    /// What was asked for in this request.
    pub asked: Option<Filter>,
    /// The pass that this request has spent.
    pub spent: Option<[u8; 16]>,
}

impl Flow {
    /// A flow at the first stage.
    pub const fn start(flow: [u8; 16]) -> Self {
        Self::resume(State {
            stage: 0,
            tag: Tag::Initial,
            lane: Lane::Asker,
            flow,
            pass: None,
            record: None,
            account: None,
            additions: BTreeMap::new(),
        })
    }

    /// A flow where its token left it.
    pub const fn resume(state: State) -> Self {
        Self {
            state,
            found: Found { address: None, status: None, sharers: Vec::new() },
            slot: None,
            floored: false,
            asked: None,
            spent: None,
        }
    }

    /// Goes on with the one that is left of several, as if it had been found alone.
    pub fn settle(&mut self, only: Sharer) {
        self.state.account = Some(only.known);
        self.state.record = Some(only.record);
        self.found.status = only.status;
    }

    /// Where its record is. Before the user query there is none, and none is found.
    pub fn at(&self) -> FlowRef {
        FlowRef { account: self.state.record.unwrap_or(self.state.flow), flow: self.state.flow }
    }
}
