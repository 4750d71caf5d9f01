//! Where a service is, as far as is known now: the addresses that its configuration or a name server gives, and which of
//! them to use next.
//!
//! They take turns. One that cannot be connected to, or fails request after request, is left alone for a while; then one
//! request tries it. Checks on a timer find out without any request. An address's health only says which is better: where
//! none is well, each is used, so that nothing is ever refused for what was believed of a server.

mod check;
mod mark;
mod resolve;

use std::{
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::resolve::{LookUp, system};
use self::{
    check::Check,
    mark::{Change, Mark},
};
pub use crate::telemetry::metrics::{Backend, Failure};
use crate::{
    config,
    telemetry::metrics::{EndpointStates, Metrics},
    tls::Unusable,
};

/// A service's addresses. What keeps them fresh ends when this is dropped. Needs a Tokio runtime.
pub struct Endpoints {
    shared: Arc<Shared>,
    known: watch::Receiver<bool>,
    /// Shown in the metrics as long as this lives.
    _shown: Arc<EndpointStates>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// What the tasks share.
struct Shared {
    nodes: ArcSwap<Vec<Endpoint>>,
    next: AtomicUsize,
    judge: Arc<Judge>,
}

/// By what all addresses of a service are judged, and who is told.
struct Judge {
    service: Backend,
    health: config::Health,
    metrics: Arc<Metrics>,
}

/// Where one server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// By TCP.
    Tcp(SocketAddr),
    /// By a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One address of a service, and what is known of it. Two are equal if their addresses are.
#[derive(Clone)]
pub struct Endpoint(Arc<Node>);

struct Node {
    address: Address,
    /// How that is told, with each request.
    text: String,
    judge: Arc<Judge>,
    /// Whether there is anything in `mark`: most requests need not look.
    marked: AtomicBool,
    mark: Mutex<Mark>,
}

impl Endpoints {
    /// The addresses of a service. Names are being looked up from now on.
    ///
    /// # Errors
    /// If checks need TLS that cannot be set up.
    pub fn new(service: Backend, config: &config::Endpoints, metrics: &Arc<Metrics>) -> Result<Self, Unusable> {
        Self::by(system(), service, config, metrics)
    }

    /// The same, by a name server of the caller's.
    pub(crate) fn by(
        look_up: LookUp,
        service: Backend,
        config: &config::Endpoints,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Unusable> {
        let judge = Arc::new(Judge { service, health: config.health.clone(), metrics: Arc::clone(metrics) });
        let shared = Arc::new(Shared { nodes: ArcSwap::default(), next: AtomicUsize::new(0), judge });
        let (tell, known) = watch::channel(false);
        let mut names = resolve::Names::new(&config.addresses, look_up);
        shared.take(names.addresses());
        let mut tasks = Vec::new();
        if names.is_empty() {
            tell.send_replace(true);
        } else {
            let shared = Arc::clone(&shared);
            tasks.push(tokio::spawn(async move {
                names.keep_fresh(|addresses| shared.take(addresses), &tell, &shared.judge).await;
            }));
        }
        if !config.health.interval.is_zero() {
            let check = Arc::new(Check::new(config)?);
            tasks.push(tokio::spawn(check::watch(Arc::clone(&shared), check)));
        }
        let states = Arc::clone(&shared);
        let shown: Arc<EndpointStates> = Arc::new(move |say: &mut dyn FnMut(String, bool)| {
            states.nodes.load().iter().for_each(|node| say(node.text().to_owned(), node.is_up()));
        });
        metrics.show_endpoints(service, &shown);
        Ok(Self { shared, known, _shown: shown, _tasks: tasks.into_iter().map(AbortOnDropHandle::new).collect() })
    }

    /// Resolves when every name has been looked up once, successfully or not.
    pub async fn looked_up(&self) {
        // Whoever tells lives as long as this.
        let _ = self.known.clone().wait_for(|known| *known).await;
    }

    /// The one to use next, none of `avoid`: the next one in turn that is well, or else the next one. `None` if there is no
    /// other, or none at all.
    pub fn pick(&self, avoid: &[Endpoint]) -> Option<Endpoint> {
        let nodes = self.shared.nodes.load();
        let first = self.shared.next.fetch_add(1, Ordering::Relaxed).checked_rem(nodes.len())?;
        let others = || nodes.iter().cycle().skip(first).take(nodes.len()).filter(|node| !avoid.contains(node));
        others().find(|node| node.is_wanted()).or_else(|| others().next()).cloned()
    }

    /// Whether there is one that is none of `avoid`.
    pub fn has_another(&self, avoid: &[Endpoint]) -> bool {
        self.shared.nodes.load().iter().any(|node| !avoid.contains(node))
    }

    /// How many there are, and how many of them are up.
    pub fn count(&self) -> (usize, usize) {
        let nodes = self.shared.nodes.load();
        (nodes.len(), nodes.iter().filter(|node| node.is_up()).count())
    }
}

impl Shared {
    /// Takes fresh addresses. What is known of those that stay is kept.
    fn take(&self, addresses: Vec<Address>) {
        let before = self.nodes.load();
        let node = |address: Address| {
            let known = before.iter().find(|node| node.0.address == address);
            known.cloned().unwrap_or_else(|| Endpoint::new(address, Arc::clone(&self.judge)))
        };
        let mut nodes: Vec<Endpoint> = Vec::new();
        for node in addresses.into_iter().map(node) {
            if nodes.len() < config::MAX_ADDRESSES && !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        self.nodes.store(Arc::new(nodes));
    }
}

impl Endpoint {
    fn new(address: Address, judge: Arc<Judge>) -> Self {
        let text = address.to_string();
        Self(Arc::new(Node { address, text, judge, marked: AtomicBool::new(false), mark: Mutex::default() }))
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// The same as text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// To be told when it answered a request.
    pub fn answered(&self) {
        if self.0.marked.load(Ordering::Relaxed) {
            self.mark(Mark::answered);
        }
    }

    /// To be told when it failed one.
    pub fn failed(&self, how: Failure) {
        let Judge { service, health, metrics, .. } = &*self.0.judge;
        metrics.endpoint_failed(*service, how);
        let weight = match how {
            // Nobody is there, or not who it should be.
            Failure::Connect | Failure::ConnectTimeout | Failure::Tls => health.unhealthy,
            // That may have been the request's own fault.
            Failure::Silent | Failure::Broken => 1,
            Failure::LookUp | Failure::Check => return,
        };
        let unhealthy = health.unhealthy;
        self.mark(|mark| mark.failed(weight, unhealthy, Instant::now()));
    }

    /// What a check found.
    fn checked(&self, well: bool) {
        let Judge { service, health, metrics, .. } = &*self.0.judge;
        if !well {
            metrics.endpoint_failed(*service, Failure::Check);
        }
        self.mark(|mark| mark.checked(well, health));
    }

    fn mark(&self, change: impl FnOnce(&mut Mark) -> Option<Change>) {
        let mut mark = self.0.mark.lock();
        let change = change(&mut mark);
        self.0.marked.store(!mark.is_clean(), Ordering::Relaxed);
        drop(mark);
        let Some(change) = change else { return };
        let Judge { service, metrics, .. } = &*self.0.judge;
        metrics.endpoint_changed(*service, change == Change::Up);
        let (service, address) = (service.name(), &self.0.address);
        match change {
            Change::Up => tracing::info!(service, %address, "an address is well again"),
            Change::Down => tracing::warn!(service, %address, "an address fails and is left alone for a while"),
        }
    }

    fn is_up(&self) -> bool {
        !self.0.marked.load(Ordering::Relaxed) || self.0.mark.lock().is_up()
    }

    /// Whether it should get a request: it is up, or it is time that one tries it.
    fn is_wanted(&self) -> bool {
        !self.0.marked.load(Ordering::Relaxed) || self.0.mark.lock().may_try(Instant::now())
    }
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.address == other.0.address
    }
}

impl Eq for Endpoint {}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.address.fmt(f)
    }
}

#[cfg(test)]
mod tests;
