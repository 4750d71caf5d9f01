//! A record as it lies in memory: mostly one flow and nothing else, which then is all there is of it.

use super::record::{Live, Record};
use crate::reset::ports::{Digest, Time};

/// A packed record.
pub(super) enum Packed {
    /// Of one flow.
    One(Flow),
    /// Of several, or with more to it.
    More(Box<Record>),
}

/// A [`Live`] without the room that options take: there are up to millions.
pub(super) struct Flow {
    flow: [u8; 16],
    code: Digest,
    digits: Digest,
    undecided: Digest,
    mailed: Time,
    expires: Time,
    asker_tries: u32,
    link_tries: u32,
    refused: u32,
    has_digits: bool,
    is_undecided: bool,
    was_mailed: bool,
}

impl Packed {
    pub(super) fn new(record: Record) -> Self {
        match record.only() {
            Some(live) => Self::One(Flow {
                flow: live.flow,
                code: live.code,
                digits: live.digits.unwrap_or_default(),
                undecided: live.undecided.unwrap_or_default(),
                mailed: live.mailed.unwrap_or(Time::from_millis(0)),
                expires: live.expires,
                asker_tries: live.asker_tries,
                link_tries: live.link_tries,
                refused: live.refused,
                has_digits: live.digits.is_some(),
                is_undecided: live.undecided.is_some(),
                was_mailed: live.mailed.is_some(),
            }),
            None => Self::More(Box::new(record)),
        }
    }

    pub(super) fn unpacked(&self) -> Record {
        match self {
            Self::One(flow) => Record::of(Live {
                flow: flow.flow,
                code: flow.code,
                digits: flow.has_digits.then_some(flow.digits),
                mailed: flow.was_mailed.then_some(flow.mailed),
                expires: flow.expires,
                asker_tries: flow.asker_tries,
                link_tries: flow.link_tries,
                refused: flow.refused,
                undecided: flow.is_undecided.then_some(flow.undecided),
            }),
            Self::More(record) => (**record).clone(),
        }
    }

    /// When nothing in it is worth keeping any more.
    pub(super) fn ends(&self) -> Time {
        match self {
            Self::One(flow) => flow.expires,
            Self::More(record) => record.ends(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_one_flow_is_no_larger_than_it() {
        assert_eq!((size_of::<Flow>(), size_of::<Packed>()), (96, 96));
    }
}
