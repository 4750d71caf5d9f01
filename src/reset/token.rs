//! What a token carries: a flow's [`State`], packed to a size that says nothing of the account.

use std::collections::BTreeMap;

use super::{
    flow::{Known, State, Tag},
    ports::{AccountId, Digest, Lane, Secret},
};

/// The longest store id that fits, in bytes. An account with a longer one cannot be reset.
pub const MAX_ID: usize = 255;

const VERSION: u8 = 2;
/// Additions are the asker's own words, so the size may follow them; in steps, and it follows nothing else.
const ADDITIONS_STEP: usize = 256;
/// All but the additions, in bytes.
const FIXED: usize = 512;

/// Packs a state bound to a process.
pub fn pack(state: &State, binding: &Digest) -> Secret<Vec<u8>> {
    let additions: usize = state.additions.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
    // Room enough from the start, so that nothing is moved.
    let mut packed = Secret::of(Vec::with_capacity(FIXED + additions + ADDITIONS_STEP));
    let out = packed.expose_mut();
    out.push(VERSION);
    out.extend_from_slice(binding);
    out.push(u8::try_from(state.stage).unwrap_or(u8::MAX));
    out.push(match state.tag {
        Tag::Initial => 0,
        Tag::ValidateCode => 1,
    });
    out.push(match state.lane {
        Lane::Asker => 0,
        Lane::Link => 1,
    });
    out.extend_from_slice(&state.flow);
    out.push(state.pass.is_some().into());
    out.extend_from_slice(&state.pass.unwrap_or_default());
    out.push(state.record.is_some().into());
    out.extend_from_slice(&state.record.unwrap_or_default());
    out.push(state.account.is_some().into());
    out.extend_from_slice(&state.account.as_ref().map(|account| account.mail).unwrap_or_default());
    let id = state.account.as_ref().map_or("", |account| account.id.0.as_str()).as_bytes();
    put(out, id);
    out.extend(std::iter::repeat_n(0, MAX_ID.saturating_sub(id.len())));
    let before = out.len();
    out.push(u8::try_from(state.additions.len()).unwrap_or(u8::MAX));
    for (name, value) in &state.additions {
        put(out, name.as_bytes());
        put(out, value.as_bytes());
    }
    let pad = (out.len() - before - 1).next_multiple_of(ADDITIONS_STEP) - (out.len() - before - 1);
    out.extend(std::iter::repeat_n(0, pad));
    packed
}

/// A packed state as long as every other without additions, of a flow that there is not.
pub fn sample() -> Secret<Vec<u8>> {
    let state = State {
        stage: 0,
        tag: Tag::Initial,
        lane: Lane::Link,
        flow: [0; 16],
        pass: None,
        record: None,
        account: None,
        additions: BTreeMap::new(),
    };
    pack(&state, &[0; 16])
}

/// Unpacks what [`pack`] made, with the binding that it was made for.
pub fn unpack(bytes: &[u8]) -> Option<(State, Digest)> {
    let mut bytes = Reader(bytes);
    if bytes.byte()? != VERSION {
        return None;
    }
    let binding = bytes.array()?;
    let stage = bytes.byte()?.into();
    let tag = match bytes.byte()? {
        0 => Tag::Initial,
        1 => Tag::ValidateCode,
        _ => return None,
    };
    let lane = match bytes.byte()? {
        0 => Lane::Asker,
        1 => Lane::Link,
        _ => return None,
    };
    let flow = bytes.array()?;
    let solved = bytes.flag()?;
    let pass = bytes.array()?;
    let queried = bytes.flag()?;
    let record = bytes.array()?;
    let known = bytes.flag()?;
    let mail = bytes.array()?;
    let id = bytes.text()?;
    bytes.take(MAX_ID.checked_sub(id.len())?)?;
    let mut additions = BTreeMap::new();
    for _ in 0..bytes.byte()? {
        additions.insert(bytes.text()?, bytes.text()?);
    }
    let state = State {
        stage,
        tag,
        lane,
        flow,
        pass: solved.then_some(pass),
        record: queried.then_some(record),
        account: known.then_some(Known { id: AccountId(id), mail }),
        additions,
    };
    Some((state, binding))
}

fn put(out: &mut Vec<u8>, text: &[u8]) {
    // Both kinds of text are bounded where they come in, far below this type's range.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend(text.iter().take(length.into()));
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn text(&mut self) -> Option<String> {
        let length = u16::from_be_bytes(self.array()?);
        String::from_utf8(self.take(length.into())?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(id: Option<String>, additions: BTreeMap<String, String>) -> State {
        State {
            stage: 3,
            tag: Tag::ValidateCode,
            lane: Lane::Link,
            flow: [7; 16],
            pass: id.is_none().then_some([6; 16]),
            record: Some([8; 16]),
            account: id.map(|id| Known { id: AccountId(id), mail: [9; 16] }),
            additions,
        }
    }

    proptest! {
        #[test]
        fn a_state_comes_back_as_it_was(
            id in proptest::option::of("\\PC{0,60}"),
            additions in proptest::collection::btree_map("[a-z]{1,12}", "\\PC{0,100}", 0..4),
        ) {
            let state = state(id, additions);
            prop_assert_eq!(unpack(pack(&state, &[1; 16]).expose()), Some((state, [1; 16])));
        }

        #[test]
        fn the_size_says_nothing_of_the_account(id in proptest::option::of("[a-z0-9-]{1,255}"), words in "\\PC{0,300}") {
            let additions = BTreeMap::from([("returnParams".to_owned(), words)]);
            let with = pack(&state(id, additions.clone()), &[1; 16]).expose().len();
            let packed = pack(&state(None, additions), &[1; 16]);
            prop_assert_eq!(with, packed.expose().len());
            prop_assert!(packed.expose().capacity() < 2 * with);
        }

        #[test]
        fn a_sample_is_as_long_as_others(id in "[a-z0-9-]{1,255}") {
            let packed = pack(&state(Some(id), BTreeMap::new()), &[1; 16]);
            prop_assert_eq!(sample().expose().len(), packed.expose().len());
        }

        #[test]
        fn nothing_unpacks_with_a_crash(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = unpack(&bytes);
        }
    }
}
