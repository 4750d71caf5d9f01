//! An SMTP relay that misbehaves on demand: the recipient's name says how.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

#[derive(Clone)]
pub(super) struct Mail {
    pub(super) to: String,
    pub(super) content: String,
}

struct State {
    greeting: Mutex<&'static str>,
    login: Mutex<&'static str>,
    recipients: Mutex<Vec<String>>,
    mails: Mutex<Vec<Mail>>,
    bare: Mutex<bool>,
    released: Mutex<bool>,
    release: Notify,
}

pub(super) struct Double {
    port: u16,
    state: Arc<State>,
    open: JoinSet<()>,
}

impl Double {
    pub(super) async fn up() -> Self {
        let state = Arc::new(State {
            greeting: Mutex::new("220 double"),
            login: Mutex::new("235 come in"),
            recipients: Mutex::default(),
            mails: Mutex::default(),
            bare: Mutex::default(),
            released: Mutex::default(),
            release: Notify::new(),
        });
        let mut double = Self { port: 0, state, open: JoinSet::new() };
        double.up_again().await;
        double
    }

    pub(super) async fn up_again(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let state = self.state.clone();
        self.open.spawn(async move {
            let mut dialogues = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                dialogues.spawn(dialogue(stream, state.clone()));
            }
        });
    }

    pub(super) async fn down(&mut self) {
        self.open.shutdown().await;
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
    pub(super) fn greet(&self, line: &'static str) {
        *self.state.greeting.lock() = line;
    }
    pub(super) fn answer_login(&self, line: &'static str) {
        *self.state.login.lock() = line;
    }
    /// Lets go of those who are put on hold, and of all that come later.
    pub(super) fn release(&self) {
        *self.state.released.lock() = true;
        self.state.release.notify_waiters();
    }
    pub(super) fn recipients(&self) -> Vec<String> {
        self.state.recipients.lock().clone()
    }
    pub(super) fn mails(&self) -> Vec<Mail> {
        self.state.mails.lock().clone()
    }
    pub(super) fn saw_bare_line_ends(&self) -> bool {
        *self.state.bare.lock()
    }
}

async fn dialogue(stream: TcpStream, state: Arc<State>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let greeting = *state.greeting.lock();
    say(&mut stream, greeting).await?;
    let mut to = String::new();
    loop {
        let line = line(&mut stream, &state).await?;
        let command = line.get(..4).unwrap_or(&line).to_ascii_uppercase();
        match command.as_str() {
            "EHLO" => say(&mut stream, "250-double\r\n250-8BITMIME\r\n250 AUTH PLAIN").await?,
            "AUTH" => {
                // NUL, name, NUL, password, in base64.
                let login = *state.login.lock();
                say(&mut stream, if line == "AUTH PLAIN AHUAcA==" { login } else { "501 what" }).await?;
            }
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap().to_owned();
                state.recipients.lock().push(to.clone());
                let answer = match to.split('@').next().unwrap() {
                    "reject" => "550 5.1.1 no <such@user.example>",
                    "defer" => "451 4.7.1 later",
                    "break" => return None,
                    "hang" => std::future::pending().await,
                    "hold" => {
                        let released = state.release.notified();
                        if !*state.released.lock() {
                            released.await;
                        }
                        "250 ok"
                    }
                    _ => "250 ok",
                };
                say(&mut stream, answer).await?;
            }
            "DATA" => {
                say(&mut stream, "354 go on").await?;
                let mut content = String::new();
                loop {
                    let line = self::line(&mut stream, &state).await?;
                    if line == "." {
                        break;
                    }
                    content.push_str(line.strip_prefix('.').unwrap_or(&line));
                    content.push_str("\r\n");
                }
                state.mails.lock().push(Mail { to: to.clone(), content });
                if to.starts_with("lost@") {
                    return None;
                }
                say(&mut stream, "250 taken").await?;
            }
            "QUIT" => {
                say(&mut stream, "221 bye").await?;
                // Closing with unread bytes would be a reset.
                let _ = tokio::time::timeout(Duration::from_millis(100), stream.read_u8()).await;
                return None;
            }
            _ => say(&mut stream, "250 ok").await?,
        }
    }
}

async fn say(stream: &mut BufReader<TcpStream>, line: &str) -> Option<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()
}

async fn line(stream: &mut BufReader<TcpStream>, state: &State) -> Option<String> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line).await.ok()? == 0 {
        return None;
    }
    let line = String::from_utf8(line).unwrap();
    match line.strip_suffix("\r\n") {
        Some(line) if !line.contains('\r') => Some(line.to_owned()),
        _ => {
            *state.bare.lock() = true;
            Some(line.trim_end().to_owned())
        }
    }
}
