//! Whether a service can be reached: its names, its addresses, its certificates.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    clock::spelled,
    sheet::{Sheet, listed},
    wire::Stream,
};
use crate::{
    config::{ClientTls, Endpoints, Place},
    endpoints::Address,
    reset::ports::Time,
    tls::{self, HTTP1, Shown},
};

/// How long a name server may take.
const LOOK_UP: Duration = Duration::from_secs(5);
/// The longest that a connection is waited for, whatever the configuration says.
const CONNECT: Duration = Duration::from_secs(8);
/// So many addresses are tried.
const ADDRESSES: usize = 16;
/// A certificate that ends in less is warned of.
const SOON: u64 = 21 * 86_400;

/// A service, as the configuration has it.
pub(super) struct Service<'a> {
    /// The section whose `tls` says whom to believe, such as `identity`.
    pub(super) section: &'static str,
    /// The key that says where it is, such as `identity.url`.
    pub(super) url: &'static str,
    pub(super) places: &'a [Place],
    /// What TLS calls it, where there is TLS.
    pub(super) tls: Option<(&'a ClientTls, &'a str)>,
    /// What is spoken over TLS, by its name there; nothing where it has none.
    pub(super) speaks: &'static [&'static [u8]],
    /// How a URL with TLS begins.
    pub(super) secure: &'static str,
    /// Of one connection, TLS included.
    pub(super) within: Duration,
}

/// What is spoken to those who are asked by HTTP.
pub(super) const HTTP: &[&[u8]] = &[HTTP1];

impl<'a> Service<'a> {
    pub(super) fn of(section: &'static str, url: &'static str, endpoints: &'a Endpoints) -> Self {
        let tls = endpoints.tls.as_ref().map(|tls| (tls, endpoints.host()));
        let (places, within) = (&endpoints.addresses, endpoints.connect_timeout);
        Self { section, url, places, tls, speaks: HTTP, secure: "https://", within }
    }
}

/// A way that was gone with success.
pub(super) struct Way {
    address: Address,
    tls: Option<Handshake>,
    within: Duration,
}

impl Way {
    /// To a server that is known to be there.
    pub(super) const fn to(address: Address, tls: Option<Handshake>) -> Self {
        Self { address, tls, within: CONNECT }
    }

    /// One more connection.
    pub(super) async fn open(&self) -> io::Result<Box<dyn Stream>> {
        let opened = async {
            let stream = self.dial().await?;
            match &self.tls {
                None => Ok(stream),
                Some(tls) => tls.over(stream).await,
            }
        };
        timeout(self.within, opened).await?
    }

    async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        match &self.address {
            Address::Tcp(address) => Ok(Box::new(TcpStream::connect(address).await?)),
            Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        }
    }
}

/// How TLS is begun.
#[derive(Clone)]
pub(super) struct Handshake {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    shown: Shown,
}

impl Handshake {
    pub(super) fn new(settings: &ClientTls, host: &str, speaks: &[&[u8]]) -> Result<Self, tls::Unusable> {
        let (config, shown) = tls::watched(settings, speaks)?;
        Ok(Self { config, name: tls::name(settings, host).ok_or(tls::Unusable::Name)?, shown })
    }

    async fn over(&self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream).await?))
    }
}

/// Looks the names up, connects to each address and shakes hands; `None` if nobody can be talked to.
pub(super) async fn reach(sheet: &mut Sheet, service: &Service<'_>, now: Time) -> Option<Way> {
    let addresses = look_up(sheet, service).await;
    if addresses.is_empty() {
        sheet.skip_all(&["connect", "tls"], "no address is known");
        return None;
    }
    let within = service.within.min(CONNECT);
    let connected = join_all(addresses.into_iter().map(|address| async move {
        let way = Way { address, tls: None, within };
        let begun = Instant::now();
        let dialled = timeout(within, way.dial()).await.unwrap_or_else(|late| Err(late.into()));
        (way, dialled.map(|stream| (stream, begun.elapsed())))
    }));
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    for (way, dialled) in connected.await {
        match dialled {
            Ok((stream, took)) => there.push((way, stream, took)),
            Err(fault) => gone.push(format!("{}: {fault}", way.address)),
        }
    }
    let cure = format!(
        "see that it runs, that {} has its port, and that no firewall or network policy is between",
        service.url
    );
    match (there.is_empty(), gone.is_empty()) {
        (_, true) => {
            let way = |(way, _, took): &(Way, _, Duration)| format!("{} in {} ms", way.address, took.as_millis());
            sheet.ok("connect", listed(there.iter().map(way)));
        }
        (true, false) => {
            sheet.fail("connect", listed(gone), cure);
            sheet.skip("tls", "there is no connection");
            return None;
        }
        (false, false) => sheet.warn("connect", format!("not everywhere: {}", listed(gone)), cure),
    }
    shake_hands(sheet, service, there.into_iter().map(|(way, stream, _)| (way, stream)).collect(), now).await
}

async fn look_up(sheet: &mut Sheet, service: &Service<'_>) -> Vec<Address> {
    let looked_up = join_all(service.places.iter().map(|place| async move {
        match place {
            Place::Ip(address) => Ok((None, vec![Address::Tcp(*address)])),
            Place::Unix(path) => Ok((None, vec![Address::Unix(path.clone())])),
            Place::Name(name, port) => match timeout(LOOK_UP, lookup_host((name.as_str(), *port))).await {
                Ok(Ok(found)) => {
                    let mut found: Vec<SocketAddr> = found.collect();
                    found.dedup();
                    if found.is_empty() {
                        return Err(format!("{name}: it has no address"));
                    }
                    let shown = listed(found.iter().map(SocketAddr::ip));
                    Ok((Some(format!("{name} is {shown}")), found.into_iter().map(Address::Tcp).collect()))
                }
                Ok(Err(fault)) => Err(format!("{name}: {fault}")),
                Err(_) => Err(format!("{name}: no name server answered in {} s", LOOK_UP.as_secs())),
            },
        }
    }));
    let (mut addresses, mut names, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for place in looked_up.await {
        match place {
            Ok((name, found)) => {
                names.extend(name);
                addresses.extend(found);
            }
            Err(fault) => unknown.push(fault),
        }
    }
    addresses.truncate(ADDRESSES);
    let cure =
        format!("mend the name in {}, or this machine's name server (/etc/resolv.conf, /etc/hosts)", service.url);
    match (unknown.is_empty(), addresses.is_empty()) {
        (false, true) => sheet.fail("dns", listed(unknown), cure),
        (false, false) => sheet.warn("dns", format!("not each name: {}", listed(unknown)), cure),
        (true, _) if names.is_empty() => sheet.ok("dns", "no name has to be looked up"),
        (true, _) => sheet.ok("dns", listed(names)),
    }
    addresses
}

async fn shake_hands(
    sheet: &mut Sheet,
    service: &Service<'_>,
    there: Vec<(Way, Box<dyn Stream>)>,
    now: Time,
) -> Option<Way> {
    let Some((settings, host)) = service.tls else {
        let local = there.iter().all(|(way, _)| is_local(&way.address));
        match local {
            true => sheet.ok("tls", "none, and none is needed: it is on this machine"),
            false => sheet.warn(
                "tls",
                "none: names, passwords and codes go over the network as they are",
                format!("let a mesh encrypt that way, or use {} in {}", service.secure, service.url),
            ),
        }
        return there.into_iter().next().map(|(way, _)| way);
    };
    let handshake = match Handshake::new(settings, host, service.speaks) {
        Ok(handshake) => handshake,
        Err(fault) => {
            sheet.fail("tls", fault.to_string(), format!("mend [{}.tls]", service.section));
            return None;
        }
    };
    let (mut good, mut bad) = (None, Vec::new());
    let mut first_end = u64::MAX;
    for (way, stream) in there {
        match timeout(way.within, handshake.over(stream)).await.unwrap_or_else(|late| Err(late.into())) {
            Ok(_) => {
                let end = handshake.shown.ends().and_then(|end| u64::try_from(end).ok()).unwrap_or(u64::MAX);
                first_end = first_end.min(end);
                good.get_or_insert(Way { tls: Some(handshake.clone()), ..way });
            }
            Err(fault) => bad.push((way.address, explained(&fault, &handshake, service))),
        }
    }
    let pinned = settings.pin.is_some();
    if let Some((address, (seen, cure))) = bad.into_iter().next() {
        let seen = format!("{address}: {seen}");
        match good.is_some() {
            true => sheet.warn("tls", format!("not everywhere: {seen}"), cure),
            false => sheet.fail("tls", seen, cure),
        }
        return good;
    }
    let left = first_end.saturating_sub(now.secs());
    match (pinned, left) {
        (true, _) => sheet.ok("tls", "it has the certificate that is pinned"),
        (false, ..SOON) => {
            let seen = format!("its certificate, or one that vouches for it, ends in {}", spelled(left));
            sheet.warn("tls", seen, "have it renewed in time, at the server");
        }
        (false, _) if first_end == u64::MAX => sheet.ok("tls", "its certificate is believed"),
        (false, _) => sheet.ok("tls", format!("its certificate is believed, for {} yet", spelled(left))),
    }
    good
}

/// What went wrong in a handshake, and which setting of that section would mend it.
fn explained(fault: &io::Error, handshake: &Handshake, service: &Service<'_>) -> (String, String) {
    let Some((seen, cure)) = tls::explain(fault).and_then(|hint| hint.split_once(": ")) else {
        let cure = format!("see that {} has the port of TLS, and what the server's own log says", service.url);
        return (format!("no TLS came about: {fault}"), cure);
    };
    let named = |text: &str| text.replace("tls.", &format!("{}.tls.", service.section));
    let mut cure = named(cure);
    if cure.contains("pin")
        && let Some(pin) = handshake.shown.pin()
    {
        cure = format!("{cure} (what answered has \"{pin}\": pin it only if the server's own file has the same)");
    }
    (named(seen), cure)
}

/// Whether what is sent there stays on this machine.
fn is_local(address: &Address) -> bool {
    match address {
        Address::Tcp(address) => address.ip().is_loopback(),
        Address::Unix(_) => true,
    }
}
