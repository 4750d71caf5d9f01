//! From bound sockets to a running server, and back: what Pingora's own `Server` would do, with our runtime, our
//! signals, errors that are returned, and a drain that ends when the last request does.

mod streams;

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener as StdTcp},
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};

use arc_swap::ArcSwap;
use pingora::{
    apps::{HttpServerOptions, ServerApp},
    proxy::{HttpProxy, http_proxy},
    server::configuration::ServerConf,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::{
    admin,
    config::{Address, Admin, Config, Listen},
    listen::{self, BindError, Bounds, Connection, Listener, Seats, Socket, TooMany},
    proxy::{Gate, Generation, InFlight, Probe, Upstream},
    reset::{
        Engine,
        ports::{Events, Limits, Outbox},
    },
    telemetry::metrics::Metrics,
};

/// How long a drain may take. Kubernetes kills 30 s after it asked.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(25);
/// How long to wait for the upstream's addresses before requests are accepted.
const FIRST_LOOK_UP: Duration = Duration::from_secs(2);
/// Idle connections to the upstream that are kept, per processor.
const IDLE_UPSTREAM: usize = 64;

/// What a server is made of besides its configuration.
pub struct Parts {
    /// Answers the reset path.
    pub engine: Arc<Engine>,
    /// Charged for every request to the reset path.
    pub limits: Arc<dyn Limits>,
    /// Told of refusals and panics.
    pub events: Arc<dyn Events>,
    /// Taken by submits at work.
    pub in_flight: Arc<InFlight>,
    /// Drained at the end.
    pub outbox: Arc<dyn Outbox>,
    /// Counts answers, and shows itself at `/metrics`.
    pub metrics: Arc<Metrics>,
}

/// Sockets that are bound, and not served yet.
#[derive(Debug)]
pub struct Bound {
    sockets: Vec<Socket>,
    /// How many connections these may have open.
    connections: usize,
    admin: StdTcp,
    admin_address: SocketAddr,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything begun was finished.
    Drained,
    /// [`DRAIN_WITHIN`] was over before.
    Unfinished,
    /// It was told not to wait.
    Cut,
}

/// A server that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The process may not open as many files as connections are wanted.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// The runtime or the system refused a socket or a signal.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// Pingora's TLS connector did not come up.
    #[error("cannot load the system's root certificates (see SSL_CERT_FILE and SSL_CERT_DIR)")]
    Roots,
}

/// Binds every address, and says at once which one cannot be.
///
/// # Errors
/// [`StartError::Bind`], with the address and the system's reason; [`StartError::TooMany`], before anything is bound.
pub fn bind(listen: &Listen, admin: &Admin) -> Result<Bound, StartError> {
    let connections = listen::connections(listen.connections.max)?;
    let sockets = listen.addresses.iter().map(listen::bind).collect::<Result<_, _>>()?;
    let (admin, admin_address) = listen::bind_tcp(admin.address)?;
    Ok(Bound { sockets, connections, admin, admin_address })
}

impl Bound {
    /// Where requests come in, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<Address> {
        self.sockets.iter().map(|socket| socket.address().clone()).collect()
    }

    /// Where operators look.
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }
}

/// Serves until `drain` is ready and everything begun is finished, or until `cut` is ready. Needs a Tokio runtime.
///
/// # Errors
/// If serving cannot begin; nothing has been accepted then.
pub async fn run(
    bound: Bound,
    config: &Config,
    parts: Parts,
    drain: impl Future<Output = ()>,
    cut: impl Future<Output = ()>,
) -> Result<Ended, StartError> {
    let upstream = Arc::new(Upstream::new(&config.upstream.url));
    let submits = TaskTracker::new();
    let Parts { engine, limits, events, in_flight, outbox, metrics } = parts;
    let work = (in_flight, submits.clone());
    let generation = Generation::new(config, engine, Arc::clone(&upstream), &metrics);
    let generation = Arc::new(ArcSwap::from_pointee(generation));
    let gate = Gate::new(generation, limits, events, Arc::clone(&metrics), work);
    let proxy = Arc::new(proxy(gate, config.listen.connections.max_requests)?);
    let seats = Arc::new(Seats::new(bound.connections, &config.listen, Arc::clone(&metrics)));
    let bounds = Arc::new(Bounds::new(&config.listen, Arc::clone(&metrics)));
    let probe = rooted(|| Probe::new(config, Arc::clone(&upstream), Arc::clone(&metrics)))?;

    let ready = Arc::new(AtomicBool::new(false));
    let addresses = bound.sockets.iter().map(|socket| socket.address().to_string()).collect::<Vec<_>>().join(", ");
    let admin = TcpListener::from_std(bound.admin)?;
    let _admin = AbortOnDropHandle::new(tokio::spawn(admin::serve(admin, Arc::clone(&ready), metrics)));
    // A name server that is down delays the start a little and prevents nothing.
    let _ = timeout(FIRST_LOOK_UP, upstream.resolve()).await;
    let _resolver = AbortOnDropHandle::new(tokio::spawn(async move { upstream.keep_fresh().await }));
    let listeners = bound.sockets.into_iter().map(Socket::into_listener).collect::<Result<_, _>>()?;
    let max_requests = config.listen.connections.max_requests;
    let mut doors = Doors::open(listeners, &seats, &bounds, &proxy, max_requests);
    ready.store(true, Ordering::Release);
    tracing::info!(addresses, admin = %bound.admin_address, "ready");
    let _probe = AbortOnDropHandle::new(tokio::spawn(probe.watch()));
    let work = async {
        drain.await;
        tracing::info!("draining");
        ready.store(false, Ordering::Release);
        let finished = timeout(DRAIN_WITHIN, async {
            doors.close(&proxy).await;
            submits.close();
            submits.wait().await;
            outbox.drained().await;
        });
        if finished.await.is_ok() { Ended::Drained } else { Ended::Unfinished }
    };
    let ended = tokio::select! {
        biased;
        () = cut => Ended::Cut,
        ended = work => ended,
    };
    // Whatever still accepts lets go of its socket, and of its socket's file.
    doors.accepting.shutdown().await;
    Ok(ended)
}

/// The accept loops and what they let in.
struct Doors {
    accepting: JoinSet<()>,
    connections: TaskTracker,
    stop: watch::Sender<bool>,
}

impl Doors {
    fn open(
        listeners: Vec<Listener>,
        seats: &Arc<Seats>,
        bounds: &Arc<Bounds>,
        proxy: &Arc<HttpProxy<Gate>>,
        max_requests: u32,
    ) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (mut accepting, connections) = (JoinSet::new(), TaskTracker::new());
        for listener in listeners {
            let (proxy, shutdown) = (Arc::clone(proxy), stopping.clone());
            let http2 = listener.speaks_http2();
            let serve = move |mut connection: Connection| {
                let (proxy, shutdown) = (Arc::clone(&proxy), shutdown.clone());
                async move {
                    if http2 {
                        match begins_with_http2(&mut connection, shutdown.clone()).await {
                            None => return,
                            Some(true) => return streams::serve(&proxy, connection, shutdown, max_requests).await,
                            Some(false) => {}
                        }
                    }
                    proxy.process_new(Box::new(connection), &shutdown).await;
                }
            };
            let (seats, bounds) = (Arc::clone(seats), Arc::clone(bounds));
            accepting.spawn(listen::accept(listener, seats, bounds, connections.clone(), stopping.clone(), serve));
        }
        Self { accepting, connections, stop }
    }

    /// Lets nobody in any more, sends the idle away, and waits for the others.
    async fn close(&mut self, proxy: &Arc<HttpProxy<Gate>>) {
        self.stop.send_replace(true);
        while self.accepting.join_next().await.is_some() {}
        proxy.cleanup().await;
        self.connections.close();
        self.connections.wait().await;
    }
}

/// `None` if the connection is over before that is known.
async fn begins_with_http2(connection: &mut Connection, mut stopping: watch::Receiver<bool>) -> Option<bool> {
    tokio::select! {
        biased;
        begins = listen::starts_http2(connection) => begins.ok(),
        _ = stopping.wait_for(|stop| *stop) => None,
    }
}

/// Pingora around the gate, with its options.
fn proxy(gate: Gate, max_requests: u32) -> Result<HttpProxy<Gate>, StartError> {
    let conf = Arc::new(ServerConf {
        threads: available_parallelism().map_or(1, NonZeroUsize::get),
        upstream_keepalive_pool_size: IDLE_UPSTREAM,
        max_retries: 2,
        ..ServerConf::default()
    });
    let mut proxy = rooted(|| http_proxy(&conf, gate))?;
    let mut options = HttpServerOptions::default();
    // It counts those that come after the first.
    options.keepalive_request_limit = Some(max_requests.saturating_sub(1));
    proxy.server_options = Some(options);
    Ok(proxy)
}

/// What needs the system's root certificates: Pingora panics where it cannot read them.
fn rooted<T>(make: impl FnOnce() -> T) -> Result<T, StartError> {
    catch_unwind(AssertUnwindSafe(make)).map_err(|_| StartError::Roots)
}
