//! From the file to [`Config`]: reads every section to its end, and only then says whether there is a configuration.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use toml::de::DeTable;
use url::{Host, Url};

use super::{
    Address, Admin, ClientHeader, Codes, Config, Identity, LimitName, Limits, Listen, Log, LogFormat, Rate, Reset,
    Upstream,
    connections::connections,
    edge::edge,
    fault::Fault,
    limits::limits,
    mail::mail,
    process::{self, ProcessFile},
    raw::{Notes, Section},
    secret::{EXPOSED, Surroundings, read, token},
    units::{self, Trusted},
};

/// Reads and checks a configuration file and all that it names. The second part of a success is what is unwise.
///
/// # Errors
/// Every fault of every file, those of the configuration file first, each file's by line.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<(Config, Vec<Fault>), Vec<Fault>> {
    let text = fs::read_to_string(path).map_err(|e| vec![Fault::of_file(path, format!("cannot be read: {e}"))])?;
    let (table, errors) = DeTable::parse_recoverable(&text);
    let notes = Notes::new(path, &text);
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let config = read_all(Section::root(table.get_ref(), &notes), &Surroundings { folder, env });
    notes.syntax(&errors);
    let (faults, warnings) = (notes.faults.take(), notes.warnings.take());
    match config {
        Some(config) if faults.is_empty() => Ok((config, sorted(path, warnings))),
        _ => Err(sorted(path, faults)),
    }
}

/// In the order in which one would mend them.
fn sorted(first: &Path, mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort_by_key(|fault| (fault.file != first, fault.line.unwrap_or(usize::MAX)));
    faults
}

fn read_all(mut root: Section<'_>, around: &Surroundings<'_>) -> Option<Config> {
    let listen = listen(root.section("listen"));
    let admin = admin(root.section("admin"), listen.as_ref());
    let upstream = upstream(root.section("upstream"), listen.as_ref());
    let edge = edge(root.section("edge"));
    let identity = identity(root.section("identity"), around);
    let limits = limits(root.section("limits"));
    let mut section = root.section("reset");
    let file = process_file(&mut section, around);
    let mail = mail(root.section("mail"), file.as_ref(), around);
    let reset = reset(section, file, limits.as_ref().and_then(|limits| limits.mail_per_account));
    let token = token(root.section("token"), around);
    let codes = codes(root.section("codes"), limits.as_ref());
    let log = log(root.section("log"));
    root.finish();
    Some(Config {
        listen: listen?,
        admin: admin?,
        upstream: upstream?,
        edge: edge?,
        identity: identity?,
        reset: reset?,
        token: token?,
        codes: codes?,
        limits: limits?,
        mail: mail?,
        log: log?,
    })
}

fn listen(mut section: Section<'_>) -> Option<Listen> {
    let addresses = section.list("addresses", &["0.0.0.0:8080"], units::address);
    let trusted = section.list("trusted_proxies", &[], units::trusted);
    let client_header = section.or("client_header", "X-Forwarded-For", |text| {
        let names = [("x-forwarded-for", ClientHeader::XForwardedFor), ("forwarded", ClientHeader::Forwarded)];
        units::one_of(&text.to_ascii_lowercase(), &names)
            .map_err(|_| "must be \"X-Forwarded-For\" or \"Forwarded\"".to_owned())
    });
    let connections = connections(&mut section);
    let (mut trusted_proxies, mut trust_unix) = (Vec::new(), false);
    for (index, trusted) in trusted.iter().flatten().enumerate() {
        match trusted {
            Trusted::Unix => trust_unix = true,
            Trusted::Net(net) => {
                if net.prefix_len() == 0 {
                    section.item_warn("trusted_proxies", index, "lets every client say that it is another");
                }
                trusted_proxies.push(*net);
            }
        }
    }
    if let Some(addresses) = &addresses {
        check_addresses(&section, addresses);
        let faceless = |address: &Address| match address.tcp() {
            None => !trust_unix,
            Some(tcp) => tcp.ip().is_loopback() && trusted_proxies.is_empty(),
        };
        if addresses.iter().all(faceless) {
            let rule = "makes everyone one client to the limits: every listener is local and nobody on it is trusted";
            section.warn("trusted_proxies", rule);
        }
    }
    section.finish();
    trusted?;
    Some(Listen {
        addresses: addresses?,
        trusted_proxies,
        trust_unix,
        client_header: client_header?,
        connections: connections?,
    })
}

fn check_addresses(section: &Section<'_>, addresses: &[Address]) {
    if addresses.is_empty() {
        section.fault("addresses", "must have at least one address");
    }
    for (index, address) in addresses.iter().enumerate() {
        let is_twin = |earlier: &Address| match (earlier.tcp(), address.tcp()) {
            (None, None) => earlier == address,
            (earlier, tcp) => earlier == tcp,
        };
        let any = address.tcp().is_some_and(|tcp| tcp.port() == 0);
        if !any && addresses.iter().take(index).any(is_twin) {
            section.item_fault("addresses", index, "must not be listed twice");
        }
    }
}

fn admin(mut section: Section<'_>, listen: Option<&Listen>) -> Option<Admin> {
    let address: Option<SocketAddr> = section.or("address", "127.0.0.1:9090", units::tcp_address);
    if let Some(address) = address {
        if !address.ip().is_loopback() {
            section.warn("address", "shows metrics to the network, without asking who looks");
        }
        let taken = |listen: &Listen| listen.addresses.iter().any(|other| other.tcp() == Some(address));
        if address.port() != 0 && listen.is_some_and(taken) {
            section.fault("address", "must differ from listen.addresses");
        }
    }
    section.finish();
    Some(Admin { address: address? })
}

fn upstream(mut section: Section<'_>, listen: Option<&Listen>) -> Option<Upstream> {
    let url = section.required("url", units::server_url);
    if let (Some(url), Some(listen)) = (&url, listen)
        && listen.addresses.iter().any(|address| is_at(address, url))
    {
        section.fault("url", "must not be one of listen.addresses: every request would go round until nothing is left");
    }
    check_plaintext(&mut section, url.as_ref());
    section.finish();
    Some(Upstream { url: url? })
}

/// Whether a URL leads to the very address that is listened on.
fn is_at(address: &Address, url: &Url) -> bool {
    let Some(address) = address.tcp() else { return false };
    let ip = match url.host() {
        Some(Host::Ipv4(ip)) => Some(IpAddr::from(ip)),
        Some(Host::Ipv6(ip)) => Some(IpAddr::from(ip)),
        Some(Host::Domain("localhost")) => Some(IpAddr::from(Ipv4Addr::LOCALHOST)),
        Some(Host::Domain(_)) | None => None,
    };
    let here = |ip: IpAddr| ip == address.ip() || (ip.is_loopback() && address.ip().is_unspecified());
    address.port() != 0 && url.port_or_known_default() == Some(address.port()) && ip.is_some_and(here)
}

fn identity(mut section: Section<'_>, around: &Surroundings<'_>) -> Option<Identity> {
    section.required("kind", |text| match text {
        "crest" => Ok(()),
        "scim" => Err("is not built yet; must be \"crest\"".to_owned()),
        _ => Err("must be \"crest\"".to_owned()),
    });
    let url = section.required("url", units::base_url);
    check_plaintext(&mut section, url.as_ref());

    let mut auth = section.section("auth");
    auth.hide("password");
    auth.required("kind", |text| match text {
        "openidm" => Ok(()),
        _ => Err("is not built yet; must be \"openidm\"".to_owned()),
    });
    let username = auth.required("username", |text| match text.to_ascii_lowercase().as_str() {
        "anonymous" => Err("must be a user who may read and patch accounts, which anonymous may not".to_owned()),
        _ => units::printable(text),
    });
    if username.as_deref() == Some("openidm-admin") {
        auth.warn("username", "may do everything: make a user that may read accounts and set passwords, and no more");
    }
    let password = auth.required("password", |text| {
        let found = around.secret(text)?;
        match found.text.expose().chars().any(char::is_control) {
            true => Err("must not lead to control characters: it goes in a header".to_owned()),
            false => Ok(found),
        }
    });
    if password.as_ref().is_some_and(|found| found.exposed) {
        auth.warn("password", EXPOSED);
    }
    auth.finish();
    let max_concurrent = section.number("max_concurrent", 256, 1..=10_000);
    section.finish();
    Some(Identity {
        url: url?,
        username: username?,
        password: password.map(|found| found.text)?,
        max_concurrent: usize::try_from(max_concurrent?).ok()?,
    })
}

/// Plaintext beyond this machine is right where a mesh encrypts it, and nowhere else: the operator says so.
fn check_plaintext(section: &mut Section<'_>, url: Option<&Url>) {
    let allowed = section.flag("allow_plaintext");
    let plain = url.filter(|url| url.scheme() == "http");
    let beyond = plain.and_then(Url::host).is_some_and(|host| !units::is_loopback(&host));
    if beyond && !allowed {
        section.fault("url", "is plaintext beyond loopback: use https, or set allow_plaintext = true beside it");
    }
}

fn process_file<'n>(section: &mut Section<'n>, around: &Surroundings<'_>) -> Option<ProcessFile<'n>> {
    let notes = section.notes();
    let (path, text) = section.required("process", |text| {
        let path = around.path(text);
        read(&path).map(|text| (path, text))
    })?;
    process::load(&path, text, notes)
}

fn reset(mut section: Section<'_>, file: Option<ProcessFile<'_>>, mail_per_account: Option<Rate>) -> Option<Reset> {
    let path = section.or("path", "/openidm/selfservice/reset", units::path);
    let link_lifetime = section.or("link_lifetime", "20m", units::duration_in("1s"..="24h"));
    let answer_floor = section.or("answer_floor", "250ms", units::duration_in("1ms"..="10s"));
    let repeat_window = section.or("repeat_window", "60s", units::duration_in("1s"..="10m"));
    let mail_gap = section.or("mail_gap", "60s", units::duration_in("0s"..="1h"));
    let max_in_flight = section.number("max_in_flight", 4096, 1..=100_000);
    let crest_ids = section.flag("crest_ids");
    let reveal_unknown_accounts = section.flag("reveal_unknown_accounts");
    if reveal_unknown_accounts {
        section.warn("reveal_unknown_accounts", "tells strangers who has an account");
    }
    if let Some(life) = link_lifetime {
        check_reach(&section, life, mail_gap, mail_per_account);
    }
    let mut cors = section.section("cors");
    let cors_origins = cors.list("origins", &[], units::origin);
    cors.finish();
    section.finish();
    Some(Reset {
        path: path?,
        process: file?.process?,
        link_lifetime: link_lifetime?,
        answer_floor: answer_floor?,
        repeat_window: repeat_window?,
        mail_gap: mail_gap?,
        crest_ids,
        reveal_unknown_accounts,
        cors_origins: cors_origins?,
        max_in_flight: usize::try_from(max_in_flight?).ok()?,
    })
}

/// At any moment an owner either can get a mail or holds a live link, whatever strangers have asked for.
fn check_reach(section: &Section<'_>, life: Duration, gap: Option<Duration>, mails: Option<Rate>) {
    const OR: &str = "or an owner could be without mail and without link";
    if let Some(refill) = mails.map(|rate| rate.refill()).filter(|refill| life < *refill) {
        let refill = refill.as_secs_f64();
        section.fault(
            "link_lifetime",
            &format!("must be at least one refill of limits.mail_per_account, {refill}s, {OR}"),
        );
    }
    if gap.is_some_and(|gap| gap > life) {
        section.fault("mail_gap", &format!("must not be longer than reset.link_lifetime, {OR}"));
    }
}

/// Fewer than these are worth a warning: at fifteen guesses an hour for each of ten thousand accounts, eight digits take a
/// month to guess one.
const SAFE_DIGITS: u32 = 8;

fn codes(mut section: Section<'_>, limits: Option<&Limits>) -> Option<Codes> {
    section.or("store", "memory", |text| match text.split_once("://") {
        Some(("redis" | "rediss", _)) => Err("is not built yet; must be \"memory\"".to_owned()),
        None if text == "memory" => Ok(()),
        _ => Err("must be \"memory\"".to_owned()),
    });
    section.flag("allow_plaintext");
    let typed = section.or("format", "opaque", |text| units::one_of(text, &[("opaque", false), ("digits", true)]));
    let digits = section.number("digits", 8, 6..=10);
    if typed == Some(true) {
        let unguarded =
            |limits: &Limits| limits.code_per_account.is_none() || limits.observe.contains(&LimitName::CodePerAccount);
        if limits.is_some_and(unguarded) {
            section.fault("format", "needs limits.code_per_account: digits can be guessed");
        }
        if digits.is_some_and(|digits| digits < SAFE_DIGITS) {
            section.warn("digits", "lets somebody who knows ten thousand accounts guess one of them in hours");
        }
    }
    let tries = section.number("tries", 5, 1..=100);
    let capacity = section.number("capacity", 1_000_000, 1..=50_000_000);
    section.finish();
    let digits = typed?.then_some(digits?);
    Some(Codes { tries: tries?, digits, capacity: usize::try_from(capacity?).ok()? })
}

fn log(mut section: Section<'_>) -> Option<Log> {
    let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    let format = section.or("format", "json", |text| units::one_of(text, &formats));
    section.finish();
    Some(Log { format: format? })
}
