//! `resetgate probe`: asks a running process how it is, as an orchestrator would with a shell and curl.

use std::{io, path::PathBuf, time::Duration};

use clap::Args;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::BAD_CONFIG;
use crate::config;

/// How much of an answer is read, of which the first line is told.
const MOST: usize = 64 << 10;

/// Whom to ask, and what.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Probe {
    /// The configuration that says where operators are answered (admin.address); the rest of it does not matter
    #[arg(long, value_name = "FILE", required_unless_present = "url", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// Where operators are answered: http://127.0.0.1:9090, 127.0.0.1:9090 or unix:/path. A path after an http:// address
    /// is what is asked for
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Whether it takes requests: /readyz, which it is without a choice
    #[arg(long, group = "what")]
    ready: bool,
    /// Whether it is alive: /livez
    #[arg(long, group = "what")]
    live: bool,
    /// Whether resets work, with all that is behind them: /readyz/reset
    #[arg(long, group = "what")]
    reset: bool,
    /// How long it may take: 10ms to 1m
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = config::deadline)]
    within: Duration,
}

/// What there is to tell where it is not well.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("{0}")]
    Config(String),
    #[error("{0}: must be http://host:port, ip:port or unix:/path")]
    Url(String),
    #[error("{at}: {cause}")]
    NoAnswer { at: String, cause: Box<dyn std::error::Error> },
    #[error("{at}: no answer within {within:?}")]
    TooLate { at: String, within: Duration },
    #[error("{at}: {status}: {line}")]
    Unwell { at: String, status: StatusCode, line: String },
}

impl Failed {
    pub(super) const fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Url(_) => BAD_CONFIG,
            Self::NoAnswer { .. } | Self::TooLate { .. } | Self::Unwell { .. } => 1,
        }
    }
}

/// Whom to ask.
#[derive(Debug, PartialEq, Eq)]
enum At {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Probe {
    /// Asks. The first line of the answer, if all is well.
    pub(super) fn ask(&self) -> Result<String, Failed> {
        let (place, path) = self.target()?;
        let at = format!("{place}{path}");
        let no_answer = |cause| Failed::NoAnswer { at: at.clone(), cause };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|fault| no_answer(fault.into()))?;
        let answer = runtime.block_on(async { timeout(self.within, place.get(&path)).await });
        // Looking a name up has a thread of its own, which may take longer.
        runtime.shutdown_background();
        let (status, line) = match answer {
            Ok(answer) => answer.map_err(no_answer)?,
            Err(_) => return Err(Failed::TooLate { at, within: self.within }),
        };
        if status.is_success() { Ok(line) } else { Err(Failed::Unwell { at, status, line }) }
    }

    fn target(&self) -> Result<(At, String), Failed> {
        let path = match (self.live, self.reset) {
            (true, _) => "/livez",
            (_, true) => "/readyz/reset",
            _ => "/readyz",
        };
        let text = match (&self.url, &self.config) {
            (Some(url), _) => url.clone(),
            (None, Some(file)) => config::admin_address(file).map_err(|faults| {
                Failed::Config(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            })?,
            (None, None) => String::new(),
        };
        let (at, own) = At::read(&text).ok_or(Failed::Url(text))?;
        Ok((at, own.unwrap_or_else(|| path.to_owned())))
    }
}

impl At {
    /// The address, and the path after it, if there is one.
    fn read(text: &str) -> Option<(Self, Option<String>)> {
        if let Some(path) = text.strip_prefix("unix:") {
            return path.starts_with('/').then(|| (Self::Unix(path.into()), None));
        }
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = url.parse().ok().filter(|uri: &Uri| uri.scheme_str() == Some("http"))?;
        let host = uri.authority().filter(|authority| !authority.as_str().contains('@'))?.host();
        // Where it listens on every address, it is asked on the one that is its own.
        let host = match host.trim_start_matches('[').trim_end_matches(']') {
            "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        let path = uri.path_and_query().map(ToString::to_string).filter(|path| path != "/");
        Some((Self::Tcp { host: host.to_owned(), port: uri.port_u16().unwrap_or(80) }, path))
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, String), Box<dyn std::error::Error>> {
        match self {
            Self::Tcp { host, port } => get(TcpStream::connect((host.as_str(), *port)).await?, path).await,
            Self::Unix(file) => get(UnixStream::connect(file).await?, path).await,
        }
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

async fn get<S>(stream: S, path: &str) -> Result<(StatusCode, String), Box<dyn std::error::Error>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, "localhost").header(header::CONNECTION, "close");
    let request = request.header(header::USER_AGENT, concat!("resetgate/", env!("CARGO_PKG_VERSION")));
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST).collect().await.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    let text = String::from_utf8_lossy(&body);
    let line = text.lines().next().unwrap_or_default();
    Ok((status, line.chars().filter(|c| !c.is_control()).take(200).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_meant() {
        let tcp = |host: &str, port, path: Option<&str>| {
            Some((At::Tcp { host: host.to_owned(), port }, path.map(str::to_owned)))
        };
        for (text, meant) in [
            ("http://127.0.0.1:9090", tcp("127.0.0.1", 9090, None)),
            ("http://127.0.0.1:9090/", tcp("127.0.0.1", 9090, None)),
            ("http://localhost:1/metrics?x=1", tcp("localhost", 1, Some("/metrics?x=1"))),
            ("127.0.0.1:9090", tcp("127.0.0.1", 9090, None)),
            ("0.0.0.0:9090", tcp("127.0.0.1", 9090, None)),
            ("[::]:9090", tcp("::1", 9090, None)),
            ("http://[fe80::1]:9090", tcp("fe80::1", 9090, None)),
            ("http://admin", tcp("admin", 80, None)),
            ("unix:/run/admin.sock", Some((At::Unix("/run/admin.sock".into()), None))),
            ("unix:admin.sock", None),
            ("https://127.0.0.1:9090", None),
            ("http://a:b@127.0.0.1:9090", None),
            ("http://", None),
            ("", None),
            ("no such thing", None),
        ] {
            assert_eq!(At::read(text), meant, "{text}");
        }
    }
}
