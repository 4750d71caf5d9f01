//! From bound sockets to a running server, and back: what Pingora's own `Server` would do, with our runtime, our
//! signals, errors that are returned, and a drain that ends when the last request does.

mod admission;
mod front;
pub mod handover;
mod requests;
mod streams;

use std::{
    future::{Future, pending},
    io,
    net::{SocketAddr, TcpListener as StdTcp},
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use pingora::{apps::ServerApp, proxy::HttpProxy};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use self::{
    front::Front,
    handover::{Estate, HandoverError, Heir, Legacy, Offer},
};
use crate::{
    admin::{self, Inside, Told},
    config::{Address, Admin, Config, Drain, Listen, Speaks},
    listen::{self, Arrival, BindError, Bounds, Listener, Seats, ServerTls, Socket, TooMany, Trust},
    proxy::{Gate, Generation, InFlight, NoRoots, Passing, Steps},
    reset::ports::Events,
    supervisor::Supervisor,
    telemetry::metrics::Metrics,
};

/// How long the first request of a connection that was just accepted may be on its way, when no more are.
const ARRIVING: Duration = Duration::from_secs(1);

/// What a server is made of besides its sockets.
pub struct Parts {
    /// Whatever is the present one answers.
    pub generation: Arc<ArcSwap<Generation>>,
    /// Told of refusals and panics.
    pub events: Arc<dyn Events>,
    /// Taken by submits at work.
    pub in_flight: Arc<InFlight>,
    /// For listeners that speak TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// Counts answers, and shows itself at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// What operators may see.
    pub inside: Arc<dyn Inside>,
    /// What another process goes on with.
    pub legacy: Arc<dyn Legacy>,
    /// Told when it serves and when it ends.
    pub supervisor: Arc<Supervisor>,
    /// Resolves when no mail is left; waited for at the end.
    pub mail_is_out: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Sockets that are bound, and not served yet.
pub struct Bound {
    sockets: Vec<Socket>,
    /// The same once more, for a process that takes over, by their addresses in the configuration.
    shared: Vec<(String, OwnedFd)>,
    heir: Option<Heir>,
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
    /// `drain.within` was over before.
    Unfinished,
    /// It was told not to wait.
    Cut,
    /// Another process has taken over.
    HandedOver,
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
    /// No other process could be taken over from, or wait for one.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// Pingora's TLS connector did not come up.
    #[error(transparent)]
    Roots(#[from] NoRoots),
}

/// Binds every address that `heir` does not bring, and says at once which one cannot be.
///
/// # Errors
/// [`StartError::Bind`], with the address and the system's reason; [`StartError::TooMany`], before anything is bound.
pub fn bind(listen: &Listen, admin: &Admin, mut heir: Option<Heir>) -> Result<Bound, StartError> {
    let connections = listen::connections(listen.connections.max)?;
    let (mut sockets, mut missing) = (Vec::new(), Vec::new());
    for address in &listen.addresses {
        let inherited = heir.as_mut().map(|heir| heir.sockets(address)).unwrap_or_default();
        if inherited.is_empty() {
            missing.push(address.clone());
        }
        for fd in inherited {
            sockets.push(Socket::adopt(address, fd)?);
        }
    }
    sockets.extend(listen::bind(&missing)?);
    let (admin, admin_address) = match heir.as_mut().and_then(|heir| heir.admin(admin.address)) {
        Some(fd) => {
            let socket = StdTcp::from(fd);
            socket.local_addr().map(|address| (socket, address))?
        }
        None => listen::bind_tcp(admin.address)?,
    };
    let share = |socket: &Socket| Ok((socket.address().to_string(), socket.fd().try_clone_to_owned()?));
    let mut shared = sockets.iter().map(share).collect::<io::Result<Vec<_>>>()?;
    shared.push((handover::admin(admin_address), admin.as_fd().try_clone_to_owned()?));
    Ok(Bound { sockets, shared, heir, connections, admin, admin_address })
}

impl Bound {
    /// Where requests come in, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<Address> {
        self.sockets.iter().map(|socket| socket.address().clone()).collect()
    }

    /// How many connections may be open, over all addresses.
    pub const fn connections(&self) -> usize {
        self.connections
    }

    /// Where operators look.
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }
}

/// Serves until `drain` is ready or another process has taken over, and everything begun is finished, or until `cut` is
/// ready. Needs a Tokio runtime.
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
    let Parts { generation, events, in_flight, tls, metrics, inside, legacy, supervisor, mail_is_out } = parts;
    let (submits, leave, steps) = (TaskTracker::new(), watch::Sender::new(false), watch::Sender::new(Steps::Here));
    let work = (in_flight, submits.clone());
    let stop = watch::Sender::new(false);
    let ends = (leave.subscribe(), stop.subscribe(), steps.subscribe());
    let present = Arc::clone(&generation);
    let trust = Trust::by(move |ip| present.load().trusts(ip));
    let gate = Gate::new(generation, ends, events, Arc::clone(&metrics), work);
    let front = Front::new(gate, config, Arc::clone(&metrics))?;
    let admission = Arc::clone(&front.admission);
    let _admission = AbortOnDropHandle::new(tokio::spawn(async move { admission.watch().await }));
    let max_per_client = config.listen.connections.max_per_client;
    let seats = Arc::new(Seats::new(bound.connections, max_per_client, trust, Arc::clone(&metrics)));
    let bounds = Arc::new(Bounds::new(&config.listen, Arc::clone(&metrics)));

    let ready = Arc::new(AtomicBool::new(false));
    let addresses = bound.sockets.iter().map(|socket| socket.address().to_string()).collect::<Vec<_>>().join(", ");
    let admin = TcpListener::from_std(bound.admin)?;
    let to_listener = |socket: Socket| socket.into_listener(tls.as_ref());
    let mut listeners = bound.sockets.into_iter().map(to_listener).collect::<Result<Vec<_>, _>>()?;
    let is_heir = bound.heir.is_some();
    if let (Some(heir), Some(folder)) = (bound.heir, &config.upgrade) {
        supervisor.inherit(heir.supervision());
        listeners.push(handover::take_over(heir, folder, &*legacy).await?);
    }
    // Without an heir to wait for, nothing is shared.
    let shared = bound.shared;
    let offer = match &config.upgrade {
        Some(folder) => {
            let estate =
                Estate { sockets: shared, legacy, steps, submits: submits.clone(), supervision: supervisor.bequeath() };
            Some(Offer::open(folder, is_heir, estate).await?)
        }
        None => {
            drop(shared);
            None
        }
    };
    let told = Told { ready: Arc::clone(&ready), metrics, inside };
    let admin = AbortOnDropHandle::new(tokio::spawn(admin::serve(admin, told)));
    let max_requests = config.listen.connections.max_requests;
    let mut doors = Doors::open(listeners, &seats, &bounds, &front, (max_requests, leave, stop));
    ready.store(true, Ordering::Release);
    tracing::info!(addresses, admin = %bound.admin_address, "ready");
    supervisor.ready().await;
    let _watch = supervisor.watch();
    let Drain { linger, within } = config.drain;
    let work = async {
        let heir = tokio::select! {
            () = drain => None,
            heir = async { match &offer { Some(offer) => offer.taken().await, None => pending().await } } => Some(heir),
        };
        let handed_over = heir.is_some();
        // Else its sockets would listen on, and nobody would accept.
        drop(offer);
        tracing::info!(handed_over, "draining");
        ready.store(false, Ordering::Release);
        // Whoever looks is to find the other process there.
        let _admin = if handed_over {
            drop(admin);
            None
        } else {
            Some(admin)
        };
        let told = async {
            match heir {
                Some(heir) => supervisor.hand_over(heir.id).await,
                None => supervisor.stopping(within).await,
            }
        };
        let finished = timeout(within, async {
            if handed_over {
                doors.hand_over().await;
            }
            doors.linger(linger).await;
            doors.close(&front.proxy).await;
            submits.close();
            submits.wait().await;
            mail_is_out.await;
        });
        match (tokio::join!(finished, told).0, handed_over) {
            (_, true) => Ended::HandedOver,
            (Ok(()), false) => Ended::Drained,
            (Err(_), false) => Ended::Unfinished,
        }
    };
    let ended = tokio::select! {
        biased;
        () = cut => Ended::Cut,
        ended = work => ended,
    };
    // Whatever still accepts lets go of its socket, and of its socket's file.
    doors.accepting.shutdown().await;
    doors.former.shutdown().await;
    Ok(ended)
}

/// The accept loops and what they let in.
struct Doors {
    accepting: JoinSet<Listener>,
    /// Of the process that this one took over from, which may need it until the end.
    former: JoinSet<Listener>,
    connections: TaskTracker,
    /// Makes every answer its connection's last.
    leave: watch::Sender<bool>,
    /// Ends accepting.
    shut: watch::Sender<bool>,
    /// Sends away whoever is idle.
    stop: watch::Sender<bool>,
}

impl Doors {
    fn open(
        listeners: Vec<Listener>,
        seats: &Arc<Seats>,
        bounds: &Arc<Bounds>,
        front: &Front,
        (max_requests, leave, stop): (u32, watch::Sender<bool>, watch::Sender<bool>),
    ) -> Self {
        let shut = watch::Sender::new(false);
        let (mut accepting, mut former, connections) = (JoinSet::new(), JoinSet::new(), TaskTracker::new());
        for listener in listeners {
            let (front, ends) = (front.clone(), Ends { leave: leave.subscribe(), stop: stop.subscribe() });
            let looks = listener.speaks() == Speaks::H2c;
            let serve = move |arrival: Arrival| {
                let (front, mut ends) = (front.clone(), ends.clone());
                async move {
                    let greeted = or_stopped(Box::pin(arrival.greet()), &mut ends.stop).await.flatten();
                    let Some((mut connection, mut http2)) = greeted else { return };
                    if looks {
                        let begins = or_stopped(listen::starts_http2(&mut connection), &mut ends.stop).await;
                        let Some(Ok(begins)) = begins else { return };
                        http2 = begins;
                    }
                    if http2 {
                        return Box::pin(streams::serve(&front, connection, ends, max_requests)).await;
                    }
                    requests::serve(&front, connection, ends.stop, max_requests).await;
                }
            };
            let (seats, bounds) = (Arc::clone(seats), Arc::clone(bounds));
            let (loops, ends) = if listener.is_of_former() { (&mut former, &stop) } else { (&mut accepting, &shut) };
            loops.spawn(listen::accept(listener, seats, bounds, connections.clone(), ends.subscribe(), serve));
        }
        Self { accepting, former, connections, leave, shut, stop }
    }

    /// Goes on for that long with whoever has not noticed yet. Who has asked since is not here any more then, and who is
    /// was idle all the time.
    async fn linger(&self, linger: Duration) {
        self.leave.send_replace(true);
        sleep(linger).await;
    }

    /// Lets nobody in any more: another process does, at the same sockets.
    async fn hand_over(&mut self) {
        self.shut.send_replace(true);
        while let Some(ended) = self.accepting.join_next().await {
            if let Ok(listener) = ended {
                listener.leave();
            }
        }
    }

    /// Lets nobody in any more, sends the idle away, and waits for the others.
    async fn close(&mut self, proxy: &HttpProxy<Passing>) {
        self.shut.send_replace(true);
        while self.accepting.join_next().await.is_some() {}
        self.connections.close();
        // Who came last has a request on its way.
        let _ = timeout(ARRIVING, self.connections.wait()).await;
        self.stop.send_replace(true);
        while self.former.join_next().await.is_some() {}
        proxy.cleanup().await;
        self.connections.wait().await;
    }
}

/// When a connection is to end.
#[derive(Clone)]
struct Ends {
    /// After what is asked next.
    leave: watch::Receiver<bool>,
    /// After what is being answered.
    stop: watch::Receiver<bool>,
}

/// `None` if it is to stop before that is ready.
async fn or_stopped<T>(work: impl Future<Output = T>, stopping: &mut watch::Receiver<bool>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        _ = stopping.wait_for(|stop| *stop) => None,
    }
}
