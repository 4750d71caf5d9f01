//! Connections to a service, for hyper's pool: which address, by when, and TLS by the name of the configuration.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Extensions, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{CaptureConnection, Connected, Connection},
    rt::TokioIo,
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
    time::{Instant, error::Elapsed, timeout_at},
};
use tokio_rustls::TlsConnector;
use tower_service::Service;
use url::Url;

use super::Unusable;
use crate::{
    config::{self, ClientTls},
    endpoints::{Address, Backend, Endpoint, Endpoints, Failure},
    telemetry::metrics::Metrics,
    tls,
};

/// How many addresses a connection tries at most.
const TRIES: usize = 3;

/// Makes connections to one service.
#[derive(Clone)]
pub struct Connector(Arc<Target>);

struct Target {
    place: Place,
    timeout: Duration,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

enum Place {
    /// Addresses that take turns.
    Known(Endpoints),
    /// Whatever the name leads to at the time.
    Name(String, u16),
}

impl Connector {
    /// To the addresses of the configuration, which take turns, a connection each.
    ///
    /// # Errors
    /// [`Unusable::Tls`], [`Unusable::Url`].
    pub fn to(config: &config::Endpoints, metrics: &Arc<Metrics>) -> Result<Self, Unusable> {
        let tls = config.tls.as_ref().map(|settings| secured(settings, config.host())).transpose()?;
        let place = Place::Known(Endpoints::new(Backend::Identity, config, metrics)?);
        Ok(Self(Arc::new(Target { place, timeout: config.connect_timeout, tls })))
    }

    /// To the host of a URL, by TLS where it is `https`.
    ///
    /// # Errors
    /// As [`Self::to`].
    pub fn to_host(url: &Url, settings: &ClientTls, timeout: Duration) -> Result<Self, Unusable> {
        let host = url.host_str().ok_or(Unusable::Url)?.trim_matches(['[', ']']);
        let tls = (url.scheme() == "https").then(|| secured(settings, host)).transpose()?;
        let port = url.port_or_known_default().ok_or(Unusable::Url)?;
        Ok(Self(Arc::new(Target { place: Place::Name(host.to_owned(), port), timeout, tls })))
    }
}

impl Connector {
    /// How many addresses it has, and how many of them are up; a name has one, whatever it leads to.
    pub fn count(&self) -> (usize, usize) {
        match &self.0.place {
            Place::Known(endpoints) => endpoints.count(),
            Place::Name(..) => (1, 1),
        }
    }
}

fn secured(settings: &ClientTls, host: &str) -> Result<(Arc<ClientConfig>, ServerName<'static>), Unusable> {
    Ok((tls::client(settings, &[tls::HTTP1])?, tls::name(settings, host).ok_or(Unusable::Url)?))
}

/// The address that a request went to, where there is a choice and it went to one.
pub(super) fn endpoint(connection: &CaptureConnection) -> Option<Endpoint> {
    let mut extensions = Extensions::new();
    connection.connection_metadata().as_ref()?.get_extras(&mut extensions);
    extensions.remove()
}

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let target = Arc::clone(&self.0);
        Box::pin(async move {
            // All of it: a call whose time ended while it connected could not tell that nothing had been sent.
            let until = Instant::now() + target.timeout;
            timeout_at(until, target.connect(until)).await?
        })
    }
}

impl Target {
    async fn connect(&self, until: Instant) -> io::Result<Wire> {
        match &self.place {
            Place::Known(endpoints) => self.connect_one_of(endpoints, until).await,
            Place::Name(host, port) => {
                let found = lookup_host((host.as_str(), *port)).await?;
                let addresses: Vec<_> = found.take(TRIES).map(Address::Tcp).collect();
                let mut tries = Tries::new(addresses.len(), until);
                for address in addresses {
                    if let Some(stream) = tries.note(timeout_at(tries.end(), self.dial(&address)).await) {
                        return Ok(Wire { io: TokioIo::new(stream), endpoint: None });
                    }
                }
                Err(tries.failed)
            }
        }
    }

    async fn connect_one_of(&self, endpoints: &Endpoints, until: Instant) -> io::Result<Wire> {
        endpoints.looked_up().await;
        let mut tries = Tries::new(endpoints.count().0.min(TRIES), until);
        let mut tried = Vec::new();
        while let Some(endpoint) = endpoints.pick(&tried).filter(|_| tried.len() < TRIES) {
            let dialled = timeout_at(tries.end(), self.dial(endpoint.address())).await;
            match &dialled {
                Ok(Ok(_)) => {}
                Ok(Err(error)) if tls::is_of_tls(error) => endpoint.failed(Failure::Tls),
                Ok(Err(_)) => endpoint.failed(Failure::Connect),
                Err(_) => endpoint.failed(Failure::ConnectTimeout),
            }
            if let Some(stream) = tries.note(dialled) {
                return Ok(Wire { io: TokioIo::new(stream), endpoint: Some(endpoint) });
            }
            tried.push(endpoint);
        }
        Err(tries.failed)
    }

    async fn dial(&self, address: &Address) -> io::Result<Box<dyn Duplex>> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                self.secure(stream).await
            }
            Address::Unix(path) => self.secure(UnixStream::connect(path).await?).await,
        }
    }

    async fn secure(&self, stream: impl Duplex + 'static) -> io::Result<Box<dyn Duplex>> {
        let Some((config, name)) = &self.tls else { return Ok(Box::new(stream)) };
        let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await?;
        Ok(Box::new(stream))
    }
}

/// Shares the time that is left between the addresses that are left.
struct Tries {
    left: usize,
    until: Instant,
    failed: io::Error,
}

impl Tries {
    fn new(count: usize, until: Instant) -> Self {
        Self { left: count, until, failed: io::Error::new(io::ErrorKind::NotFound, "the name has no address") }
    }

    /// When the next try is over.
    fn end(&self) -> Instant {
        let now = Instant::now();
        let left = u32::try_from(self.left.max(1)).unwrap_or(u32::MAX);
        now + self.until.saturating_duration_since(now) / left
    }

    fn note<T>(&mut self, tried: Result<io::Result<T>, Elapsed>) -> Option<T> {
        self.left = self.left.saturating_sub(1);
        match tried {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => self.failed = error,
            Err(late) => self.failed = late.into(),
        }
        None
    }
}

/// Whatever bytes go over.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, as hyper wants it. It is HTTP/1.1: one call at a time has it, and none is lost with another's.
pub struct Wire {
    io: TokioIo<Box<dyn Duplex>>,
    endpoint: Option<Endpoint>,
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        match &self.endpoint {
            Some(endpoint) => Connected::new().extra(endpoint.clone()),
            None => Connected::new(),
        }
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
