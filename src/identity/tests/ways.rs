//! The ways to a store: TLS, several addresses, a Unix socket.

use ::ring::digest::{SHA256, digest};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};

use super::*;
use crate::config::{ClientTls, Pair};

/// Somebody who vouches for the store and for its clients.
struct Authority(rcgen::Certificate, Issuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        Self(root, Issuer::new(params, key))
    }

    fn vouches(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.1).unwrap();
        Pair { chain: vec![leaf.der().clone()], key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }

    fn trusted(&self) -> ClientTls {
        ClientTls { roots: Some(vec![self.0.der().clone()]), ..ClientTls::default() }
    }

    /// A server's settings, and whether clients must show a certificate of this authority's.
    fn serves(&self, pair: &Pair, asks: bool) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let config = match asks {
            true => config.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap(),
            ),
            false => config.with_no_client_auth(),
        };
        config.with_single_cert(pair.chain.clone(), pair.key.clone_key()).unwrap()
    }
}

async fn secure(tls: ServerConfig) -> Server {
    Server::by_tls(tls, |_| Answer::json(200, &json!({ "result": [] }))).await
}

/// A client of a server that is at 127.0.0.1 and is called by that, or else by `tls.server_name`.
fn trusting(server: &Server, tls: ClientTls) -> Crest {
    let mut identity = identity(&server.url("/openidm").replace("http:", "https:"));
    identity.endpoints.tls = Some(tls);
    store(identity, wide())
}

/// What is logged of a find that fails before anything is sent.
async fn hint(crest: &Crest) -> String {
    let (log, _guard) = logs::capture();
    assert_eq!(find(crest).await, Err(UNSENT));
    let line = log.lines().into_iter().find(|line| line.contains("the identity store failed")).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["fields"]["kind"], "Connect", "{line}");
    line["fields"]["hint"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned()
}

#[tokio::test]
async fn a_store_is_judged_by_the_settings_of_tls() {
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    let pair = own.vouches("127.0.0.1");
    let server = secure(own.serves(&pair, false)).await;
    assert_eq!(find(&trusting(&server, own.trusted())).await, Ok(vec![]));
    assert_eq!(server.only().headers["host"], server.host());

    let pin = |pair: &Pair| digest(&SHA256, &pair.chain[0]).as_ref().try_into().unwrap();
    let pinned = ClientTls { pin: Some(pin(&pair)), ..ClientTls::default() };
    assert_eq!(find(&trusting(&server, pinned)).await, Ok(vec![]));

    assert!(hint(&trusting(&server, other.trusted())).await.contains("tls.ca"));
    let wrong = ClientTls { pin: Some(pin(&other.vouches("127.0.0.1"))), ..ClientTls::default() };
    assert!(hint(&trusting(&server, wrong)).await.contains("tls.pin"));
    let named = ClientTls { server_name: Some("store.example".to_owned()), ..own.trusted() };
    assert!(hint(&trusting(&server, named)).await.contains("tls.server_name"));
    assert_eq!(server.seen().len(), 2, "nobody else got as far as a request");

    let plain = Server::start(Answer::json(200, &json!({ "result": [] }))).await;
    assert!(hint(&trusting(&plain, own.trusted())).await.contains("http://"));
}

#[tokio::test]
async fn a_store_may_be_called_otherwise_than_its_url_is() {
    let own = Authority::new("own");
    let server = secure(own.serves(&own.vouches("store.example"), false)).await;
    let named = ClientTls { server_name: Some("store.example".to_owned()), ..own.trusted() };
    assert_eq!(find(&trusting(&server, named)).await, Ok(vec![]));
    assert_eq!(server.only().headers["host"], server.host(), "the request is for whom the URL names");
}

#[tokio::test]
async fn a_store_may_want_a_certificate() {
    let own = Authority::new("own");
    let server = secure(own.serves(&own.vouches("127.0.0.1"), true)).await;
    let with = |pair| trusting(&server, ClientTls { pair, ..own.trusted() });
    assert_eq!(find(&with(Some(own.vouches("gate")))).await, Ok(vec![]));
    assert!(hint(&with(None)).await.contains("tls.certificate"));
    assert!(hint(&with(Some(Authority::new("other").vouches("gate")))).await.contains("tls.certificate"));
    assert_eq!(server.seen().len(), 1);
}

/// By a token endpoint that has an authority of its own.
#[tokio::test]
async fn the_token_endpoint_is_judged_by_its_own_settings() {
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    let token = |_: &server::Seen| Answer::json(200, &json!({ "access_token": "t", "token_type": "Bearer" }));
    let issuer = Server::by_tls(own.serves(&own.vouches("127.0.0.1"), false), token).await;
    let server = Server::start(Answer::json(200, &json!({ "result": [] }))).await;
    let by = |tls| {
        let oauth2 = config::OAuth2 {
            token_url: issuer.url("/token").replace("http:", "https:").parse().unwrap(),
            client_id: "gate".to_owned(),
            client_secret: Secret::new("s3cret"),
            scope: None,
            audience: None,
            resource: None,
            client_auth: config::ClientAuth::Basic,
            tls,
        };
        store(identity_as(&server.url(""), Auth::OAuth2(Box::new(oauth2))), wide())
    };
    assert_eq!(find(&by(own.trusted())).await, Ok(vec![]));
    let (log, _guard) = logs::capture();
    assert_eq!(find(&by(other.trusted())).await, Err(UNSENT));
    assert!(log.lines().concat().contains("set tls.ca"), "{:?}", log.lines());
    assert_eq!(issuer.seen().len(), 1);
}

fn at(places: Vec<Place>) -> Crest {
    let mut identity = identity("http://store.example/openidm");
    identity.endpoints.addresses = places;
    store(identity, wide())
}

#[tokio::test]
async fn an_address_that_is_gone_is_passed_over_within_the_call() {
    let gone = Server::start(Answer::Never).await;
    let address = gone.address();
    gone.stop().await;
    let server = Server::by(|_| Answer::json(200, &json!({ "result": [] })).with("connection", "close")).await;
    let crest = at(vec![Place::Ip(address), Place::Ip(server.address())]);
    for _ in 0..6 {
        assert_eq!(find(&crest).await, Ok(vec![]));
    }
    assert!(server.seen().iter().all(|seen| seen.headers["host"] == "store.example"));
    let crest = at(vec![Place::Ip(address)]);
    assert_eq!(find(&crest).await, Err(UNSENT));
}

/// It takes connections and says nothing: TLS waits for it, but not for so long that the other one has no time left.
#[tokio::test]
async fn an_address_that_is_silent_has_its_share_of_the_time() {
    let own = Authority::new("own");
    let server = secure(own.serves(&own.vouches("store.example"), false)).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut identity = identity("https://store.example/openidm");
    identity.endpoints.tls = Some(own.trusted());
    identity.endpoints.addresses = [silent.local_addr().unwrap(), server.address()].map(Place::Ip).into();
    let crest = store(identity, Bounds { connect: Duration::from_secs(2), ..wide() });
    for _ in 0..4 {
        assert_eq!(find(&crest).await, Ok(vec![]));
    }
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn connections_take_turns() {
    let answer = |_: &server::Seen| Answer::json(200, &json!({ "result": [] })).with("connection", "close");
    let (one, other) = (Server::by(answer).await, Server::by(answer).await);
    let crest = at(vec![Place::Ip(one.address()), Place::Ip(other.address())]);
    for _ in 0..6 {
        assert_eq!(find(&crest).await, Ok(vec![]));
    }
    assert_eq!((one.seen().len(), other.seen().len()), (3, 3));
}

#[tokio::test]
async fn a_store_may_be_at_a_unix_socket() {
    let server = Server::start(Answer::json(200, &json!({ "result": [] }))).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let to = server.address();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let crest = at(vec![Place::Unix(path)]);
    assert_eq!(find(&crest).await, Ok(vec![]));
    assert_eq!(server.only().headers["host"], "store.example");
}
