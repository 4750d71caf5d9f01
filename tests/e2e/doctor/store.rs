//! IDM, as far as the doctor asks it: in good order, but for what a test changes.

use std::{
    net::SocketAddr,
    time::{Duration, UNIX_EPOCH},
};

use resetgate::{clock::SystemClock, reset::ports::Clock};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{setup::SERVICE_PASSWORD, upstream::Seen};

/// The canary's.
pub(super) const ID: &str = "c1";
pub(super) const ADDRESS: &str = "canary-address@example.com";

/// TLS before a server.
pub(super) struct Veil {
    pub(super) address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Veil {
    pub(super) async fn over(server: SocketAddr, tls: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let tls = tls.clone();
                tokio::spawn(async move {
                    let Ok(mut client) = tls.accept(client).await else { return };
                    let mut server = TcpStream::connect(server).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, _task: AbortOnDropHandle::new(task) }
    }
}

pub(super) struct Idm;

impl Idm {
    /// Answers as IDM does, but where `change` says something else.
    pub(super) fn but(
        change: impl Fn(&Seen) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static {
        move |seen| change(seen).unwrap_or_else(|| usual(seen))
    }
}

fn usual(seen: &Seen) -> Vec<u8> {
    let (method, target) = (seen.method(), seen.target());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let Some(below) = path.strip_prefix("/openidm/managed/user") else { return open(path) };
    if seen.header("x-openidm-password") != [SERVICE_PASSWORD] {
        return error(401, "Access Denied");
    }
    match (method.as_str(), below) {
        ("GET", "") if query.contains("%22canary%22") => answer(200, &page(&[canary()])),
        ("GET", "") => answer(200, &page(&[])),
        ("GET", "/c1") => answer(200, &canary()),
        ("PATCH", "/c1") if seen.header("if-match") == ["\"7\""] => answer(200, &canary()),
        ("PATCH", "/c1") => error(412, "Precondition Failed"),
        _ => error(404, "Not found"),
    }
}

fn open(path: &str) -> Vec<u8> {
    match path {
        "/openidm/info/ping" => answer(200, &json!({"_id": "", "shortDesc": "OpenIDM ready", "state": "ACTIVE_READY"})),
        "/openidm/policy/selfservice/reset" => answer(200, &json!({"properties": []})),
        _ if path.starts_with("/openidm/selfservice/") => error(403, "Access denied"),
        _ => error(404, "Not found"),
    }
}

pub(super) fn canary() -> Value {
    json!({"_id": ID, "_rev": "7", "userName": "canary", "mail": ADDRESS, "accountStatus": "active"})
}

pub(super) fn page(accounts: &[Value]) -> Value {
    json!({"result": accounts, "resultCount": accounts.len(), "pagedResultsCookie": null})
}

pub(super) fn error(code: u16, message: &str) -> Vec<u8> {
    answer(code, &json!({"code": code, "reason": message, "message": message}))
}

pub(super) fn answer(status: u16, body: &Value) -> Vec<u8> {
    answer_at(SystemClock::new().now().secs(), status, body)
}

/// By a clock of its own.
pub(super) fn answer_at(secs: u64, status: u16, body: &Value) -> Vec<u8> {
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs));
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status} So\r\nDate: {date}\r\nContent-Type: application/json;charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
