//! What systemd hears.

use std::os::unix::net::UnixDatagram;

use crate::support::{
    PATIENCE,
    setup::{Around, Files, Gate, Plan},
};

/// What a service manager hears, at a socket in a folder.
struct Ear {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Ear {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, folder }
    }

    fn name(&self) -> String {
        self.folder.path().join("notify").to_str().unwrap().to_owned()
    }

    /// The next message that is no sign of life alone.
    fn next(&self) -> String {
        loop {
            let told = self.anything();
            if told != "WATCHDOG=1" {
                return told;
            }
        }
    }

    fn anything(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("a message");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// The next sign of life.
    fn is_alive(&self) {
        while self.anything() != "WATCHDOG=1" {}
    }
}

#[tokio::test]
async fn systemd_hears_that_it_serves_lives_reloads_and_ends() {
    let (around, ear) = (Around::start().await, Ear::open());
    let environment = [("NOTIFY_SOCKET", &*ear.name()), ("WATCHDOG_USEC", "100000")];
    let mut gate = Gate::run(Files::of(&around.plan()), &environment).await;
    let own = format!("MAINPID={}", gate.program.id());
    let told = ear.next();
    assert!(told.starts_with("READY=1\n") && told.contains(&own), "{told}");
    ear.is_alive();
    ear.is_alive();

    gate.program.signal("HUP");
    assert!(ear.next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(ear.next(), "READY=1\nSTATUS=Serving");
    gate.files.write("resetgate.toml", "nonsense");
    gate.program.signal("HUP");
    assert!(ear.next().starts_with("RELOADING=1\n"));
    assert!(ear.next().starts_with("READY=1\nSTATUS=Serving as before"));

    around.upstream.hold();
    let held = tokio::spawn(reqwest::get(format!("http://{}/elsewhere", gate.address)));
    around.upstream.holds().await;
    gate.program.signal("TERM");
    assert!(ear.next().starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000\n"));
    // While it drains, it lives.
    ear.is_alive();
    ear.is_alive();
    around.upstream.release();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
    assert_eq!(gate.program.ended().await, 0);
}

#[tokio::test]
async fn systemd_looks_after_whoever_took_over() {
    let (around, ear) = (Around::start().await, Ear::open());
    let plan = Plan { more: "[upgrade]\nfolder = \"run\"".into(), ..around.plan() };
    let environment = [("NOTIFY_SOCKET", &*ear.name()), ("WATCHDOG_USEC", "100000")];
    let mut former = Gate::run(Files::of(&plan).with_keys("a"), &environment).await;
    assert!(ear.next().starts_with("READY=1\n"));

    // Started by the way, it has not been told of systemd.
    let mut heir = former.upgrade().await;
    let main = format!("MAINPID={}", heir.program.id());
    let told = [ear.next(), ear.next()];
    assert!(told.contains(&main), "{told:?}");
    assert!(told.contains(&format!("READY=1\n{main}\nSTATUS=Serving")), "{told:?}");
    // The former says nothing of its end, which would be the service's.
    assert_eq!(former.program.ended().await, 0);
    ear.is_alive();
    ear.is_alive();
    heir.program.signal("TERM");
    assert!(ear.next().starts_with("STOPPING=1\n"));
    assert_eq!(heir.program.ended().await, 0);
}
