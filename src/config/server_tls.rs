//! `[listen.tls]`: what the listeners that speak TLS show of themselves, and whose certificates they take.

use rustls::{RootCertStore, pki_types::CertificateDer};

use super::{
    Address, Pair, Speaks,
    raw::{MISSING, Section},
    secret::Surroundings,
    tls::{certificates, pair},
    units,
};

/// `[listen.tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// At least one: the first is shown to whoever asks for none of the names in the others.
    pub pairs: Vec<Pair>,
    /// Whose certificates are asked for.
    pub clients: Option<ClientCerts>,
    /// Whether the upstream is told of a client's certificate (`Client-Cert`, RFC 9440).
    pub forward_client_cert: bool,
}

/// The keys of `[listen.tls]` that are about clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCerts {
    /// Who may vouch for a client. Never empty.
    pub roots: Vec<CertificateDer<'static>>,
    /// Whether a client without a certificate is turned away.
    pub required: bool,
}

/// Reads it; there is none without listeners that speak TLS.
#[allow(clippy::option_option, reason = "missing and wrong are two things")]
pub(super) fn server_tls(
    mut section: Section<'_>,
    addresses: Option<&[Address]>,
    around: &Surroundings<'_>,
) -> Option<Option<ServerTls>> {
    let first = pair(&mut section, around);
    let mut more = Some(Vec::new());
    for mut section in section.sections("additional") {
        let found = pair(&mut section, around);
        if !section.has("certificate") && !section.has("key") {
            section.fault("certificate", MISSING);
        }
        section.finish();
        more = more.zip(found.flatten()).map(|(mut more, pair)| {
            more.push(pair);
            more
        });
    }
    let clients = clients(&mut section, around);
    let forward_client_cert = section.flag("forward_client_cert");
    if forward_client_cert && !section.has("client_ca") {
        section.fault("forward_client_cert", "means nothing without client_ca: no certificate is asked for");
    }
    let spoken = addresses.is_none_or(|addresses| addresses.iter().any(|address| address.speaks == Speaks::Tls));
    for key in ["certificate", "key", "additional", "client_ca", "client_auth", "forward_client_cert"] {
        if !spoken && section.has(key) {
            section.fault(key, "means nothing without a tls: address in listen.addresses");
        }
    }
    if !spoken {
        section.means("client_auth", None);
        section.means("forward_client_cert", None);
    }
    let wanted = addresses.is_some() && spoken;
    if wanted && !section.has("certificate") && !section.has("key") {
        section.fault("certificate", "must be set: listen.addresses has one with tls:");
    }
    section.finish();
    let (first, mut pairs, clients) = (first?, more?, clients?);
    let Some(first) = first else { return if wanted { None } else { Some(None) } };
    pairs.insert(0, first);
    Some(Some(ServerTls { pairs, clients, forward_client_cert }))
}

#[allow(clippy::option_option, reason = "missing and wrong are two things")]
fn clients(section: &mut Section<'_>, around: &Surroundings<'_>) -> Option<Option<ClientCerts>> {
    let roots = section.optional("client_ca", |text| roots(&around.read(text)?));
    let required =
        section.or("client_auth", "required", |text| units::one_of(text, &[("required", true), ("optional", false)]));
    if section.has("client_auth") && !section.has("client_ca") {
        section.fault("client_auth", "must come with client_ca: who may vouch for clients");
    }
    if !section.has("client_ca") {
        section.means("client_auth", None);
    }
    let (roots, required) = (roots?, required?);
    Some(roots.map(|roots| ClientCerts { roots, required }))
}

fn roots(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = certificates(pem)?;
    let usable = found.iter().all(|der| RootCertStore::empty().add(der.clone()).is_ok());
    if usable { Ok(found) } else { Err("must name a PEM file of certificates that can vouch for others".to_owned()) }
}
