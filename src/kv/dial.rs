//! Finds the server and connects to it: by TCP, TLS or a Unix socket, itself or through those who know where it is.

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, FromRedisValue, RedisConnectionInfo, RedisError, Value, aio::MultiplexedConnection,
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
};
use tokio_rustls::TlsConnector;

use super::Unfit;
use crate::{
    config::{ClientTls, Place, Redis, RedisKind, Server},
    tls,
};

/// Addresses of one name that are tried.
const TRIES: usize = 4;
/// How often a cluster may send us on.
const HOPS: usize = 4;

/// What has to be done as long as a connection is to be used.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Makes connections.
pub(super) struct Dialler {
    kind: RedisKind,
    servers: Vec<Server>,
    tls: Option<(Arc<ClientConfig>, ClientTls)>,
    info: RedisConnectionInfo,
    sentinel: RedisConnectionInfo,
    /// Of all of it.
    pub(super) timeout: Duration,
}

/// Whatever bytes go over.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Dialler {
    pub(super) fn new(config: &Redis) -> Result<Self, tls::Unusable> {
        let tls = config.tls.as_ref();
        let tls = tls.map(|settings| Ok::<_, tls::Unusable>((tls::client(settings, &[])?, settings.clone())));
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(username) = &config.username {
            info = info.set_username(username);
        }
        if let Some(password) = &config.password {
            info = info.set_password(password.expose());
        }
        let sentinel = info.clone();
        Ok(Self {
            kind: config.kind.clone(),
            servers: config.servers.clone(),
            tls: tls.transpose()?,
            info: info.set_db(config.database.into()),
            sentinel,
            timeout: config.connect_timeout,
        })
    }

    /// Whether the two lead to the same place.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        (&self.kind, &self.servers, self.info.db()) == (&other.kind, &other.servers, other.info.db())
    }

    /// A connection to the server that has `key`.
    pub(super) async fn dial(&self, key: &str) -> Result<(MultiplexedConnection, Driver), Unfit> {
        let mut failed = Unfit::Unknown;
        for server in &self.servers {
            let found = match &self.kind {
                RedisKind::Server => self.connect(server, &self.info).await,
                RedisKind::Sentinels(name) => self.through(server, name).await,
                RedisKind::Cluster => self.follow(server, key).await,
            };
            match found {
                Ok(found) => return Ok(found),
                Err(why) => failed = why,
            }
        }
        Err(failed)
    }

    /// Asks a sentinel.
    async fn through(&self, sentinel: &Server, name: &str) -> Result<(MultiplexedConnection, Driver), Unfit> {
        let found: Option<(String, u16)> = {
            let (mut connection, driver) = match self.connect(sentinel, &self.sentinel).await {
                // Few sentinels have users of their own.
                Err(Unfit::Stranger) => self.connect(sentinel, &RedisConnectionInfo::default()).await?,
                connected => connected?,
            };
            let mut ask = redis::cmd("SENTINEL");
            ask.arg("get-master-addr-by-name").arg(name);
            driven(driver, ask.query_async(&mut connection)).await?
        };
        let (host, port) = found.ok_or(Unfit::Unknown)?;
        self.connect(&server(host, port), &self.info).await
    }

    /// Asks a server of a cluster for the key, and goes where it is sent.
    async fn follow(&self, first: &Server, key: &str) -> Result<(MultiplexedConnection, Driver), Unfit> {
        let mut next = first.clone();
        for _ in 0..HOPS {
            let (mut connection, mut driver) = self.connect(&next, &self.info).await?;
            let mut ask = redis::cmd("EXISTS");
            ask.arg(key);
            let asked: Result<Value, RedisError> = tokio::select! {
                asked = ask.query_async(&mut connection) => asked,
                () = &mut driver => return Err(gone()),
            };
            match asked {
                Ok(_) => return Ok((connection, driver)),
                Err(error) => match error.redirect_node() {
                    Some((address, _)) => {
                        let (host, port) = address.rsplit_once(':').ok_or(Unfit::Unknown)?;
                        // A server that does not know its own name means the one that was asked.
                        let host = if host.is_empty() { next.host.clone() } else { host.to_owned() };
                        next = server(host, port.parse().map_err(|_| Unfit::Unknown)?);
                    }
                    None => return Err(error.into()),
                },
            }
        }
        Err(Unfit::Unknown)
    }

    async fn connect(
        &self,
        server: &Server,
        info: &RedisConnectionInfo,
    ) -> Result<(MultiplexedConnection, Driver), Unfit> {
        let stream = self.stream(server).await.map_err(Unfit::Unreachable)?;
        let settings = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(info, stream, settings).await?;
        Ok((connection, Box::pin(driver)))
    }

    async fn stream(&self, server: &Server) -> io::Result<Box<dyn Duplex>> {
        let addresses: Vec<_> = match &server.place {
            Place::Unix(path) => return self.secure(UnixStream::connect(path).await?, server).await,
            Place::Ip(address) => vec![*address],
            Place::Name(name, port) => lookup_host((name.as_str(), *port)).await?.take(TRIES).collect(),
        };
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return self.secure(stream, server).await;
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn secure(&self, stream: impl Duplex + 'static, server: &Server) -> io::Result<Box<dyn Duplex>> {
        let Some((config, settings)) = &self.tls else { return Ok(Box::new(stream)) };
        let name: Option<ServerName<'static>> = tls::name(settings, &server.host);
        let name = name.ok_or_else(|| io::Error::other("its host is no name that TLS can ask for"))?;
        Ok(Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?))
    }
}

/// As sentinels and clusters name it.
fn server(host: String, port: u16) -> Server {
    let place = match host.parse() {
        Ok(ip) => Place::Ip(std::net::SocketAddr::new(ip, port)),
        Err(_) => Place::Name(host.clone(), port),
    };
    Server { place, host }
}

/// What comes of asking over a connection that is not kept.
async fn driven<T: FromRedisValue>(
    driver: Driver,
    asked: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, Unfit> {
    tokio::select! {
        asked = asked => Ok(asked?),
        () = driver => Err(gone()),
    }
}

fn gone() -> Unfit {
    Unfit::Unreachable(io::ErrorKind::ConnectionReset.into())
}
