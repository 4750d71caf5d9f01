//! A record as it lies in memory: mostly one flow and nothing else, which then is all there is of it.

use super::record::{Live, Record, Typed};
use crate::reset::ports::{Digest, Time};

/// A packed record.
pub(super) enum Packed {
    /// Of one flow.
    One(Flow),
    /// Of several, or with more to it.
    More(Box<Record>),
}

/// A [`Live`] without the room that options and large numbers take: there are up to millions.
pub(super) struct Flow {
    flow: [u8; 16],
    code: Digest,
    digits: Typed,
    expires: Time,
    /// When it was mailed, in milliseconds before it expires, or [`NOT_MAILED`].
    mailed_before: u32,
    asker_tries: u8,
    link_tries: u8,
    refused: u8,
    has_digits: bool,
}

const NOT_MAILED: u32 = u32::MAX;

impl Flow {
    /// `None` of what has no room here: a password that is undecided, and numbers that nobody configures.
    fn of(live: &Live) -> Option<Self> {
        let mailed_before = match live.mailed {
            Some(mailed) => {
                let before = u32::try_from(live.expires.millis().checked_sub(mailed.millis())?).ok()?;
                (before != NOT_MAILED).then_some(before)?
            }
            None => NOT_MAILED,
        };
        live.undecided.is_none().then_some(Self {
            flow: live.flow,
            code: live.code,
            digits: live.digits.unwrap_or_default(),
            expires: live.expires,
            mailed_before,
            asker_tries: live.asker_tries.try_into().ok()?,
            link_tries: live.link_tries.try_into().ok()?,
            refused: live.refused.try_into().ok()?,
            has_digits: live.digits.is_some(),
        })
    }

    fn live(&self) -> Live {
        let mailed = self.expires.millis().saturating_sub(self.mailed_before.into());
        Live {
            flow: self.flow,
            code: self.code,
            digits: self.has_digits.then_some(self.digits),
            mailed: (self.mailed_before != NOT_MAILED).then_some(Time::from_millis(mailed)),
            expires: self.expires,
            asker_tries: self.asker_tries.into(),
            link_tries: self.link_tries.into(),
            refused: self.refused.into(),
            undecided: None,
        }
    }
}

impl Packed {
    pub(super) fn new(record: Record) -> Self {
        match record.only().and_then(Flow::of) {
            Some(flow) => Self::One(flow),
            None => Self::More(Box::new(record)),
        }
    }

    pub(super) fn unpacked(&self) -> Record {
        match self {
            Self::One(flow) => Record::of(flow.live()),
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
    use proptest::{option, prelude::*};

    use super::*;

    #[test]
    fn a_record_of_one_flow_is_no_larger_than_it() {
        assert_eq!((size_of::<Flow>(), size_of::<Packed>()), (56, 56));
    }

    prop_compose! {
        fn live()(
            flow: [u8; 16],
            code: [u8; 16],
            digits in option::of(any::<[u8; 8]>()),
            undecided in option::weighted(0.1, any::<[u8; 16]>()),
            expires in prop_oneof![0..10_u64, any::<u64>()],
            before in option::of(prop_oneof![0..10_u64, (1_u64 << 32) - 3..1 << 32, 0..=1_u64 << 33, any::<u64>()]),
            counts in [prop_oneof![0..16_u32, any::<u32>()], prop_oneof![0..16_u32, any::<u32>()], prop_oneof![0..16_u32, any::<u32>()]],
        ) -> Live {
            let [asker_tries, link_tries, refused] = counts;
            let mailed = before.map(|before| Time::from_millis(expires.wrapping_sub(before)));
            Live { flow, code, digits, mailed, expires: Time::from_millis(expires), asker_tries, link_tries, refused, undecided }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_by_packing(live in live()) {
            let packed = Packed::new(Record::of(live));
            prop_assert_eq!(format!("{:?}", packed.unpacked()), format!("{:?}", Record::of(live)));
            prop_assert_eq!(packed.ends(), live.expires);
        }
    }

    #[test]
    fn a_usual_flow_needs_no_more_room() {
        let at = Time::from_millis(1_800_000_000_000);
        let live = Live {
            flow: [1; 16],
            code: [2; 16],
            digits: Some([3; 8]),
            mailed: Some(at),
            expires: at.after(std::time::Duration::from_secs(24 * 3600)),
            asker_tries: 5,
            link_tries: 5,
            refused: 10,
            undecided: None,
        };
        assert!(matches!(Packed::new(Record::of(live)), Packed::One(_)));
        assert!(matches!(Packed::new(Record::stand_in()), Packed::One(_)), "or it takes longer");
    }
}
