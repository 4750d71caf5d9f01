//! How many real mails there are, waiting or under way.

use tokio::sync::watch;

/// One real mail in the outbox, for as long as this lives; even a panic on the way cannot hold up a drain.
pub(super) struct Counted(watch::Sender<usize>);

impl Counted {
    pub(super) fn new(real: &watch::Sender<usize>) -> Self {
        real.send_modify(|count| *count = count.saturating_add(1));
        Self(real.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
