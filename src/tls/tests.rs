use std::{
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ::ring::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::config::Pair;

/// Somebody who vouches.
struct Authority {
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    authority_called(&NEXT.fetch_add(1, Ordering::Relaxed).to_string())
}

fn authority_called(name: &str) -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap().der().clone();
    Authority { root, issuer: Issuer::new(params, key) }
}

impl Authority {
    fn vouches(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Pair { chain: vec![leaf.der().clone()], key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }

    fn trusted(&self) -> ClientTls {
        ClientTls { roots: Some(vec![self.root.clone()]), ..ClientTls::default() }
    }
}

fn pin(pair: &Pair) -> [u8; 32] {
    digest(&SHA256, &pair.chain[0]).as_ref().try_into().unwrap()
}

/// What a server saw and what came of a handshake and a byte each way, in both versions of TLS.
struct Met {
    sni: Option<String>,
    outcome: Result<(), io::Error>,
}

/// `clients` are those whom the server lets in, everybody if there are none.
async fn meet(tls: &ClientTls, server: &Pair, clients: Option<&Authority>) -> [Met; 2] {
    [meet_by(tls, server, clients, &TLS12).await, meet_by(tls, server, clients, &TLS13).await]
}

async fn meet_by(
    tls: &ClientTls,
    server: &Pair,
    clients: Option<&Authority>,
    version: &'static rustls::SupportedProtocolVersion,
) -> Met {
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[version]).unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.root.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        }
    };
    let config = config.with_single_cert(server.chain.clone(), server.key.clone_key()).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(async move {
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(far).await.ok()?;
        let _ = stream.write_all(b"!").await;
        let _ = stream.shutdown().await;
        stream.get_ref().1.server_name().map(str::to_owned)
    });
    let outcome = async {
        let name = name(tls, "store.example").unwrap();
        let mut stream = TlsConnector::from(client(tls, &[HTTP1]).unwrap()).connect(name, near).await?;
        stream.read_u8().await.map(drop)
    };
    let outcome = outcome.await;
    Met { sni: serving.await.unwrap(), outcome }
}

fn hints(met: [Met; 2]) -> [&'static str; 2] {
    met.map(|met| {
        let error = met.outcome.expect_err("refused");
        explain(&error).unwrap_or_else(|| panic!("{error:?}"))
    })
}

fn assert_hints(met: [Met; 2], part: &str) {
    for hint in hints(met) {
        assert!(hint.contains(part), "{hint:?} says nothing of {part:?}");
    }
}

fn assert_met(met: [Met; 2]) {
    for met in met {
        met.outcome.unwrap();
    }
}

#[tokio::test]
async fn own_roots_count_alone() {
    let (own, other) = (authority(), authority());
    let server = own.vouches("store.example", |_| ());
    assert_met(meet(&own.trusted(), &server, None).await);
    assert_hints(meet(&other.trusted(), &server, None).await, "tls.ca");
    let both = ClientTls { roots: Some(vec![other.root.clone(), own.root.clone()]), ..ClientTls::default() };
    assert_met(meet(&both, &server, None).await);
}

#[tokio::test]
async fn a_certificate_is_for_a_name_and_a_time() {
    let own = authority();
    let elsewhere = own.vouches("elsewhere.example", |_| ());
    assert_hints(meet(&own.trusted(), &elsewhere, None).await, "tls.server_name");
    let named = ClientTls { server_name: Some("elsewhere.example".to_owned()), ..own.trusted() };
    for met in meet(&named, &elsewhere, None).await {
        met.outcome.unwrap();
        assert_eq!(met.sni.as_deref(), Some("elsewhere.example"), "it is asked for by that name too");
    }
    assert_hints(meet(&named, &own.vouches("store.example", |_| ()), None).await, "tls.server_name");

    let by_address = own.vouches("192.0.2.7", |_| ());
    let named = ClientTls { server_name: Some("192.0.2.7".to_owned()), ..own.trusted() };
    for met in meet(&named, &by_address, None).await {
        met.outcome.unwrap();
        assert_eq!(met.sni, None, "an address is no name to ask for");
    }

    let old = own.vouches("store.example", |params| params.not_after = date_time_ymd(2001, 1, 1));
    assert_hints(meet(&own.trusted(), &old, None).await, "expired");
    let early = own.vouches("store.example", |params| params.not_before = date_time_ymd(4000, 1, 1));
    assert_hints(meet(&own.trusted(), &early, None).await, "not valid yet");
    let client = own.vouches("store.example", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    assert_hints(meet(&own.trusted(), &client, None).await, "tls.pin");
}

/// The verifier decides by the configured name, even where whoever connects asks for the URL's.
#[tokio::test]
async fn the_name_of_the_configuration_decides() {
    let own = authority();
    let server = own.vouches("store.example", |_| ());
    let named = ClientTls { server_name: Some("elsewhere.example".to_owned()), ..own.trusted() };
    let provider = Arc::new(ring::default_provider());
    let judge = |tls: &ClientTls, asked: &str| {
        verifier(tls, &provider).unwrap().verify_server_cert(
            &server.chain[0],
            &[],
            &ServerName::try_from(asked.to_owned()).unwrap(),
            &[],
            rustls::pki_types::UnixTime::now(),
        )
    };
    assert!(judge(&own.trusted(), "store.example").is_ok());
    assert!(judge(&named, "store.example").is_err());
    assert!(judge(&ClientTls { server_name: Some("store.example".to_owned()), ..own.trusted() }, "x.example").is_ok());
}

#[tokio::test]
async fn a_pin_is_one_certificate_whoever_and_whenever() {
    let old = authority().vouches("elsewhere.example", |params| params.not_after = date_time_ymd(2001, 1, 1));
    let pinned = ClientTls { pin: Some(pin(&old)), ..ClientTls::default() };
    assert_met(meet(&pinned, &old, None).await);
    let other = authority().vouches("store.example", |_| ());
    assert_hints(meet(&pinned, &other, None).await, "tls.pin");

    // Its certificate is everybody's to copy, its key is not.
    let thief = rustls::sign::CertifiedKey::new(old.chain.clone(), ring::sign::any_supported_type(&other.key).unwrap());
    #[derive(Debug)]
    struct Shows(Arc<rustls::sign::CertifiedKey>);
    impl rustls::server::ResolvesServerCert for Shows {
        fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }
    for version in [&TLS12, &TLS13] {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Shows(Arc::new(thief.clone()))));
        let (near, far) = tokio::io::duplex(64 * 1024);
        let serving = tokio::spawn(TlsAcceptor::from(Arc::new(config)).accept(far));
        let name = name(&pinned, "store.example").unwrap();
        let met = TlsConnector::from(client(&pinned, &[]).unwrap()).connect(name, near).await;
        assert!(met.is_err());
        assert!(serving.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_server_may_want_a_certificate() {
    let (own, clients) = (authority(), authority());
    let server = own.vouches("store.example", |_| ());
    let with = |pair| ClientTls { pair: Some(pair), ..own.trusted() };
    assert_met(meet(&with(clients.vouches("gate", |_| ())), &server, Some(&clients)).await);
    assert_met(meet(&with(clients.vouches("gate", |_| ())), &server, None).await);
    // An authority that was made anew has the name of the old one, and other keys.
    let renewed = [authority_called("the same"), authority_called("the same")];
    for (theirs, ours) in [(&clients, &authority()), (&renewed[0], &renewed[1])] {
        let strangers = meet(&with(ours.vouches("gate", |_| ())), &server, Some(theirs)).await;
        for met in &strangers {
            assert!(refused(met.outcome.as_ref().unwrap_err()), "{:?}", met.outcome);
        }
        assert_hints(strangers, "tls.certificate");
    }
    let nobodies = meet(&own.trusted(), &server, Some(&clients)).await;
    for met in &nobodies {
        assert!(refused(met.outcome.as_ref().unwrap_err()));
    }
    assert_hints(nobodies, "set tls.certificate and tls.key");
}

#[tokio::test]
async fn what_speaks_no_tls_is_told_so() {
    let (near, mut far) = tokio::io::duplex(1024);
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let tls = authority().trusted();
    let name = name(&tls, "store.example").unwrap();
    let error = TlsConnector::from(client(&tls, &[]).unwrap()).connect(name, near).await.unwrap_err();
    assert!(explain(&error).unwrap().contains("http://"));
    assert!(!refused(&error));
}

#[test]
fn other_failures_point_at_nothing() {
    let reset: &(dyn Error + 'static) = &io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(explain(reset), None);
    assert!(!refused(reset));
    assert_eq!(explain(&io::Error::other(rustls::Error::DecryptError)), None);
}

#[test]
fn names_are_of_hosts() {
    let tls = ClientTls::default();
    assert_eq!(name(&tls, "[2001:db8::1]"), Some(ServerName::try_from("2001:db8::1").unwrap()));
    assert_eq!(name(&tls, "a b"), None);
    let named = ClientTls { server_name: Some("x.example".to_owned()), ..ClientTls::default() };
    assert_eq!(name(&named, "192.0.2.1"), Some(ServerName::try_from("x.example").unwrap()));
}

#[test]
fn the_versions_and_the_library_are_said() {
    let config = client(&authority().trusted(), &[HTTP2, HTTP1]).unwrap();
    assert_eq!(config.alpn_protocols, [HTTP2, HTTP1]);
    assert!(config.enable_sni);
    let suites = &config.crypto_provider().cipher_suites;
    assert!(suites.iter().any(|suite| suite.version() == &TLS12));
    assert!(suites.iter().any(|suite| suite.version() == &TLS13));
}
