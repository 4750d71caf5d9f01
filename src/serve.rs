//! Runs what `app` has put together: accept loops, drain, end. Not pingora's own server, which would sleep out its grace
//! period idle and survive a port that it cannot bind.

use std::{io, sync::Arc, time::Duration};

use pingora::{apps::ServerApp, proxy::http_proxy, server::configuration::ServerConf};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_util::task::TaskTracker;

use crate::{
    admin::{self, Readiness},
    config::{self, Address},
    listen::{self, BindError, Listener},
    proxy::{self, Gate, upstream::Upstream},
    reset::ports::Outbox,
};

/// Connections open at once, of all clients together.
const MAX_CONNECTIONS: usize = 10_000;
/// How long a drain waits for requests and mails; within the 30 s that Kubernetes grants.
const DRAIN: Duration = Duration::from_secs(25);

/// Every address bound, nothing served yet.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<Listener>,
    admin: TcpListener,
}

impl Bound {
    /// Binds all addresses, or none.
    ///
    /// # Errors
    /// The first [`BindError`].
    pub fn new(listen: &config::Listen, admin: &config::Admin) -> Result<Self, BindError> {
        let listeners = listen.addresses.iter().map(Listener::bind).collect::<Result<_, _>>()?;
        match Listener::bind(&Address::Tcp(admin.address))? {
            Listener::Tcp(admin) => Ok(Self { listeners, admin }),
            Listener::Unix(..) => Err(BindError {
                address: admin.address.to_string(),
                reason: io::Error::other("bound to something else"),
            }),
        }
    }

    /// Where requests come in, with the ports that were given for port 0.
    ///
    /// # Errors
    /// The system's.
    pub fn addresses(&self) -> io::Result<Vec<Address>> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Where operators look.
    ///
    /// # Errors
    /// The system's.
    pub fn admin_address(&self) -> io::Result<std::net::SocketAddr> {
        self.admin.local_addr()
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every request was answered, every mail sent or given up.
    Drained,
    /// The time was up first.
    TimeUp,
    /// At once, as asked.
    Killed,
}

/// Serves until `drain` resolves, then finishes what runs. `kill` ends it at any moment.
pub async fn run(
    bound: Bound,
    config: &config::Config,
    parts: proxy::Parts,
    outbox: &dyn Outbox,
    drain: impl Future<Output = ()>,
    kill: impl Future<Output = ()>,
) -> Ended {
    tokio::select! {
        biased;
        () = kill => Ended::Killed,
        ended = serve(bound, config, parts, outbox, drain) => ended,
    }
}

async fn serve(
    bound: Bound,
    config: &config::Config,
    parts: proxy::Parts,
    outbox: &dyn Outbox,
    drain: impl Future<Output = ()>,
) -> Ended {
    let readiness = Readiness::default();
    // Ends with this function: whatever it returns for, nobody is left to serve.
    let mut beside = JoinSet::new();
    beside.spawn(admin::serve(bound.admin, readiness.clone(), Arc::clone(&parts.metrics)));
    let upstream = Arc::new(Upstream::new(&config.upstream));
    let resolving = Arc::clone(&upstream);
    beside.spawn(async move { resolving.resolve().await });

    let (connections, work) = (TaskTracker::new(), TaskTracker::new());
    let gate = Gate::new(&config.listen, upstream, &config.reset, parts, work.clone());
    let mut http = http_proxy(&Arc::new(ServerConf { max_retries: 2, ..ServerConf::default() }), gate);
    http.server_options = Some(proxy::options());
    let http = Arc::new(http);
    let (shutdown, down) = watch::channel(false);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accepting = TaskTracker::new();
    for listener in bound.listeners {
        let http = Arc::clone(&http);
        accepting.spawn(listen::serve(listener, http, Arc::clone(&room), connections.clone(), down.clone()));
    }
    readiness.set(true);
    tracing::info!("ready");

    drain.await;
    tracing::info!(connections = connections.len(), "draining");
    readiness.set(false);
    let finish = async {
        let _ = shutdown.send(true);
        accepting.close();
        accepting.wait().await;
        // Idle connections would wait for their next request.
        http.cleanup().await;
        connections.close();
        connections.wait().await;
        work.close();
        work.wait().await;
        outbox.drained().await;
    };
    let ended = match tokio::time::timeout(DRAIN, finish).await {
        Ok(()) => Ended::Drained,
        Err(_) => Ended::TimeUp,
    };
    tracing::info!(complete = (ended == Ended::Drained), "drained");
    ended
}
