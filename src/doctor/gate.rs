//! The gate itself, asked for the reset path in the ways that a stranger may spell it. None may get past it.
//!
//! Where one runs, it is that one, with whatever stands before it. Where none does, one is started for the purpose, with
//! an upstream of our own behind it, which sees what gets past.

mod own;
mod spellings;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use ring::digest::{SHA256, digest};
use tokio::{net::lookup_host, time::timeout};
use url::Url;

use self::{own::Own, spellings::spellings};
use super::{
    place::writable,
    reach::{HTTP, Handshake, Way},
    sheet::{Sheet, listed},
    wire::{self, Head},
};
use crate::{
    config::{Address, At, ClientTls, Config, Speaks},
    endpoints,
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Whom to ask.
struct Gate {
    way: Way,
    host: String,
    /// As it is told.
    shown: String,
    /// Whether something may stand before it that refuses by itself.
    fronted: bool,
}

/// What came of a question.
enum Came {
    /// The gate's own answer.
    Ours(u16),
    /// One of something else.
    Foreign(u16),
    /// The connection ended without one.
    None(String),
}

/// Goes through all of it. `spare` is the configuration once more, to start one by.
pub(super) async fn examine(sheet: &mut Sheet, config: &Config, spare: Option<Config>, url: Option<&Url>) {
    let path = config.reset.path.as_str();
    if let Some(url) = url {
        return match to_url(url).await {
            Ok(gate) => running(sheet, &gate, path).await,
            Err(why) => {
                sheet.fail("listener", format!("{url}: {why}"), "see the address of --gate, and whether it runs");
                sheet.skip("spellings", "no gate can be asked");
            }
        };
    }
    let mut reasons = Vec::new();
    let mut asked = false;
    for address in &config.listen.addresses {
        match to_listener(address, config) {
            Ok(gate) if gate.way.open().await.is_ok() => {
                asked = true;
                running(sheet, &gate, path).await;
            }
            Ok(gate) => {
                bind(sheet, address);
                reasons.push(format!("nothing listens at {}", gate.shown));
            }
            Err(why) => reasons.push(format!("{address} {why}")),
        }
    }
    if !asked {
        fresh(sheet, spare, path, &listed(reasons)).await;
    }
}

/// Nobody is there; whether we could be. What is bound is let go at once.
fn bind(sheet: &mut Sheet, address: &Address) {
    const CHECK: &str = "bind";
    const CURE: &str = "have listen.addresses name an address of this machine, a port that is free, and above 1023 unless the \
                        program may take others (AmbientCapabilities=CAP_NET_BIND_SERVICE)";
    let tried = match &address.at {
        At::Tcp(tcp) => TcpListener::bind(tcp).map(|_| ()),
        At::Unix(path) => writable(path.parent().unwrap_or(Path::new("/"))),
        At::Systemd(_) => return,
    };
    match tried {
        Ok(()) => sheet.ok(CHECK, format!("{address} is free")),
        Err(fault) => sheet.fail(CHECK, format!("{address}: {fault}"), CURE),
    }
}

/// One that runs.
async fn running(sheet: &mut Sheet, gate: &Gate, path: &str) {
    let shown = &gate.shown;
    match gate.ask(path.as_bytes()).await {
        Came::Ours(200) => sheet.ok("listener", format!("resetgate answers at {shown}")),
        Came::Ours(status) => {
            let seen = format!("resetgate answers {status} for {path} at {shown}");
            sheet.warn("listener", seen, "see its log, and whether limits hold this machine back");
        }
        Came::Foreign(status) => {
            let seen = format!("what answers for {path} at {shown}, with {status}, is not resetgate");
            sheet.fail(
                "listener",
                seen,
                "see what has that address: another program, or a proxy that sends that path elsewhere",
            );
            return sheet.skip("spellings", "it is not resetgate that answers");
        }
        Came::None(why) => {
            let cure = "see what has that address, and whether this machine believes its certificate (SSL_CERT_FILE names \
                        other roots)";
            sheet.fail("listener", format!("{shown}: {why}"), cure);
            return sheet.skip("spellings", "nobody answers");
        }
    }
    let (mut past, all) = (Vec::new(), spellings(path));
    for target in &all {
        match gate.ask(target).await {
            Came::Ours(_) | Came::None(_) => {}
            // A proxy before it may refuse what it does not like.
            Came::Foreign(400..500) if gate.fronted => {}
            Came::Foreign(status) => past.push(format!("{} ({status})", String::from_utf8_lossy(target))),
        }
    }
    tell(sheet, &past, all.len(), &format!("at {shown}"));
}

/// None runs: one is started, where nobody else can reach it.
async fn fresh(sheet: &mut Sheet, spare: Option<Config>, path: &str, reasons: &str) {
    let Some(spare) = spare else {
        return sheet.skip_all(&["listener", "spellings"], "the configuration is another by now");
    };
    let own = match Own::start(spare).await {
        Ok(own) => own,
        Err(fault) => {
            sheet.fail("listener", format!("it would not start: {fault}"), "mend what it names");
            return sheet.skip("spellings", "no gate can be asked");
        }
    };
    let gate = Gate {
        way: Way::to(endpoints::Address::Tcp(own.address), None),
        host: own.address.to_string(),
        shown: own.address.to_string(),
        fronted: false,
    };
    match gate.ask(path.as_bytes()).await {
        Came::Ours(200) => sheet.ok("listener", format!("{reasons}; one that was started for this check answers")),
        Came::Ours(status) | Came::Foreign(status) => {
            let seen = format!("{reasons}; one that was started for this check answers {status} for {path}");
            sheet.fail("listener", seen, "see `resetgate run` and its log");
        }
        Came::None(why) => sheet.fail("listener", format!("{reasons}; {why}"), "see `resetgate run` and its log"),
    }
    // What the upstream does not see now, it would not see then.
    if !matches!(gate.ask(b"/resetgate-doctor").await, Came::Foreign(_)) || own.passed() != 1 {
        own.end().await;
        return sheet.skip("spellings", "it passes nothing at all, so that nothing is shown");
    }
    let (mut past, all) = (Vec::new(), spellings(path));
    for target in &all {
        let before = own.passed();
        let _ = gate.ask(target).await;
        if own.passed() > before {
            past.push(String::from_utf8_lossy(target).into_owned());
        }
    }
    own.end().await;
    tell(sheet, &past, all.len(), "with an upstream of our own behind it");
}

fn tell(sheet: &mut Sheet, past: &[String], all: usize, how: &str) {
    const CHECK: &str = "spellings";
    if past.is_empty() {
        return sheet.ok(CHECK, format!("none of {all} spellings of the reset path gets past it, asked {how}"));
    }
    let seen =
        format!("{} of {all} spellings of the reset path get past it, asked {how}: {}", past.len(), listed(past));
    let cure =
        "see that nothing before it sends paths past it, that reset.path is the upstream's own, and which version runs";
    sheet.fail(CHECK, seen, cure);
}

impl Gate {
    async fn ask(&self, target: &[u8]) -> Came {
        let asked = async {
            let mut stream = self.way.open().await?;
            wire::get(&mut *stream, target, &self.host).await
        };
        match timeout(ANSWER, asked).await {
            Ok(Ok(head)) if is_ours(&head) => Came::Ours(head.status),
            Ok(Ok(head)) => Came::Foreign(head.status),
            Ok(Err(fault)) => Came::None(fault.to_string()),
            Err(_) => Came::None(format!("no answer in {} s", ANSWER.as_secs())),
        }
    }
}

/// By what no upstream's answer has, and every one of ours does; but for the empty 400 to a head that cannot be parsed.
fn is_ours(head: &Head) -> bool {
    let policy = head.header("content-security-policy") == Some("default-src 'none'; frame-ancestors 'none'");
    let stored = head.header("cache-control").is_some_and(|value| value.contains("no-store"));
    let empty = head.header("content-length") == Some("0") && head.header("content-type").is_none();
    (policy && stored) || (head.status == 400 && empty)
}

/// To an address of the configuration; or why it cannot be asked.
fn to_listener(address: &Address, config: &Config) -> Result<Gate, String> {
    if address.proxied {
        return Err("wants the PROXY protocol first, of trusted peers alone".to_owned());
    }
    let tls = match (address.speaks, &config.listen.tls) {
        (Speaks::Tls, Some(tls)) if tls.clients.is_some() => return Err("asks for clients' certificates".to_owned()),
        (Speaks::Tls, Some(tls)) => {
            let own = tls.pairs.first().and_then(|pair| pair.chain.first());
            let pin = own.and_then(|own| digest(&SHA256, own).as_ref().try_into().ok());
            let settings = ClientTls { pin, ..ClientTls::default() };
            Some(Handshake::new(&settings, "localhost", HTTP).map_err(|fault| fault.to_string())?)
        }
        _ => None,
    };
    let (at, host) = match &address.at {
        At::Tcp(tcp) if tcp.port() == 0 => return Err("has a port that nobody knows yet".to_owned()),
        At::Tcp(tcp) => {
            let at = SocketAddr::new(reachable(tcp.ip()), tcp.port());
            (endpoints::Address::Tcp(at), at.to_string())
        }
        At::Unix(path) => (endpoints::Address::Unix(path.clone()), "localhost".to_owned()),
        At::Systemd(_) => return Err("is known to systemd alone".to_owned()),
    };
    Ok(Gate { way: Way::to(at, tls), host, shown: address.to_string(), fronted: false })
}

/// Where one that listens everywhere is, from here.
const fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    }
}

async fn to_url(url: &Url) -> Result<Gate, String> {
    let name = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let found = timeout(ANSWER, lookup_host((name.trim_matches(['[', ']']), port))).await;
    let found = found.map_err(|late| late.to_string())?.map_err(|fault| fault.to_string())?;
    let address = found.into_iter().next().ok_or("it has no address")?;
    let tls = match url.scheme() {
        "https" => Some(Handshake::new(&ClientTls::default(), name, HTTP).map_err(|fault| fault.to_string())?),
        _ => None,
    };
    let host = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
    let shown = url.origin().ascii_serialization();
    Ok(Gate { way: Way::to(endpoints::Address::Tcp(address), tls), host, shown, fronted: true })
}
