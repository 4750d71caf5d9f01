//! How a process takes over from the one that runs: its listening sockets, so that nobody is refused, and what it knows of
//! open resets, so that nobody begins anew. They meet at a Unix socket in `upgrade.folder`, which is nobody else's.
//!
//! ```text
//! heir                               former
//!  │ hello ───────────────────────────▶│ goes on serving
//!  │◀─ sockets, sealed names, systemd ─│
//!  │ starts                            │
//!  │ take: where steps are to be sent ▶│ holds steps back, waits for those that run
//!  │◀──────────────── sealed estate ───│
//!  │ serving ─────────────────────────▶│ sends steps there from now on
//!  │◀──────────────────────── yours ───│ accepts nobody any more, and drains
//! ```
//!
//! Until the last line the former can go on as if nothing had been, and does if the heir fails or takes too long.

use std::{
    fs::{self, DirBuilder},
    io::{self, ErrorKind, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::SocketAddr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{UnixListener, UnixStream},
    sync::watch,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use crate::{
    config::{Address, At},
    listen::{self, Listener, SocketFile},
    proxy::Steps,
};

/// The first word; another protocol will have another.
const HELLO: &[u8] = b"resetgate upgrade 1";
const TAKE: &[u8] = b"take ";
const SERVING: &[u8] = b"serving";
const YOURS: &[u8] = b"yours";

/// Sockets that one message may carry; fewer than the kernel's limit.
const MAX_SOCKETS: usize = 64;
/// Bytes of a message that is no estate.
const MAX_WORDS: usize = 64 << 10;
/// Bytes of an estate.
const MAX_ESTATE: usize = 1 << 30;

/// How long the other may take for a word.
const A_WORD: Duration = Duration::from_secs(10);
/// How long it may take to start.
const A_START: Duration = Duration::from_secs(30);
/// How long steps that run are waited for: longer than a store may take.
const RUNNING: Duration = Duration::from_secs(15);

/// What one process has that the next goes on with. Both texts are sealed.
#[async_trait]
pub trait Legacy: Send + Sync {
    /// By which names it knows accounts and clients. `None` if sealing fails.
    fn names(&self) -> Option<Vec<u8>>;
    /// Everything, the names included. Nothing may be at work. `None` if sealing fails.
    fn estate(&self) -> Option<Vec<u8>>;
    /// Goes on with it.
    async fn go_on(&self, estate: &[u8]);
}

/// Why nothing is taken over, or could be.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// There is no folder to meet in.
    #[error("--upgrade needs upgrade.folder, in the configuration of the process that runs as well")]
    NoFolder,
    /// It cannot be used.
    #[error("upgrade.folder {}: {source}", .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can be used by others.
    #[error("upgrade.folder {} must be this user's alone: chmod 700", .0.display())]
    Shared(PathBuf),
    /// A process listens there.
    #[error("a process runs by upgrade.folder {} already: take over from it with --upgrade", .0.display())]
    Taken(PathBuf),
    /// Nobody listens there.
    #[error("no process to take over from at upgrade.folder {}: {source}", .folder.display())]
    Nobody {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The two did not come to terms.
    #[error("the process that runs did not hand over ({0}); it goes on")]
    Broken(#[from] io::Error),
}

/// What the admin listener's socket is called.
pub(super) fn admin(address: SocketAddr) -> String {
    format!("admin:{address}")
}

/// The socket in it.
fn meeting(folder: &Path) -> PathBuf {
    folder.join("upgrade.sock")
}

/// Makes sure that there is such a folder, and that nobody else can enter it.
fn prepare(folder: &Path) -> Result<(), HandoverError> {
    let failed = |source| HandoverError::Folder { folder: folder.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let found = fs::metadata(folder).map_err(failed)?;
    if found.mode() & 0o077 != 0 || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(HandoverError::Shared(folder.to_owned()));
    }
    Ok(())
}

/// The process that takes over.
pub struct Heir {
    stream: UnixStream,
    /// Each by its address.
    sockets: Vec<(String, OwnedFd)>,
    names: Vec<u8>,
    /// Who looks after the former.
    supervision: String,
}

impl Heir {
    /// Asks the process that runs for its sockets. It goes on serving.
    ///
    /// # Errors
    /// [`HandoverError`]; the process that runs goes on.
    pub async fn meet(folder: Option<&Path>) -> Result<Self, HandoverError> {
        let folder = folder.ok_or(HandoverError::NoFolder)?;
        prepare(folder)?;
        let stream = UnixStream::connect(meeting(folder)).await;
        let mut stream = stream.map_err(|source| HandoverError::Nobody { folder: folder.to_owned(), source })?;
        let asked = async {
            say(&mut stream, HELLO).await?;
            let fds = receive_sockets(&stream).await?;
            let addresses = hear(&mut stream, MAX_WORDS).await?;
            let addresses: Vec<String> = serde_json::from_slice(&addresses)?;
            let names = hear(&mut stream, MAX_WORDS).await?;
            let supervision = String::from_utf8_lossy(&hear(&mut stream, MAX_WORDS).await?).into_owned();
            if addresses.len() != fds.len() {
                return Err(io::Error::from(ErrorKind::InvalidData));
            }
            Ok((addresses.into_iter().zip(fds).collect(), names, supervision))
        };
        let (sockets, names, supervision) = within(A_WORD, asked).await?;
        Ok(Self { stream, sockets, names, supervision })
    }

    /// By which names the former knows accounts and clients, sealed.
    pub fn names(&self) -> &[u8] {
        &self.names
    }

    /// Who looks after the former, as [`Supervisor::inherit`](crate::supervisor::Supervisor::inherit) takes it.
    pub(super) fn supervision(&self) -> &str {
        &self.supervision
    }

    /// The sockets of that address in the configuration, once: one, or as many as systemd gave.
    pub(super) fn sockets(&mut self, address: &Address) -> Vec<OwnedFd> {
        let most = if matches!(address.at, At::Systemd(_)) { MAX_SOCKETS } else { 1 };
        std::iter::from_fn(|| self.take_one(&address.to_string())).take(most).collect()
    }

    /// The admin listener's socket.
    pub(super) fn admin(&mut self, address: SocketAddr) -> Option<OwnedFd> {
        self.take_one(&admin(address))
    }

    /// Port 0 is any.
    fn take_one(&mut self, wanted: &str) -> Option<OwnedFd> {
        let any = wanted.strip_suffix(":0");
        let is_it = |(known, _): &(String, OwnedFd)| {
            known == wanted || any.is_some_and(|any| known.rsplit_once(':').is_some_and(|(known, _)| known == any))
        };
        let at = self.sockets.iter().position(is_it)?;
        Some(self.sockets.remove(at).1)
    }

    /// Takes what the former knows. From now on it holds steps back; they are to be sent to that socket.
    pub(super) async fn take(&mut self, steps: &Path) -> Result<Vec<u8>, HandoverError> {
        let taken = async {
            say(&mut self.stream, &[TAKE, steps.as_os_str().as_encoded_bytes()].concat()).await?;
            hear(&mut self.stream, MAX_ESTATE).await
        };
        Ok(within(RUNNING + A_WORD, taken).await?)
    }

    /// To be called when everything is there but to accept. Then the former accepts nobody any more.
    pub(super) async fn serve(mut self) -> Result<(), HandoverError> {
        let agreed = async {
            say(&mut self.stream, SERVING).await?;
            expect(&hear(&mut self.stream, MAX_WORDS).await?, YOURS)
        };
        Ok(within(A_WORD, agreed).await?)
    }
}

/// Takes all that the former knows, and with it the right to accept. What is returned is where the former sends the steps
/// that still come to it.
pub(super) async fn take_over(mut heir: Heir, folder: &Path, legacy: &dyn Legacy) -> Result<Listener, HandoverError> {
    let steps = folder.join(format!("steps-{}.sock", std::process::id()));
    let (socket, file) = listen::bind_private(&steps)?;
    let listener = Listener::of_former(socket, file)?;
    let estate = heir.take(&steps).await?;
    legacy.go_on(&estate).await;
    heir.serve().await?;
    Ok(listener)
}

/// Where a process waits for its heir.
pub(super) struct Offer {
    listener: UnixListener,
    _file: SocketFile,
    estate: Estate,
}

/// What an offer is made of.
pub(super) struct Estate {
    /// Each by its address.
    pub(super) sockets: Vec<(String, OwnedFd)>,
    pub(super) legacy: Arc<dyn Legacy>,
    /// Told who runs steps.
    pub(super) steps: watch::Sender<Steps>,
    /// Those that run.
    pub(super) submits: TaskTracker,
    /// Who looks after this process, and will after the next.
    pub(super) supervision: String,
}

/// A process that has taken over.
pub(super) struct Successor {
    /// Its number, where the system says it.
    pub(super) id: Option<u32>,
}

impl Offer {
    /// Waits in that folder from now on; in the place of the process that it took over from, where `heir`.
    pub(super) async fn open(folder: &Path, heir: bool, estate: Estate) -> Result<Self, HandoverError> {
        prepare(folder)?;
        let path = meeting(folder);
        if !heir && UnixStream::connect(&path).await.is_ok() {
            return Err(HandoverError::Taken(folder.to_owned()));
        }
        let bound = listen::bind_private(&path).and_then(|(socket, file)| Ok((UnixListener::from_std(socket)?, file)));
        let (listener, file) = bound.map_err(|source| HandoverError::Folder { folder: folder.to_owned(), source })?;
        Ok(Self { listener, _file: file, estate })
    }

    /// Resolves when an heir has taken over.
    pub(super) async fn taken(&self) -> Successor {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            tracing::info!("another process asks to take over");
            match self.hand_over(stream).await {
                Ok(successor) => return successor,
                Err(error) => {
                    self.estate.steps.send_replace(Steps::Here);
                    tracing::warn!(%error, "it did not take over");
                }
            }
        }
    }

    async fn hand_over(&self, mut stream: UnixStream) -> io::Result<Successor> {
        let credentials = stream.peer_cred()?;
        let (peer, id) = (credentials.uid(), credentials.pid().and_then(|id| id.try_into().ok()));
        if peer != rustix::process::geteuid().as_raw() && peer != 0 {
            return Err(ErrorKind::PermissionDenied.into());
        }
        within(A_WORD, async {
            expect(&hear(&mut stream, MAX_WORDS).await?, HELLO)?;
            let (addresses, fds): (Vec<_>, Vec<_>) =
                self.estate.sockets.iter().map(|(address, fd)| (address, fd.as_fd())).unzip();
            send_sockets(&stream, &fds).await?;
            say(&mut stream, &serde_json::to_vec(&addresses)?).await?;
            say(&mut stream, &self.estate.legacy.names().ok_or(ErrorKind::Other)?).await?;
            say(&mut stream, self.estate.supervision.as_bytes()).await
        })
        .await?;
        let take = within(A_START, hear(&mut stream, MAX_WORDS)).await?;
        let path = take.strip_prefix(TAKE).and_then(|path| std::str::from_utf8(path).ok());
        let path: Arc<Path> = Path::new(path.ok_or(ErrorKind::InvalidData)?).into();
        self.estate.steps.send_replace(Steps::Held);
        self.estate.submits.close();
        // What runs for longer keeps its lease: its password is the only one that may be tried again.
        let _ = timeout(RUNNING, self.estate.submits.wait()).await;
        self.estate.submits.reopen();
        within(A_WORD, async {
            say(&mut stream, &self.estate.legacy.estate().ok_or(ErrorKind::Other)?).await?;
            expect(&hear(&mut stream, MAX_WORDS).await?, SERVING)?;
            say(&mut stream, YOURS).await
        })
        .await?;
        self.estate.steps.send_replace(Steps::There(path));
        Ok(Successor { id })
    }
}

async fn within<T>(time: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, work).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

fn expect(word: &[u8], wanted: &[u8]) -> io::Result<()> {
    if word == wanted { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

async fn say(stream: &mut UnixStream, words: &[u8]) -> io::Result<()> {
    let length = u32::try_from(words.len()).map_err(|_| ErrorKind::FileTooLarge)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(words).await
}

async fn hear(stream: &mut UnixStream, most: usize) -> io::Result<Vec<u8>> {
    let length = usize::try_from(stream.read_u32().await?).map_err(|_| ErrorKind::FileTooLarge)?;
    if length > most {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let mut words = vec![0; length];
    stream.read_exact(&mut words).await?;
    Ok(words)
}

/// With one byte, which says how many.
async fn send_sockets(stream: &UnixStream, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let count = [u8::try_from(fds.len()).map_err(|_| ErrorKind::InvalidInput)?];
    stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(ErrorKind::InvalidInput.into());
            }
            sendmsg(stream, &[IoSlice::new(&count)], &mut control, SendFlags::NOSIGNAL)?;
            Ok(())
        })
        .await
}

async fn receive_sockets(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    stream
        .async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut count = [0];
            let heard = recvmsg(stream, &mut [IoSliceMut::new(&mut count)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            let rights = |message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            };
            let fds: Vec<OwnedFd> = control.drain().filter_map(rights).flatten().collect();
            let complete = heard.bytes == 1 && count.first().is_some_and(|count| usize::from(*count) == fds.len());
            if complete { Ok(fds) } else { Err(ErrorKind::InvalidData.into()) }
        })
        .await
}
