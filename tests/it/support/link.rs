//! A wire that can fail: stands in front of a real server and passes bytes, or does not.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What the wire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Passes everything.
    Pass,
    /// Every connection, open or new, ends.
    Down,
    /// Takes what comes and never answers.
    Hang,
    /// Keeps what comes; another mode decides what becomes of it.
    Hold,
    /// Passes a PATCH and what it answers is lost, with the connection.
    LosePatchAnswers,
    /// A connection ends when a PATCH comes, before the server sees any of it.
    LosePatches,
    /// A look-up that holds the word `bjensen` is answered with 500; others pass.
    FailOnBjensen,
}

pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
    held: Arc<watch::Sender<usize>>,
}

impl Link {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Arc::new(watch::Sender::new(Mode::Pass));
        let held = Arc::new(watch::Sender::new(0));
        let (modes, holds) = (mode.clone(), held.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, modes.subscribe(), holds.clone()));
            }
        });
        Self { address, mode, held }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Waits until so many messages are, or were, kept by [`Mode::Hold`].
    pub(crate) async fn held(&self, messages: usize) {
        self.held.subscribe().wait_for(|held| *held >= messages).await.unwrap();
    }
}

async fn pass(
    mut client: TcpStream,
    server: SocketAddr,
    mut mode: watch::Receiver<Mode>,
    held: Arc<watch::Sender<usize>>,
) {
    let mut down = mode.clone();
    if *mode.borrow() == Mode::Down {
        return;
    }
    let mut server = TcpStream::connect(server).await.unwrap();
    let (mut up, mut back) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut lose_answer = false;
    loop {
        tokio::select! {
            () = async { drop(down.wait_for(|mode| *mode == Mode::Down).await) } => return,
            read = client.read(&mut up) => {
                let Ok(read @ 1..) = read else { return };
                let bytes = &up[..read];
                if *mode.borrow() == Mode::Hold {
                    held.send_modify(|held| *held += 1);
                }
                let Ok(now) = mode.wait_for(|mode| *mode != Mode::Hold).await.map(|now| *now) else { return };
                match now {
                    Mode::Down => return,
                    Mode::Hang => continue,
                    Mode::LosePatches if bytes.starts_with(b"PATCH") => return,
                    Mode::LosePatchAnswers if bytes.starts_with(b"PATCH") => lose_answer = true,
                    Mode::FailOnBjensen if contains(bytes, b"_queryFilter") && contains(bytes, b"bjensen") => {
                        let answer = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}";
                        if client.write_all(answer).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    _ => {}
                }
                if server.write_all(bytes).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut back) => {
                let Ok(read @ 1..) = read else { return };
                if lose_answer || client.write_all(&back[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
