//! `validateActiveAccount`: only accounts with the valid status go on.

use async_trait::async_trait;

use crate::reset::{
    error::Stop,
    flow::{Flow, Tag},
    ports::{Decoy, Event, Reason},
    process::Reader,
    stage::{Cx, Next, Stage},
    wire::{Input, Requirements},
};

/// The stage's name.
pub const NAME: &str = "validateActiveAccount";

/// The stage's part of the process file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The status that may reset; compared without regard to ASCII case.
    pub valid_status: String,
}

impl Settings {
    pub(in crate::reset) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        // IDM stores `accountStatusField` and never uses it: the attribute is userQuery's `identityAccountStatusField`.
        reader.ignore(&["accountStatusField"]);
        Some(Self { valid_status: reader.text("validStatusValue")? })
    }

    /// Whether an account of that status may reset.
    pub fn holds(&self, status: Option<&str>) -> bool {
        status.is_some_and(|status| status.eq_ignore_ascii_case(&self.valid_status))
    }
}

/// The stage.
pub struct ValidateActiveAccount(pub Settings);

#[async_trait]
impl Stage for ValidateActiveAccount {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn requirements(&self, _: &mut Flow, _: &Cx<'_>) -> Result<Option<Requirements>, Stop> {
        Ok(None)
    }

    async fn advance(&self, _: &Input, flow: &mut Flow, cx: &Cx<'_>) -> Result<Next, Stop> {
        let several = !flow.found.sharers.is_empty();
        flow.found.sharers.retain(|sharer| self.0.holds(sharer.status.as_deref()));
        if flow.found.sharers.len() == 1
            && let Some(only) = flow.found.sharers.pop()
        {
            flow.settle(only);
        }
        let nobody = several && flow.found.sharers.is_empty() && flow.state.account.is_none();
        if nobody || flow.state.account.is_some() && !self.0.holds(flow.found.status.as_deref()) {
            if cx.settings.reveal_unknown_accounts {
                cx.record_of(flow, Event::Revealed { why: Decoy::Inactive }, Reason::None);
                return Err(Stop::bad("You do not have permissions to reset password. Please contact administrator"));
            }
            cx.decoy(flow, Decoy::Inactive)?;
        }
        Ok(Next::Done)
    }

    fn own_fields(&self, _: Tag) -> Vec<&str> {
        Vec::new()
    }
}
