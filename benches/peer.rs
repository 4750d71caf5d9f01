//! What resetgate is compared with, and what it stands in front of: each is told apart by the first argument, prints its
//! ports, and serves until it is killed. Only `benches/compare` and `benches/slow_clients.sh` build it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

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
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["constant", length] => constant(length.parse().unwrap()),
        ["proxy", upstream] => proxy(upstream.parse().unwrap(), None),
        ["proxy", upstream, chain, key] => proxy(upstream.parse().unwrap(), Some((chain, key))),
        ["upstream"] => upstream(),
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

/// Answers faster than anything before it: a short JSON, nobody where accounts are looked for, `/zeros/N` with that many
/// bytes, and bodies are read to their end.
#[tokio::main(flavor = "current_thread")]
async fn upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    tell(&[listener.local_addr().unwrap()]);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            // A client that goes away is no news.
            let _ = converse(stream).await;
        });
    }
}

async fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    let piece = vec![0; 64 << 10];
    let mut bytes = vec![0; 64 << 10];
    let mut filled = 0;
    loop {
        let end = loop {
            if let Some(at) = bytes[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read(&mut bytes[filled..]).await? {
                0 => return Ok(()),
                read => filled += read,
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let mut left = length.map_or(0, |length| length.trim().parse::<usize>().unwrap()).saturating_sub(filled - end);
        while left > 0 {
            let most = left.min(bytes.len());
            match stream.read(&mut bytes[..most]).await? {
                0 => return Ok(()),
                read => left -= read,
            }
        }
        filled = 0;
        if head.contains("_queryfilter=") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"result\":[]}").await?;
            continue;
        }
        let zeros = head.split(' ').nth(1).and_then(|path| path.strip_prefix("/zeros/"));
        let mut zeros = zeros.map_or(0, |count| count.parse::<usize>().unwrap());
        if zeros == 0 {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 41\r\n\r\n\
                           {\"_id\":\"ping\",\"shortDesc\":\"it is ready\"}\n";
            stream.write_all(answer).await?;
            continue;
        }
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {zeros}\r\n\r\n").as_bytes()).await?;
        while zeros > 0 {
            let most = zeros.min(piece.len());
            stream.write_all(&piece[..most]).await?;
            zeros -= most;
        }
    }
}
