//! Certificates, and clients of TLS.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Somebody who vouches.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Else another authority of the same name would be taken for it.
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("{:x?}", &key.public_key_raw()[..20]));
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn vouches(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

impl Pair {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// How a client speaks TLS.
#[derive(Clone)]
pub(crate) struct Speaker {
    config: ClientConfig,
    name: ServerName<'static>,
}

impl Speaker {
    pub(crate) fn new(trusts: &Authority) -> Self {
        Self::by(trusts, None, &[&TLS13, &TLS12])
    }

    /// Who shows a certificate, or speaks these versions alone.
    pub(crate) fn by(trusts: &Authority, shows: Option<&Pair>, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusts.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![pair.der()], key).unwrap()
            }
        };
        Self { config, name: "id.example.com".try_into().unwrap() }
    }

    pub(crate) fn asking_for(mut self, name: &str) -> Self {
        self.name = name.to_owned().try_into().unwrap();
        self
    }

    pub(crate) fn offering(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    pub(crate) async fn to(&self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        self.over(TcpStream::connect(address).await.unwrap()).await
    }

    pub(crate) async fn over(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(Arc::new(self.config.clone())).connect(self.name.clone(), stream).await
    }

    /// The whole answer to a request of HTTP/1.1, which is its connection's last; `None` if there is none.
    pub(crate) async fn get(&self, address: SocketAddr, target: &str, headers: &str) -> Option<String> {
        get(&mut self.to(address).await.ok()?, target, headers).await
    }
}

/// The same on an open connection.
pub(crate) async fn get(stream: &mut TlsStream<TcpStream>, target: &str, headers: &str) -> Option<String> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: id.example.com\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    (!answer.is_empty()).then_some(answer)
}
