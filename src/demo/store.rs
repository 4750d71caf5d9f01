//! An identity management server for the demo and for tests: over HTTP it behaves as IDM does in everything that a reset
//! touches, keeps its accounts in memory, and shows what reached it.

mod caller;
mod echo;
mod email;
mod filter;
mod idm;
mod managed;
mod people;
mod policy;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

pub use self::{caller::SERVICE_USER, email::Sent, people::User};
use self::{idm::Idm, people::Password};
use super::http;

/// A running store. Dropping it closes its listener and its connections.
pub struct Store {
    idm: Arc<Idm>,
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Store {
    /// Starts a store that holds the demo's [`accounts`]. [`SERVICE_USER`] with that password may query, read and patch
    /// them, and send letters; nobody else may.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn start(listener: TcpListener, service_password: impl Into<String>) -> Self {
        // The address of a bound listener is always known; port 0 would only make a client fail to connect.
        let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
        let idm = Arc::new(Idm::new(&service_password.into()));
        for user in accounts() {
            idm.people.lock().insert(user);
        }
        let server = http::serve(listener, {
            let idm = Arc::clone(&idm);
            move |request| Arc::clone(&idm).answer(request)
        });
        Self { idm, address, _server: server }
    }

    /// From now on [`SERVICE_USER`] is whoever has that access token, as well, and nobody has another.
    pub fn take_token(&self, token: &str) {
        *self.idm.token.lock() = Some(Password::new(token));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many PATCHes were answered with 200, those included that changed nothing.
    pub fn patches(&self) -> u64 {
        self.idm.patches()
    }

    /// The `_queryFilter`s asked for, decoded from the URL but else as sent; the last 1000, oldest first.
    pub fn queries(&self) -> Vec<String> {
        self.idm.queries()
    }

    /// What the mail service was asked to send; the last 1000, oldest first.
    pub fn letters(&self) -> Vec<Sent> {
        self.idm.letters.sent()
    }

    /// From now on the mail service answers so, in CREST's manner, and sends nothing; `None`: it does its work.
    pub fn answer_letters(&self, answer: Option<(u16, &str)>) {
        self.idm.letters.answer(answer);
    }

    /// How often something asked it for the reset path, which a gate in front must never let through.
    pub fn stock_reset_hits(&self) -> u64 {
        self.idm.stock_reset_hits()
    }

    /// Turns its own reset off: strangers are not told the password policy any more.
    pub fn turn_own_reset_off(&self) {
        self.idm.own_reset.store(false, Ordering::SeqCst);
    }

    /// Whether the service user may ask for the password policy.
    pub fn tell_policy(&self, may: bool) {
        self.idm.tells_policy.store(may, Ordering::SeqCst);
    }

    /// Puts an account in, in place of one with the same `_id`.
    pub fn insert(&self, user: User) {
        self.idm.people.lock().insert(user);
    }

    /// Sets a field of the account with that `_id`, past every policy, as an administrator would; `Null` takes it away,
    /// `password` sets the password. False if there is no such account.
    pub fn set(&self, id: &str, field: &str, value: impl Into<Value>) -> bool {
        self.idm.people.lock().set(id, field, value.into())
    }

    /// What a field of the account with that `_id` holds; nothing of a password.
    pub fn field(&self, id: &str, field: &str) -> Option<Value> {
        self.idm.people.lock().field(id, field)
    }

    /// Deletes the account with that `_id`. False if there is none.
    pub fn remove(&self, id: &str) -> bool {
        self.idm.people.lock().remove(id)
    }

    /// Whether the account with that user name, or else that `_id`, has that password.
    pub fn password_is(&self, user: &str, password: &str) -> bool {
        self.idm.people.lock().password_is(user, password)
    }
}

/// The demo's accounts, with their first passwords: a usual one, names that need escaping in filters, paths and headers,
/// two people on one mailbox, an inactive one, one without mail.
pub fn accounts() -> Vec<User> {
    vec![
        User::new("5b2d9a4e-3f60-4c1a-9d0e-1f6a7c8b9d01", "bjensen", "Secret12")
            .with("givenName", "Barbara")
            .with("sn", "Jensen")
            .with("mail", "bjensen@example.com"),
        User::new("zoë", "zoë", "Secret34")
            .with("givenName", "Zoë")
            .with("sn", "Müller")
            .with("mail", "zoe@example.com"),
        User::new("o'brien", "o'brien", "Secret56")
            .with("givenName", "Conor")
            .with("sn", "O'Brien")
            .with("mail", "o'brien@example.com"),
        User::new("7c1f0d52-8e34-4b7d-8a55-2b9e6d4f0a02", "pat", "Secret78")
            .with("givenName", "Pat")
            .with("sn", "Shared")
            .with("mail", "shared@example.com"),
        User::new("7c1f0d52-8e34-4b7d-8a55-2b9e6d4f0a03", "sam", "Secret90")
            .with("givenName", "Sam")
            .with("sn", "Shared")
            .with("mail", "shared@example.com"),
        User::new("9e8d7c6b-5a49-4382-b716-05f4e3d2c104", "dormant", "Secret11")
            .with("givenName", "Doris")
            .with("sn", "Mant")
            .with("mail", "dormant@example.com")
            .with("accountStatus", "inactive"),
        User::new("0a1b2c3d-4e5f-4607-9182-a3b4c5d6e705", "nomail", "Secret22")
            .with("givenName", "Norman")
            .with("sn", "Ail"),
    ]
}

#[cfg(test)]
mod tests;
