//! What the service manager that started this process hears of it (systemd's `Type=notify` and `notify-reload`, see
//! sd_notify(3)): that it serves, reloads or ends, and that it is alive. Where nobody listens, nothing is said.

#[cfg(test)]
mod tests;

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, ErrorKind},
    os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::SocketAddr, net::UnixDatagram as Std},
    },
    process,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::{
    net::UnixDatagram,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::task::AbortOnDropHandle;

/// How long it may take to hear.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a drain may take beyond its bound, to write what is left and to end.
const MARGIN: Duration = Duration::from_secs(5);

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Supervisor {
    /// `NOTIFY_SOCKET`
    socket: OnceLock<OsString>,
    /// How often it is to hear that we are alive, at the least.
    watchdog: OnceLock<Duration>,
    /// What it heard last did not reach it.
    deaf: AtomicBool,
    /// It looks after another process now.
    left: AtomicBool,
}

impl Supervisor {
    /// The one that the environment names.
    pub fn from_env() -> Self {
        Self::from(|name| env::var_os(name), process::id())
    }

    fn from(environment: impl Fn(&str) -> Option<OsString>, id: u32) -> Self {
        let number = |name| environment(name)?.to_str()?.parse::<u64>().ok();
        let found = Self::default();
        if let Some(socket) = environment("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) {
            let _ = found.socket.set(socket);
        }
        // A variable that a child got with everything else is not for it.
        let is_ours = environment("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(id.into());
        if let Some(micros) = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0) {
            let _ = found.watchdog.set(Duration::from_micros(micros));
        }
        found
    }

    /// What the next process needs to be heard in this one's place.
    pub fn bequeath(&self) -> String {
        let socket = self.socket.get().and_then(|socket| socket.to_str()).unwrap_or_default();
        format!("{} {socket}", self.watchdog.get().map_or(0, Duration::as_micros))
    }

    /// Goes on with what another process has left, but for what the environment said already.
    pub fn inherit(&self, bequest: &str) {
        let Some((micros, socket)) = bequest.split_once(' ') else { return };
        if !socket.is_empty() {
            let _ = self.socket.set(socket.into());
        }
        if let Some(micros) = micros.parse().ok().filter(|micros| *micros > 0) {
            let _ = self.watchdog.set(Duration::from_micros(micros));
        }
    }

    /// Requests are answered, by this process.
    pub async fn ready(&self) {
        self.tell(&format!("READY=1\nMAINPID={}\nSTATUS=Serving", process::id())).await;
    }

    /// It was told to reload, and does.
    pub async fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=Reloading")).await;
    }

    /// It serves by what it was told to take up, or as before.
    pub async fn reloaded(&self, done: bool) {
        let status = if done { "Serving" } else { "Serving as before: the reload failed, and the log says why" };
        self.tell(&format!("READY=1\nSTATUS={status}")).await;
    }

    /// It ends, within that time.
    pub async fn stopping(&self, within: Duration) {
        let within = within.saturating_add(MARGIN).as_micros();
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={within}\nSTATUS=Draining")).await;
    }

    /// Another process serves now; of this one it hears no more, not even that it ends.
    pub async fn hand_over(&self, to: Option<u32>) {
        if let Some(id) = to {
            self.tell(&format!("MAINPID={id}")).await;
        }
        self.left.store(true, Ordering::Release);
    }

    /// Says twice in the time of the watchdog that we are alive, for as long as what is returned lives. That is, as long
    /// as the runtime takes up work and gets to its end.
    pub fn watch(self: &Arc<Self>) -> Option<AbortOnDropHandle<()>> {
        let every = (*self.watchdog.get()? / 2).max(Duration::from_millis(1));
        let own = Arc::clone(self);
        Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if tokio::spawn(tokio::task::yield_now()).await.is_ok() {
                    own.tell("WATCHDOG=1").await;
                }
            }
        })))
    }

    async fn tell(&self, what: &str) {
        let Some(socket) = self.socket.get().filter(|_| !self.left.load(Ordering::Acquire)) else { return };
        let heard = timeout(PATIENCE, send(socket, what)).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
        let was_deaf = self.deaf.swap(heard.is_err(), Ordering::AcqRel);
        if let Err(error) = heard
            && !was_deaf
        {
            tracing::warn!(%error, "the service manager cannot be told how it goes");
        }
    }
}

/// Each time anew: it may have made its socket anew.
async fn send(to: &OsStr, what: &str) -> io::Result<()> {
    let socket = Std::unbound()?;
    socket.connect_addr(&address(to)?)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)?.send(what.as_bytes()).await.map(|_| ())
}

/// `/path`, or `@name` for one without a file.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(socket),
        _ => Err(io::Error::new(ErrorKind::Unsupported, "NOTIFY_SOCKET is not a path")),
    }
}
