//! How what a reset needs is. For dashboards and alarms: a kubelet that acted on it would restart what no restart heals.

use serde_json::{Map, Value, json};

/// One thing that a reset needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is called.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// Why that is said. A constant: nothing of what a service or a stranger says.
    pub reason: &'static str,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be, as far as is known.
    Ok,
    /// It works, and somebody should look at it.
    Degraded,
    /// Resets fail for want of it.
    Failing,
}

impl State {
    /// In the answer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }

    /// In the metrics: 2, 1 or 0, so that a minimum over several processes says the worst.
    pub const fn number(self) -> u8 {
        match self {
            Self::Ok => 2,
            Self::Degraded => 1,
            Self::Failing => 0,
        }
    }
}

impl Part {
    /// One that has room for so many, and so many in it.
    pub fn of_room(name: &'static str, taken: usize, capacity: usize) -> Self {
        let (state, reason) = match taken {
            _ if taken >= capacity => (State::Failing, "full"),
            // Four fifths, as limits are near.
            _ if taken / 4 >= capacity.saturating_sub(taken).max(1) => (State::Degraded, "nearly_full"),
            _ => (State::Ok, "has_room"),
        };
        Self { name, state, reason }
    }
}

/// That of the one that is worst off.
pub(super) fn worst(parts: &[Part]) -> State {
    parts.iter().map(|part| part.state).max().unwrap_or(State::Ok)
}

/// All of it as JSON.
pub(super) fn body(parts: &[Part]) -> String {
    let one = |part: &Part| (part.name.to_owned(), json!({"status": part.state.name(), "reason": part.reason}));
    let checks: Map<String, Value> = parts.iter().map(one).collect();
    format!("{}\n", json!({"status": worst(parts).name(), "checks": checks}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_near_its_end_at_four_fifths() {
        let state = |taken, capacity| Part::of_room("x", taken, capacity).state;
        for (taken, capacity, expected) in [
            (0, 10, State::Ok),
            (7, 10, State::Ok),
            (8, 10, State::Degraded),
            (9, 10, State::Degraded),
            (10, 10, State::Failing),
            (11, 10, State::Failing),
            (0, 1, State::Ok),
            (1, 1, State::Failing),
            (799_999, 1_000_000, State::Ok),
            (800_000, 1_000_000, State::Degraded),
        ] {
            assert_eq!(state(taken, capacity), expected, "{taken} of {capacity}");
        }
    }

    #[test]
    fn the_worst_counts() {
        let part = |state| Part { name: "a", state, reason: "b" };
        assert_eq!(worst(&[]), State::Ok);
        assert_eq!(worst(&[part(State::Degraded), part(State::Ok)]), State::Degraded);
        assert_eq!(worst(&[part(State::Ok), part(State::Failing), part(State::Degraded)]), State::Failing);
        let parts = [Part { name: "identity", state: State::Ok, reason: "answers" }, part(State::Failing)];
        let expected = "{\"status\":\"failing\",\"checks\":{\"identity\":{\"status\":\"ok\",\"reason\":\"answers\"},\
                        \"a\":{\"status\":\"failing\",\"reason\":\"b\"}}}\n";
        assert_eq!(body(&parts), expected);
    }
}
