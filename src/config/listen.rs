//! `[listen]` and `[admin]`: where requests come in, and who may say who the client is.

use std::net::SocketAddr;

use super::{
    Address, Admin, At, ClientHeader, ConfigReaders, Listen,
    connections::connections,
    raw::Section,
    secret::Surroundings,
    server_tls::server_tls,
    units::{self, Trusted},
};

/// Reads `[listen]`.
pub(super) fn listen(mut section: Section<'_>, around: &Surroundings<'_>) -> Option<Listen> {
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
    let tls = server_tls(section.section("tls"), addresses.as_deref(), around);
    if let Some(addresses) = &addresses {
        check_addresses(&section, addresses);
        for (index, address) in addresses.iter().enumerate().filter(|(_, address)| address.proxied) {
            let somebody = match address.at {
                At::Tcp(_) => !trusted_proxies.is_empty(),
                At::Unix(_) => trust_unix,
                At::Systemd(_) => trust_unix || !trusted_proxies.is_empty(),
            };
            // Those that did not hold have their own fault.
            if !somebody && trusted.is_some() {
                let rule = "lets nobody in: who may say whom a connection is from must be in listen.trusted_proxies";
                section.item_fault("addresses", index, rule);
            }
        }
        let faceless = |address: &Address| match &address.at {
            At::Unix(_) => !trust_unix,
            At::Tcp(tcp) => tcp.ip().is_loopback() && trusted_proxies.is_empty(),
            At::Systemd(_) => false,
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
        tls: tls?,
    })
}

fn check_addresses(section: &Section<'_>, addresses: &[Address]) {
    if addresses.is_empty() {
        section.fault("addresses", "must have at least one address");
    }
    for (index, address) in addresses.iter().enumerate() {
        let any = address.tcp().is_some_and(|tcp| tcp.port() == 0);
        if !any && addresses.iter().take(index).any(|earlier| earlier.at == address.at) {
            section.item_fault("addresses", index, "must not be listed twice");
        }
    }
}

/// Reads `[admin]`.
pub(super) fn admin(mut section: Section<'_>, listen: Option<&Listen>) -> Option<Admin> {
    let address: Option<SocketAddr> = section.or("address", "127.0.0.1:9090", units::tcp_address);
    let readers =
        [("loopback", ConfigReaders::Loopback), ("everyone", ConfigReaders::Everyone), ("off", ConfigReaders::Nobody)];
    let config = section.or("config", "loopback", |text| units::one_of(text, &readers));
    if let Some(address) = address {
        if !address.ip().is_loopback() {
            section.warn("address", "shows metrics and states to the network, without asking who looks");
            if config == Some(ConfigReaders::Everyone) {
                section
                    .warn("config", "shows the configuration, but for its secrets, to whoever reaches admin.address");
            }
        }
        let taken = |listen: &Listen| listen.addresses.iter().any(|other| other.tcp() == Some(address));
        if address.port() != 0 && listen.is_some_and(taken) {
            section.fault("address", "must differ from listen.addresses");
        }
    }
    section.finish();
    Some(Admin { address: address?, config: config? })
}
