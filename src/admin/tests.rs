use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::reset::ports::Time;

/// An inside to be looked at.
struct Double {
    parts: Mutex<Vec<Part>>,
    readers: Mutex<ConfigReaders>,
    asked: AtomicUsize,
}

impl Inside for Double {
    fn parts(&self) -> Vec<Part> {
        self.parts.lock().clone()
    }
    fn config(&self) -> String {
        self.asked.fetch_add(1, Ordering::SeqCst);
        "[listen]\n".to_owned()
    }
    fn config_readers(&self) -> ConfigReaders {
        *self.readers.lock()
    }
}

struct Rig {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    inside: Arc<Double>,
}

impl Rig {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ready, metrics) = (Arc::new(AtomicBool::new(true)), Metrics::new(Time::from_millis(0)).unwrap());
        let inside = Arc::new(Double {
            parts: Mutex::default(),
            readers: Mutex::new(ConfigReaders::Loopback),
            asked: AtomicUsize::new(0),
        });
        let told = Told { ready: Arc::clone(&ready), metrics: Arc::new(metrics), inside: inside.clone() };
        tokio::spawn(serve(listener, told));
        Self { address, ready, inside }
    }

    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn get(&self, path: &str) -> String {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("a status: {answer:?}")).parse().unwrap()
}

#[tokio::test]
async fn operators_are_answered() {
    let rig = Rig::new().await;
    assert_eq!(status(&rig.get("/livez").await), 200);
    assert_eq!(status(&rig.get("/readyz?verbose").await), 200);
    assert!(rig.get("/metrics").await.contains("\nresetgate_build_info{"));
    for path in ["/", "/livez/", "/config/", "/CONFIG", "/readyz/reset/x", "/quitquitquit"] {
        assert_eq!(status(&rig.get(path).await), 404, "{path}");
    }
    rig.ready.store(false, Ordering::Release);
    assert_eq!(status(&rig.get("/readyz").await), 503);
    assert_eq!(status(&rig.get("/livez").await), 200);
}

#[tokio::test]
async fn nothing_can_be_done_there_and_a_head_has_no_body() {
    let rig = Rig::new().await;
    for path in PATHS {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"] {
            let answer = rig.raw(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
            assert_eq!(status(&answer), 405, "{method} {path}");
            assert!(answer.contains("\r\nallow: GET, HEAD\r\n"), "{answer}");
        }
        let (get, head) =
            (rig.get(path).await, rig.raw(&format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await);
        assert_eq!(status(&head), 200, "{path}");
        assert!(head.ends_with("\r\n\r\n") && !get.ends_with("\r\n\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-length: ") && head.contains("\r\ncache-control: no-store\r\n"), "{head}");
        assert!(!get.to_ascii_lowercase().contains("access-control"), "{get}");
    }
}

#[tokio::test]
async fn a_reset_is_as_well_as_its_worst_part() {
    let rig = Rig::new().await;
    let part = |name, state| Part { name, state, reason: "because" };
    *rig.inside.parts.lock() = vec![part("identity", State::Ok), part("mail", State::Degraded)];
    let answer = rig.get("/readyz/reset").await;
    assert_eq!(status(&answer), 200);
    assert!(answer.contains("\r\ncontent-type: application/json\r\n"), "{answer}");
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["status"], "degraded");
    assert_eq!(body["checks"]["mail"], serde_json::json!({"status": "degraded", "reason": "because"}));
    rig.inside.parts.lock().push(part("codes", State::Failing));
    assert_eq!(status(&rig.get("/readyz/reset").await), 503);
    assert_eq!(status(&rig.get("/readyz").await), 200, "no probe of a kubelet's");
}

#[tokio::test]
async fn the_configuration_is_shown_to_whom_it_may_be() {
    let rig = Rig::new().await;
    let foreign = "GET /config HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    let answer = rig.get("/config").await;
    assert!(status(&answer) == 200 && answer.ends_with("\r\n\r\n[listen]\n"), "{answer}");
    assert_eq!(status(&rig.raw(foreign).await), 403);
    *rig.inside.readers.lock() = ConfigReaders::Nobody;
    assert_eq!(status(&rig.get("/config").await), 404);
    assert_eq!(rig.inside.asked.load(Ordering::SeqCst), 1);
    *rig.inside.readers.lock() = ConfigReaders::Everyone;
    assert_eq!(status(&rig.raw(foreign).await), 200);
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_out() {
    let rig = Rig::new().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS + 10 {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        silent.push(stream);
    }
    let began = std::time::Instant::now();
    assert_eq!(status(&rig.get("/livez").await), 200);
    assert!(began.elapsed() < HEAD_WITHIN / 2, "{:?}", began.elapsed());
    // The first of them went for it.
    let mut rest = Vec::new();
    let _ = silent[0].read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let rig = Rig::new().await;
    let long = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20 << 10));
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || status(&String::from_utf8(answer).unwrap()) == 431);
}
