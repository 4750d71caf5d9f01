//! How many answers were wrong, as the account itself has it.

use crate::reset::{
    flow::Known,
    ports::{Account, Change, Down, NewValue, Patched, Resource, Revision, Secret},
    process::Lockout,
    stage::Cx,
};

/// The count of an account.
pub(in crate::reset) struct Tally<'a> {
    /// Where it is, and what it leads to.
    pub(in crate::reset) lockout: &'a Lockout,
    /// Where accounts are.
    pub(in crate::reset) resource: &'a Resource,
}

impl Tally<'_> {
    /// Whether the account has used up its wrong answers.
    pub(in crate::reset) fn is_locked(&self, account: &Account) -> bool {
        self.wrong(account) > self.lockout.allowed
    }

    /// Counts one more, if the account is as it was read.
    pub(in crate::reset) async fn add(&self, known: &Known, account: &Account, cx: &Cx<'_>) -> Result<Patched, Down> {
        self.write(known, account.revision.as_ref(), self.wrong(account).saturating_add(1), cx).await
    }

    /// After the right answers, whatever the account's revision is by now.
    pub(in crate::reset) async fn clear(&self, known: &Known, cx: &Cx<'_>) -> Result<Patched, Down> {
        self.write(known, None, 0, cx).await
    }

    /// What is no number is none, as what is not there.
    fn wrong(&self, account: &Account) -> u32 {
        let text = account.text(&self.lockout.attempts).unwrap_or_default().trim();
        let digits = text.split_once('.').map_or(text, |(whole, _)| whole);
        // More than fits is more than is allowed.
        let many = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().unwrap_or(if many { u32::MAX } else { 0 })
    }

    /// As a number, or as a text where the store's schema wants one.
    async fn write(
        &self,
        known: &Known,
        revision: Option<&Revision>,
        wrong: u32,
        cx: &Cx<'_>,
    ) -> Result<Patched, Down> {
        let text = Secret::new(wrong.to_string());
        let patch = async |value| {
            let change = Change { field: &self.lockout.attempts, value };
            cx.ports.accounts.patch(cx.caller, self.resource, &known.id, revision, &[change]).await
        };
        match patch(NewValue::Number(wrong)).await? {
            Patched::Refused(_) => patch(NewValue::Text(&text)).await,
            patched => Ok(patched),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::reset::ports::{AccountId, Field};

    #[test]
    fn a_count_is_read_however_the_store_has_it() {
        let lockout = Lockout { allowed: 3, attempts: Field::new("kbaLockout") };
        let tally = Tally {
            lockout: &lockout,
            resource: &Resource { path: "managed/user".into(), id_field: Field::new("_id") },
        };
        for (text, wrong) in [
            ("0", 0),
            ("3", 3),
            (" 4 ", 4),
            ("2.0", 2),
            ("", 0),
            ("-1", 0),
            ("three", 0),
            ("99999999999999999999", u32::MAX),
        ] {
            let attributes = BTreeMap::from([(Field::new("kbaLockout"), Secret::new(text))]);
            let account =
                Account { id: AccountId("1".to_owned()), revision: None, attributes, structures: BTreeMap::new() };
            assert_eq!((tally.wrong(&account), tally.is_locked(&account)), (wrong, wrong > 3), "{text}");
        }
    }
}
