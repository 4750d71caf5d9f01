//! What letters are about: a link, or the news that a password was set.

use std::sync::Arc;

use crate::reset::ports::{After, Event, Job, Notice, Source, Trace};

/// What a letter is about.
pub(super) enum Matter {
    Link(Job),
    Notice(Notice),
}

/// What became of one.
#[derive(Clone, Copy)]
pub(super) enum Became {
    Sent,
    Delayed,
    Dropped,
}

impl Matter {
    /// The event that something became of it, with the account that it is about.
    pub(super) fn became(&self, became: Became) -> Event {
        match self {
            Self::Link(Job { account, .. }) => match became {
                Became::Sent => Event::MailSent { account: *account },
                Became::Delayed => Event::MailDelayed { account: *account },
                Became::Dropped => Event::MailDropped { account: *account },
            },
            Self::Notice(Notice { account, .. }) => {
                let (what, account) = (After::Notice, *account);
                match became {
                    Became::Sent => Event::AfterDone { what, account },
                    Became::Delayed => Event::AfterDelayed { what, account },
                    Became::Dropped => Event::AfterDropped { what, account },
                }
            }
        }
    }

    /// Where it comes from.
    pub(super) const fn source(&self) -> &Source {
        match self {
            Self::Link(job) => &job.source,
            Self::Notice(notice) => &notice.source,
        }
    }

    /// The asker's request, where it is followed.
    pub(super) const fn trace(&self) -> Option<&Arc<dyn Trace>> {
        match self {
            Self::Link(job) => job.trace.as_ref(),
            Self::Notice(notice) => notice.trace.as_ref(),
        }
    }
}
