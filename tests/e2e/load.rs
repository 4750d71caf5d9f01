//! Whatever changes while two hundred clients ask without a pause, nobody is refused and nothing is cut.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::CertificateDer;
use tokio::{net::TcpStream, sync::Mutex};

use crate::{
    support::{
        load::{Crowd, Dial, Load, Report},
        setup::{Around, Files, Gate, Plan, link},
        soon,
        tls::{Authority, Pair, Speaker},
    },
    upgrade::die,
};

const LIMITS: &str =
    "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_per_account = \"0\"\nmail_total = \"0\"";
const LINGER: Duration = Duration::from_secs(8);
/// Each story takes the machine for itself.
static TURN: Mutex<()> = Mutex::const_new(());

const DONE: &str = "resetgate_reloads_total{outcome=\"done\"}";
const FAILED: &str = "resetgate_reloads_total{outcome=\"failed\"}";
const ALLOWED: &str = "deny = []";
const DENIED: &str = "deny = [\"/toggled/**\"]";

/// A door of each kind, nothing that is refused for being much, and that linger.
fn files(around: &Around, trusts: &Authority, linger: Duration) -> Files {
    let plan = Plan {
        listen: "127.0.0.1:0\", \"h2c:127.0.0.1:0\", \"tls:127.0.0.1:0".into(),
        reset: "answer_floor = \"20ms\"\nmail_gap = \"0s\"".into(),
        more: format!(
            "[listen.tls]\ncertificate = \"chain.pem\"\nkey = \"file:key.pem\"\n[reload]\nwatch = \"50ms\"\n\
             [limits]\n{LIMITS}\n[edge]\nwatch_upstream = \"0s\"\n{ALLOWED}\n[upgrade]\nfolder = \"run\"\n\
             [codes]\nstate_file = \"state/codes\""
        ),
        ..around.plan()
    };
    let files = Files::of(&plan).with_keys("a");
    let Pair { certificate, key } = trusts.vouches("id.example.com");
    files.write("chain.pem", &certificate);
    files.write("key.pem", &key);
    let text = fs::read_to_string(files.config()).unwrap();
    files.write("resetgate.toml", &text.replace("linger = \"0s\"", &format!("linger = \"{linger:?}\"")));
    files
}

/// Connections that are kept: ninety of HTTP/1.1, and five of HTTP/2 with a hundred clients.
const KEPT: u64 = 95;

/// With ten more clients that have a connection for each request; half of each over TLS.
fn crowd(gate: &Gate, trusts: &Authority) -> Crowd {
    let speaker = Speaker::new(trusts);
    let plain = Dial::plain(gate.address);
    let tls = Dial::tls(gate.door("tls"), speaker.clone().offering(&["http/1.1"]));
    let http2 = vec![(Dial::plain(gate.door("h2c")), 3), (Dial::tls(gate.door("tls"), speaker.offering(&["h2"])), 2)];
    let http1 = vec![(plain.clone(), 45), (tls.clone(), 45), (plain.hasty(), 5), (tls.hasty(), 5)];
    Crowd { http1, http2, walk: true }
}

fn is_whole(report: &Report) {
    eprintln!("{report:?}");
    report.has_no_failure();
    assert!(report.walks > 0, "{report:?}");
}

fn change(gate: &Gate, from: &str, to: &str) {
    let text = fs::read_to_string(gate.files.config()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    gate.files.write("resetgate.toml", &text.replace(from, to));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_a_drain_under_load_refuses_nobody_before_the_linger_is_over_and_cuts_nothing() {
    let _turn = TURN.lock().await;
    let (around, trusts) = (Arc::new(Around::start().await), Authority::new());
    let mut gate = Gate::run(files(&around, &trusts, LINGER), &[]).await;
    let load = Load::start(&crowd(&gate, &trusts), &around);
    load.more(2000).await;
    load.more_walks(5).await;
    assert_eq!(load.told_to_close(), 0);

    let since = Instant::now();
    gate.program.signal("TERM");
    soon("not ready", async { while gate.ask_admin("/readyz").await.status != 503 {} }).await;
    load.more(500).await;
    // A balancer has noticed by now, and sends nobody any more.
    let report = load.finish().await;
    is_whole(&report);
    // Each connection of before was told, and so was each that came since.
    assert!(report.told_to_close >= KEPT, "{report:?}");
    assert!(report.retries.is_empty(), "{report:?}");

    // What is begun at the last moment is finished, however long after: each has the reset's page, and waits for more.
    around.upstream.hold();
    let late = Load::start(&Crowd { walk: false, ..crowd(&gate, &trusts) }, &around);
    late.asked(400).await;
    assert!(since.elapsed() < LINGER, "too slow a machine: {:?}", since.elapsed());
    soon("a refusal", async { while TcpStream::connect(gate.address).await.is_ok() {} }).await;
    assert!(since.elapsed() >= LINGER, "{:?}", since.elapsed());
    let (late, ()) = tokio::join!(late.finish(), async { around.upstream.release() });
    eprintln!("{late:?}");
    late.has_no_failure();
    assert!(late.answered == 400 && late.retries.is_empty(), "{late:?}");
    assert_eq!(gate.program.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_reloads_under_load_fail_no_request() {
    let _turn = TURN.lock().await;
    let (around, trusts) = (Arc::new(Around::start().await), Authority::new());
    let mut gate = Gate::run(files(&around, &trusts, Duration::from_secs(1)), &[]).await;
    let load = Load::start(&crowd(&gate, &trusts), &around);
    let (mut done, mut failed) = (0, 0);
    for turn in 0..12 {
        load.more(200).await;
        let (from, to, status) = if turn % 2 == 0 { (ALLOWED, DENIED, 403) } else { (DENIED, ALLOWED, 200) };
        if turn % 3 == 2 {
            change(&gate, "[edge]", "[edge]\nnonsense = 1");
            gate.program.signal("HUP");
            failed += 1;
            gate.counts(FAILED, failed).await;
            let told = gate.program.stderr.find("edge.nonsense").await;
            assert!(told.contains("the configuration does not hold") && told.contains("resetgate.toml:"), "{told}");
            change(&gate, "nonsense = 1\n", "");
        }
        change(&gate, from, to);
        gate.program.signal("HUP");
        done += 1;
        gate.counts(DONE, done).await;
        assert_eq!(gate.get("/toggled/now").await.status, status, "turn {turn}");
    }
    load.more_walks(5).await;
    let report = load.finish().await;
    is_whole(&report);
    assert!(report.statuses[&403] > 0, "{report:?}");
    assert!(report.retries.is_empty() && report.crossed == 0 && report.told_to_close == 0, "{report:?}");
    assert_eq!(report.connections, KEPT, "a reload costs no connection: {report:?}");
    assert_eq!(gate.metric("resetgate_config_generation").await, done + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_three_upgrades_under_load_refuse_nobody_and_cut_nothing() {
    let _turn = TURN.lock().await;
    let (around, trusts) = (Arc::new(Around::start().await), Authority::new());
    let mut gate = Gate::run(files(&around, &trusts, Duration::from_secs(1)), &[]).await;
    let asked = gate.query("bjensen").await.token();
    let mailed = link(&around.mail(1).await.links[0]);
    for wrong in ["a", "b", "c", "d", "e"] {
        assert_eq!(gate.show(&(asked.clone(), wrong.into())).await.status, 400);
    }
    let load = Load::start(&crowd(&gate, &trusts), &around);
    load.more(1000).await;
    for said_all in [false, true, true] {
        // One that fails, and one that does not.
        die(&mut gate, said_all).await;
        load.more(200).await;
        let heir = gate.upgrade().await;
        assert_eq!((heir.address, heir.admin), (gate.address, gate.admin));
        load.more(500).await;
        assert_eq!(gate.program.ended().await, 0);
        load.more(1000).await;
        load.more_walks(5).await;
        gate = heir;
    }
    let report = load.finish().await;
    is_whole(&report);
    assert!(report.told_to_close >= 3 * KEPT, "{report:?}");

    assert_eq!(gate.show(&(asked, mailed.1.clone())).await.status, 400, "its tries are used up");
    let proven = gate.show(&mailed).await;
    assert_eq!(gate.set(&proven.token(), "Passw0rd-after").await.status, 200);
    assert!(around.store.password_is("bjensen", "Passw0rd-after"));
    assert_eq!(gate.set(&proven.token(), "Passw0rd-again").await.status, 400, "a link works once");
}

/// Else the others would say nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_notices_what_is_cut_and_who_is_refused() {
    let _turn = TURN.lock().await;
    let (around, trusts) = (Arc::new(Around::start().await), Authority::new());
    let mut gate = Gate::run(files(&around, &trusts, LINGER), &[]).await;
    let load = Load::start(&Crowd { walk: false, ..crowd(&gate, &trusts) }, &around);
    load.more(500).await;
    around.upstream.hold();
    around.upstream.holds().await;
    gate.program.signal("INT");
    assert_eq!(gate.program.ended().await, 0);
    let report = load.finish().await;
    let told = report.failures.concat();
    assert!(report.failed > 100 && told.contains("no connection: ") && told.contains("no answer: "), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_load_and_fail_no_request() {
    let _turn = TURN.lock().await;
    let (around, trusts) = (Arc::new(Around::start().await), Authority::new());
    let gate = Gate::run(files(&around, &trusts, LINGER), &[]).await;
    let load = Load::start(&crowd(&gate, &trusts), &around);
    let mut served = served(&gate, &trusts).await;
    let (mut done, mut failed) = (0, 0);
    for _ in 0..3 {
        load.more(300).await;
        let next = trusts.vouches("id.example.com");
        // A certificate without its key is nothing to serve.
        gate.files.write("chain.pem", &next.certificate);
        failed += 1;
        gate.counts(FAILED, failed).await;
        assert_eq!(self::served(&gate, &trusts).await, served);
        load.more(300).await;
        gate.files.write("key.pem", &next.key);
        done += 1;
        gate.counts(DONE, done).await;
        served = next.der();
        assert_eq!(self::served(&gate, &trusts).await, served);
    }
    load.more(300).await;
    gate.files.write("chain.pem", "no certificate");
    gate.counts(FAILED, failed + 1).await;
    assert_eq!(self::served(&gate, &trusts).await, served);
    load.more(300).await;
    load.more_walks(5).await;
    let report = load.finish().await;
    is_whole(&report);
    assert!(report.retries.is_empty() && report.crossed == 0 && report.told_to_close == 0, "{report:?}");
    assert_eq!(report.connections, KEPT, "who is connected stays so: {report:?}");
}

/// Whose certificate a new connection gets.
async fn served(gate: &Gate, trusts: &Authority) -> CertificateDer<'static> {
    let stream = Speaker::new(trusts).to(gate.door("tls")).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}
