//! A wire that can fail: stands in front of a real server and passes bytes, or does not.

use std::{net::SocketAddr, sync::Arc, time::Duration};

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
    /// Keeps a PATCH; another mode decides what becomes of it.
    HoldPatches,
    /// A PATCH is answered with that status and an empty object, and the server sees nothing of it.
    AnswerPatches(u16),
    /// Keeps what is for the password policy, and passes the rest.
    HoldPolicy,
    /// A look-up that holds the word `bjensen` is answered with 500; others pass.
    FailOnBjensen,
    /// Whatever the server says comes so much later, and later still where it has found an account.
    Lag { every: Duration, found: Duration },
}

#[derive(Clone)]
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
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut up, mut back) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut lose_answer = false;
    loop {
        tokio::select! {
            () = async { drop(down.wait_for(|mode| *mode == Mode::Down).await) } => return,
            read = client.read(&mut up) => {
                let Ok(read @ 1..) = read else { return };
                let bytes = &up[..read];
                let is_patch = bytes.starts_with(b"PATCH");
                let is_policy = contains(bytes, b"/policy/");
                let holds = |mode: &Mode| match mode {
                    Mode::Hold => true,
                    Mode::HoldPatches => is_patch,
                    Mode::HoldPolicy => is_policy,
                    _ => false,
                };
                if holds(&mode.borrow()) {
                    held.send_modify(|held| *held += 1);
                }
                let Ok(now) = mode.wait_for(|mode| !holds(mode)).await.map(|now| *now) else { return };
                match now {
                    Mode::Down => return,
                    Mode::Hang => continue,
                    Mode::LosePatches if is_patch => return,
                    Mode::LosePatchAnswers if is_patch => lose_answer = true,
                    Mode::AnswerPatches(status) if is_patch => return refuse(client, status).await,
                    Mode::FailOnBjensen if contains(bytes, b"_queryFilter") && contains(bytes, b"bjensen") => {
                        return refuse(client, 500).await;
                    }
                    _ => {}
                }
                if server.write_all(bytes).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut back) => {
                let Ok(read @ 1..) = read else { return };
                let now = *mode.borrow();
                if let Mode::Lag { every, found } = now {
                    let is_found = contains(&back[..read], b"\"_rev\"");
                    tokio::time::sleep(if is_found { every + found } else { every }).await;
                }
                if lose_answer || client.write_all(&back[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Answers in the server's place, and takes nothing more.
async fn refuse(mut client: TcpStream, status: u16) {
    let answer = format!("HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}");
    let _ = client.write_all(answer.as_bytes()).await;
    // What is left unread would reset the connection, and the answer could be lost with it.
    let _ = client.shutdown().await;
    let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
