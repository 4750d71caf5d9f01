//! What resetgate is compared with, and what it stands in front of: each is told apart by the first argument, prints its
//! ports, and serves until it is killed. The other programs here build it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::panic,
    missing_docs
)]

mod flows;
mod upstream;
mod wire;

use std::{
    env,
    io::Write,
    net::{SocketAddr, TcpListener as StdTcp},
    sync::Arc,
};

use async_trait::async_trait;
use pingora::{
    apps::http_app::ServeHttp,
    prelude::{HttpPeer, Opt, Server},
    protocols::http::ServerSession,
    proxy::{ProxyHttp, Session, http_proxy_service},
    server::configuration::ServerConf,
    services::{ServiceWithDependents, listening::Service},
};

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["constant", length] => constant(length.parse().unwrap()),
        ["proxy", upstream] => proxy(upstream.parse().unwrap(), None),
        ["proxy", upstream, chain, key] => proxy(upstream.parse().unwrap(), Some((chain, key))),
        ["upstream"] => flows::run(),
        // As `cargo bench` calls it.
        _ => println!("peer constant LENGTH | proxy ADDRESS [CHAIN KEY] | upstream; run benches/compare"),
    }
}

fn tell(addresses: &[SocketAddr]) {
    let ports: Vec<_> = addresses.iter().map(|address| address.port().to_string()).collect();
    println!("{}", ports.join(" "));
    std::io::stdout().flush().unwrap();
}

/// Pingora as it comes, one thread, on ports that are free: one, or two with TLS.
fn serve(count: usize, service: impl FnOnce(&Arc<ServerConf>, &[String]) -> Box<dyn ServiceWithDependents>) {
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 256, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, conf);
    server.bootstrap();
    // Pingora does not tell which port it was given. All are held until all are known, lest they be the same.
    let held: Vec<_> = (0..count).map(|_| StdTcp::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = held.iter().map(|listener| listener.local_addr().unwrap()).collect();
    drop(held);
    let texts: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    server.add_boxed_service(service(&server.configuration, &texts));
    tell(&addresses);
    server.run_forever();
}

struct Constant(Vec<u8>);

#[async_trait]
impl ServeHttp for Constant {
    async fn response(&self, session: &mut ServerSession) -> http::Response<Vec<u8>> {
        // A connection that breaks meanwhile is no news.
        while let Ok(Some(_)) = session.read_request_body().await {}
        let answer = http::Response::builder().header("content-type", "application/json");
        answer.header("content-length", self.0.len()).body(self.0.clone()).unwrap()
    }
}

fn constant(length: usize) {
    serve(1, |_, addresses| {
        let mut service = Service::new("constant".into(), Constant(vec![b' '; length]));
        service.add_tcp(&addresses[0]);
        Box::new(service)
    });
}

struct Bare(SocketAddr);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

fn proxy(upstream: SocketAddr, tls: Option<(&str, &str)>) {
    serve(1 + usize::from(tls.is_some()), |conf, addresses| {
        let mut service = http_proxy_service(conf, Bare(upstream));
        service.add_tcp(&addresses[0]);
        if let Some((chain, key)) = tls {
            service.add_tls(&addresses[1], chain, key).unwrap();
        }
        Box::new(service)
    });
}
