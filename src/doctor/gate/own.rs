//! A gate that is started for a check: by the configuration, but that nobody else can reach it, that it leaves nothing
//! behind, and that its upstream is ours.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::{
    app::{App, StartError},
    config::{AuditTo, Config, Place, Smtp, SmtpTls, Store, Transport},
    telemetry::log,
};

/// How long its end may take.
const END: Duration = Duration::from_secs(3);
/// The longest head that its upstream reads.
const HEAD: usize = 64 << 10;

/// A gate, and the upstream behind it.
pub(super) struct Own {
    pub(super) address: SocketAddr,
    seen: Arc<AtomicUsize>,
    stop: oneshot::Sender<()>,
    gate: AbortOnDropHandle<()>,
    _upstream: AbortOnDropHandle<()>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("{}", log::with_causes(.0))]
    Start(#[from] StartError),
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Own {
    pub(super) async fn start(mut config: Config) -> Result<Self, Failed> {
        let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        tame(&mut config, upstream.local_addr()?);
        let app = App::start(config).await?;
        let address = app.addresses().first().and_then(|address| address.tcp());
        let address = address.ok_or(io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let gate = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            let _ = app.run(std::future::pending(), stopped).await;
        });
        let seen = Arc::new(AtomicUsize::new(0));
        let upstream = tokio::spawn(answer_all(upstream, Arc::clone(&seen)));
        Ok(Self {
            address,
            seen,
            stop,
            gate: AbortOnDropHandle::new(gate),
            _upstream: AbortOnDropHandle::new(upstream),
        })
    }

    /// How many requests got past it.
    pub(super) fn passed(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    pub(super) async fn end(self) {
        let _ = self.stop.send(());
        let _ = timeout(END, self.gate).await;
    }
}

/// Takes away all by which it could be noticed.
fn tame(config: &mut Config, upstream: SocketAddr) {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.listen.addresses = vec![here.into()];
    config.listen.tls = None;
    config.admin.address = here;
    let to = &mut config.upstream.endpoints;
    if let Ok(url) = Url::parse(&format!("http://{upstream}")) {
        to.url = url;
    }
    to.addresses = vec![Place::Ip(upstream)];
    to.tls = None;
    to.health.interval = Duration::ZERO;
    to.health.path = None;
    config.identity.endpoints.health.interval = Duration::ZERO;
    config.edge.watch_upstream = Duration::ZERO;
    config.codes.state_file = None;
    // Nor are codes where others' are, or counts.
    config.codes.store = Store::Memory;
    config.limits.shared = false;
    config.upgrade = None;
    // Standard output is the doctor's own, and a trail that is kept is of what happened.
    config.audit.to = AuditTo::Off;
    config.tracing.otlp = None;
    config.drain.linger = Duration::ZERO;
    // Mail is sent to nobody: there is nothing to send, and nowhere to send it.
    let nobody = Smtp { host: "127.0.0.1".to_owned(), port: 1, tls: SmtpTls::None, ca: None, credentials: None };
    config.mail.transport = Transport::Smtp(nobody);
}

async fn answer_all(listener: TcpListener, seen: Arc<AtomicUsize>) {
    let mut open = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while open.try_join_next().is_some() {}
        open.spawn(answer(stream, Arc::clone(&seen)));
    }
}

async fn answer(mut stream: TcpStream, seen: Arc<AtomicUsize>) -> io::Result<()> {
    let mut read = Vec::new();
    while !read.windows(4).any(|window| window == b"\r\n\r\n") {
        if read.len() > HEAD || stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    }
    seen.fetch_add(1, Ordering::SeqCst);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await?;
    stream.shutdown().await
}
