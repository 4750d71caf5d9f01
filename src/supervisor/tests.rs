use std::{collections::HashMap, sync::mpsc, time::Instant};

use super::*;

/// What a service manager hears.
struct Ear {
    socket: Std,
    _folder: Option<tempfile::TempDir>,
    name: String,
}

impl Ear {
    fn at_a_path() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        Self::on(Std::bind(&path).unwrap(), path.to_str().unwrap().to_owned(), Some(folder))
    }

    fn without_a_file() -> Self {
        let name = format!("resetgate-{}", process::id());
        let socket = Std::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Self::on(socket, format!("@{name}"), None)
    }

    fn on(socket: Std, name: String, folder: Option<tempfile::TempDir>) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { socket, name, _folder: folder }
    }

    /// The next message; none within a while.
    fn hears(&self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8(message[..length].to_vec()).unwrap())
    }

    fn next(&self) -> String {
        self.hears(Duration::from_secs(30)).expect("a message")
    }

    fn has_no_more(&self) {
        self.socket.set_nonblocking(true).unwrap();
        assert_eq!(self.socket.recv(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        self.socket.set_nonblocking(false).unwrap();
    }
}

fn supervisor(environment: &[(&str, &str)]) -> Supervisor {
    let variables: HashMap<&str, &str> = environment.iter().copied().collect();
    Supervisor::from(|name| variables.get(name).map(OsString::from), 17)
}

fn watchdog(environment: &[(&str, &str)]) -> Option<Duration> {
    supervisor(environment).watchdog.get().copied()
}

#[tokio::test]
async fn it_hears_of_every_turn() {
    for ear in [Ear::at_a_path(), Ear::without_a_file()] {
        let own = supervisor(&[("NOTIFY_SOCKET", &ear.name)]);
        own.ready().await;
        assert_eq!(ear.next(), format!("READY=1\nMAINPID={}\nSTATUS=Serving", process::id()));
        own.reloading().await;
        let told = ear.next();
        let micros = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().split_once('\n').unwrap().0;
        let now = clock_gettime(ClockId::Monotonic).tv_sec;
        assert!((0..30).contains(&(now - micros.parse::<i64>().unwrap() / 1_000_000)), "{told} at {now} s");
        own.reloaded(true).await;
        assert_eq!(ear.next(), "READY=1\nSTATUS=Serving");
        own.reloaded(false).await;
        assert!(ear.next().starts_with("READY=1\nSTATUS=Serving as before"));
        own.stopping(Duration::from_secs(25)).await;
        assert_eq!(ear.next(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000\nSTATUS=Draining");
        ear.has_no_more();
    }
}

#[tokio::test]
async fn of_who_has_handed_over_it_hears_no_more() {
    let ear = Ear::at_a_path();
    let former = supervisor(&[("NOTIFY_SOCKET", &ear.name), ("WATCHDOG_USEC", "20000")]);
    let heir = supervisor(&[("WATCHDOG_USEC", "1"), ("WATCHDOG_PID", "16")]);
    heir.inherit(&former.bequeath());
    assert_eq!(heir.watchdog.get(), Some(&Duration::from_millis(20)));
    former.hand_over(Some(18)).await;
    assert_eq!(ear.next(), "MAINPID=18");
    former.stopping(Duration::ZERO).await;
    ear.has_no_more();
    heir.ready().await;
    assert!(ear.next().starts_with("READY=1\nMAINPID="));

    // What the environment says goes first, and of nobody nothing is inherited.
    let own = supervisor(&[("NOTIFY_SOCKET", "/own"), ("WATCHDOG_USEC", "30")]);
    own.inherit(&former.bequeath());
    assert_eq!((own.socket.get().unwrap().as_os_str(), own.watchdog.get().unwrap().as_micros()), ("/own".as_ref(), 30));
    let alone = supervisor(&[]);
    alone.inherit(&supervisor(&[]).bequeath());
    assert!(alone.socket.get().is_none() && alone.watchdog.get().is_none());
}

#[test]
fn the_watchdog_is_whose_process_it_names() {
    let of = Some(Duration::from_micros(4000));
    assert_eq!(watchdog(&[("WATCHDOG_USEC", "4000")]), of);
    assert_eq!(watchdog(&[("WATCHDOG_USEC", "4000"), ("WATCHDOG_PID", "17")]), of);
    for other in ["16", "", "x"] {
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "4000"), ("WATCHDOG_PID", other)]), None, "{other}");
    }
    for none in ["0", "", "x", "-1"] {
        assert_eq!(watchdog(&[("WATCHDOG_USEC", none)]), None, "{none}");
    }
}

/// A program whose workers are stuck is restarted, which it would not be if a thread beside them said that it lives.
#[test]
fn it_is_alive_as_long_as_work_gets_done() {
    const EVERY: Duration = Duration::from_millis(20);
    let ear = Ear::at_a_path();
    let own = Arc::new(supervisor(&[("NOTIFY_SOCKET", &ear.name), ("WATCHDOG_USEC", "40000")]));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let watching = runtime.block_on(async { own.watch() }).expect("a watchdog");
    let before = Instant::now();
    for _ in 0..5 {
        assert_eq!(ear.next(), "WATCHDOG=1");
    }
    // The first comes at once, the fifth four periods later.
    assert!(before.elapsed() >= EVERY * 3, "{:?}", before.elapsed());

    let (release, stuck) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    runtime.spawn(async move {
        begin.send(()).unwrap();
        let _ = stuck.recv();
    });
    begun.recv().unwrap();
    while ear.hears(Duration::from_millis(1)).is_some() {}
    assert_eq!(ear.hears(EVERY * 10), None);
    drop(release);
    assert_eq!(ear.next(), "WATCHDOG=1");
    drop(watching);
}

#[tokio::test]
async fn nobody_to_tell_is_no_harm() {
    supervisor(&[]).ready().await;
    supervisor(&[("NOTIFY_SOCKET", "")]).ready().await;
    assert!(Arc::new(supervisor(&[("NOTIFY_SOCKET", "/nowhere/notify")])).watch().is_none());
    for deaf in ["/nowhere/notify", "vsock:2:1234", "@nobody-listens-here"] {
        let own = supervisor(&[("NOTIFY_SOCKET", deaf)]);
        own.ready().await;
        assert!(own.deaf.load(Ordering::Acquire), "{deaf}");
        own.stopping(Duration::MAX).await;
    }
}

/// It holds nothing up: a service manager that does not read is given up on.
#[tokio::test(start_paused = true)]
async fn who_does_not_listen_is_not_waited_for() {
    let ear = Ear::at_a_path();
    let own = supervisor(&[("NOTIFY_SOCKET", &ear.name)]);
    for _ in 0..2000 {
        own.reloaded(true).await;
        if own.deaf.load(Ordering::Acquire) {
            return;
        }
    }
    panic!("its queue has no end");
}
