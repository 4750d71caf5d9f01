//! A mailbox for everyone: takes mail for any address over real SMTP, keeps the last of it in memory, and shows it on a
//! page and as JSON. Nothing leaves it.

mod letter;
mod smtp;
mod view;

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use hyper::{Method, Request, StatusCode, body::Incoming};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::task::AbortOnDropHandle;
use url::form_urlencoded;

pub use self::letter::Mail;
use self::smtp::Envelope;
use super::{
    accept,
    http::{self, Answer},
};

/// How many mails are kept, and how many bytes of them.
const MAILS: usize = 200;
const BYTES: usize = 16 * 1024 * 1024;
/// How long `/mails?after=…` waits for one.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// A running mailbox. Dropping it closes its listeners and its connections.
pub struct Mailbox {
    inbox: Arc<Inbox>,
    smtp: SocketAddr,
    http: SocketAddr,
    _servers: [AbortOnDropHandle<()>; 2],
}

impl Mailbox {
    /// Takes mail on one listener and shows it on the other: `/` for people; `/mails`, an array of the mails, oldest
    /// first; `/mails?after=N`, those after the N-th, waiting up to 20 seconds for one; `/count`, how many ever came.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn start(smtp: TcpListener, http: TcpListener) -> Self {
        // The address of a bound listener is always known; port 0 would only make a client fail to connect.
        let address = |of: &TcpListener| of.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
        let (smtp_address, http_address) = (address(&smtp), address(&http));
        let inbox = Arc::new(Inbox::default());
        let mail = accept::accept(smtp, {
            let inbox = Arc::clone(&inbox);
            move |socket| {
                let inbox = Arc::clone(&inbox);
                async move {
                    // How a conversation ends is the client's affair; there is nobody to tell.
                    let _ = smtp::converse(socket, |envelope| inbox.put(envelope)).await;
                }
            }
        });
        let web = http::serve(http, {
            let inbox = Arc::clone(&inbox);
            move |request| answer(Arc::clone(&inbox), request)
        });
        Self { inbox, smtp: smtp_address, http: http_address, _servers: [mail, web] }
    }

    /// Where it takes mail.
    pub fn smtp_address(&self) -> SocketAddr {
        self.smtp
    }

    /// Where it shows it.
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// The mails that are kept, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        self.inbox.after(0)
    }

    /// Resolves when `n` mails have come since the start, at once if they have.
    pub async fn arrived(&self, n: u64) {
        self.inbox.arrived(n).await;
    }
}

#[derive(Default)]
struct Inbox {
    mails: Mutex<VecDeque<Mail>>,
    /// How many ever came.
    count: watch::Sender<u64>,
}

impl Inbox {
    fn put(&self, envelope: Envelope) {
        let mut mails = self.mails.lock();
        let number = *self.count.borrow() + 1;
        mails.push_back(Mail::read(number, envelope));
        let mut bytes: usize = mails.iter().map(|mail| mail.raw.len()).sum();
        while mails.len() > MAILS || (mails.len() > 1 && bytes > BYTES) {
            bytes -= mails.pop_front().map_or(0, |mail| mail.raw.len());
        }
        // Under the lock: whoever is woken finds the mail.
        self.count.send_replace(number);
    }

    fn after(&self, number: u64) -> Vec<Mail> {
        self.mails.lock().iter().filter(|mail| mail.number > number).cloned().collect()
    }

    async fn arrived(&self, n: u64) {
        // It fails only when the sender is gone, and the sender is ours.
        let _ = self.count.subscribe().wait_for(|count| *count >= n).await;
    }
}

async fn answer(inbox: Arc<Inbox>, request: Request<Incoming>) -> Answer {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return http::not_allowed("GET, HEAD");
    }
    match request.uri().path() {
        "/" => http::file("text/html; charset=utf-8", view::page(&inbox.after(0))),
        "/app.css" => http::file("text/css; charset=utf-8", view::STYLE),
        "/app.js" => http::file("text/javascript; charset=utf-8", view::SCRIPT),
        "/count" => http::ok(&json!(*inbox.count.borrow())),
        "/mails" => {
            let query = request.uri().query().unwrap_or_default();
            let after = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "after");
            let after = match after.map(|(_, value)| value.parse::<u64>()) {
                None => 0,
                Some(Ok(after)) => {
                    let _ = tokio::time::timeout(PATIENCE, inbox.arrived(after.saturating_add(1))).await;
                    after
                }
                Some(Err(_)) => return http::error(StatusCode::BAD_REQUEST, "after must be a number"),
            };
            http::ok(&json!(inbox.after(after)))
        }
        _ => http::error(StatusCode::NOT_FOUND, "Not found"),
    }
}

#[cfg(test)]
mod tests;
