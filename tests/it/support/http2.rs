//! A client of HTTP/2 that does not send until it is told, and one that sends what no HTTP library does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use h2::{
    Error, RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{Request, Response};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};

use super::answer::Answer;

/// One connection.
pub(crate) struct Http2 {
    send: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), Error>>,
}

impl Http2 {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::from(Ipv4Addr::LOCALHOST, address, &Builder::new()).await
    }

    /// From that address of this machine.
    pub(crate) async fn from(client: impl Into<IpAddr>, address: SocketAddr, how: &Builder) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(client.into(), 0)).unwrap();
        let (send, connection) = how.handshake(socket.connect(address).await.unwrap()).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Over whatever is there.
    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, Error> {
        let (send, connection) = Builder::new().handshake(stream).await?;
        Ok(Self { send, connection: tokio::spawn(connection) })
    }

    /// Opens a stream, which has a body or not.
    pub(crate) async fn open(&mut self, request: Request<()>, body: bool) -> (ResponseFuture, SendStream<Bytes>) {
        self.send.clone().ready().await.unwrap().send_request(request, !body).unwrap()
    }

    /// A whole request and its answer.
    pub(crate) async fn ask(&mut self, request: Request<()>, body: Option<&str>) -> Result<Answer, Error> {
        let (answer, mut stream) = self.send.clone().ready().await?.send_request(request, body.is_none())?;
        if let Some(body) = body {
            stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true)?;
        }
        read(answer.await?).await
    }

    pub(crate) async fn get(&mut self, target: &str) -> Result<Answer, Error> {
        self.ask(request("GET", target, &[]), None).await
    }

    /// How many streams the other end lets it have at a time, as far as it knows.
    pub(crate) fn most_streams(&self) -> usize {
        self.send.current_max_send_streams()
    }

    /// How the connection ends.
    pub(crate) async fn end(self) -> Result<(), Error> {
        let Self { send, connection } = self;
        let ended = tokio::time::timeout(std::time::Duration::from_secs(45), connection).await;
        drop(send);
        ended.expect("it ends").unwrap()
    }
}

/// The whole answer.
pub(crate) async fn read(answer: Response<RecvStream>) -> Result<Answer, Error> {
    let (head, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await.transpose()? {
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://id.example.com{target}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// A frame as it came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const GOAWAY: u8 = 7;

/// A connection of frames.
pub(crate) struct Frames(TcpStream);

impl Frames {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        Self(stream)
    }

    /// These fields as a whole request; none of them longer than 126 bytes.
    pub(crate) async fn send_head(&mut self, stream: u32, fields: &[(&str, &str)]) {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap());
                block.extend_from_slice(text.as_bytes());
            }
        }
        // The end of the stream and of its head.
        self.send(HEADERS, 0x5, stream, &block).await;
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        // Who is hung up on reads what was said before.
        let _ = self.0.write_all(&frame).await;
    }

    /// The next frame of these kinds; `None` at the end.
    pub(crate) async fn next(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if kinds.contains(&head[3]) {
                return Some(Frame { kind: head[3], stream, payload });
            }
        }
    }
}
