//! The key that names accounts, codes and requests, and what is derived from it. Where several processes share codes they
//! share it as well, and a process may learn it only after it has started.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ring::{hmac, rand::SystemRandom};

use super::{KeysError, cut, master, seal::Sealer, secret};
use crate::{
    kv::Vault,
    reset::ports::{Digest, Purpose, Secret},
};

/// What is derived from the key in use.
pub struct Ids(ArcSwap<Derived>);

struct Derived {
    macs: Macs,
    sealer: Sealer,
}

impl Ids {
    /// By that key.
    ///
    /// # Errors
    /// [`KeysError::Crypto`]
    pub fn new(key: &[u8; 32]) -> Result<Self, KeysError> {
        Ok(Self(ArcSwap::new(derive(key)?)))
    }

    /// By another key from now on.
    pub(super) fn adopt(&self, key: &[u8; 32]) -> Result<(), KeysError> {
        self.0.store(derive(key)?);
        Ok(())
    }

    pub(super) fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> Digest {
        cut(self.0.load().macs.of(purpose), parts)
    }
}

impl Vault for Ids {
    fn seal(&self, name: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        self.0.load().sealer.seal_as(plain, name, &SystemRandom::new())
    }

    fn open(&self, name: &[u8], sealed: &[u8]) -> Option<Secret<Vec<u8>>> {
        let mut opened = Secret::of(sealed.to_vec());
        self.0.load().sealer.open_as(&mut opened, name)?;
        Some(opened)
    }

    fn digest(&self, parts: &[&[u8]]) -> Digest {
        cut(&self.0.load().macs.shared, parts)
    }
}

fn derive(key: &[u8; 32]) -> Result<Arc<Derived>, KeysError> {
    let macs = Macs::derive(key).ok_or(KeysError::Crypto)?;
    let sealer = secret(&master(key), "resetgate record seal v1").ok_or(KeysError::Crypto)?;
    Ok(Arc::new(Derived { macs, sealer: Sealer::new(sealer) }))
}

/// One HMAC key a purpose. Each part is fed with its length before it, so that parts are told apart.
struct Macs {
    account: hmac::Key,
    mail: hmac::Key,
    code: hmac::Key,
    digits: hmac::Key,
    password: hmac::Key,
    repeat: hmac::Key,
    questions: hmac::Key,
    captcha: hmac::Key,
    shared: hmac::Key,
}

impl Macs {
    fn derive(ids: &[u8; 32]) -> Option<Self> {
        let master = master(ids);
        let key = |purpose| Some(hmac::Key::new(hmac::HMAC_SHA256, secret(&master, purpose)?.expose()));
        Some(Self {
            account: key("resetgate mac account v1")?,
            mail: key("resetgate mac mail v1")?,
            code: key("resetgate mac code v1")?,
            digits: key("resetgate mac digits v1")?,
            password: key("resetgate mac password v1")?,
            repeat: key("resetgate mac repeat v1")?,
            questions: key("resetgate mac questions v1")?,
            captcha: key("resetgate mac captcha v1")?,
            shared: key("resetgate mac shared v1")?,
        })
    }

    const fn of(&self, purpose: Purpose) -> &hmac::Key {
        match purpose {
            Purpose::Account => &self.account,
            Purpose::Mail => &self.mail,
            Purpose::Code => &self.code,
            Purpose::Digits => &self.digits,
            Purpose::Password => &self.password,
            Purpose::Repeat => &self.repeat,
            Purpose::Questions => &self.questions,
            Purpose::Captcha => &self.captcha,
        }
    }
}
