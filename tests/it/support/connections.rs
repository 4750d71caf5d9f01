//! Connections on both sides of the gate: of clients, as its metrics tell of them, and to a server that hands over its
//! own one by one.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::world::{Plan, World};

pub(crate) async fn listening(listen: &'static str) -> World {
    World::with(Plan { listen, ..Plan::default() }).await
}

/// Waits until so many connections are open.
pub(crate) async fn open(world: &World, connections: usize) {
    world.until(async || world.metric("open_connections").await == connections.to_string()).await;
}

pub(crate) async fn slow(world: &World, at: &str) -> String {
    world.metric(&format!("slow_connections_total{{at=\"{at}\"}}")).await
}

/// A gate in front of a server that hands over its connections one by one.
pub(crate) async fn by_hand(listen: &'static str) -> (TcpListener, World) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Some(format!("url = \"http://{}\"", listener.local_addr().unwrap()));
    (listener, World::with(Plan { upstream, listen, ..Plan::default() }).await)
}

/// The next request that the server by hand gets; what is returned keeps it waiting.
pub(crate) async fn taken(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    read_head(&mut stream).await;
    stream
}

/// Reads to the end of a head, and returns what came after it.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    loop {
        stream.read_buf(&mut read).await.unwrap();
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            return read.split_off(end + 4);
        }
    }
}

pub(crate) async fn give(stream: &mut TcpStream, body: &str) {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
}
