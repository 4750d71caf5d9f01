//! Upstream, identity store and mail sink, and those who forgot their passwords.
//!
//! Each line on standard input is an order: what to do, the gate's port, how many at a time, and for how many seconds or how
//! often. `flows` are whole resets, for seconds; `open` begins resets, so many; `wrong` shows wrong codes of these, for
//! seconds; `strangers` ask for the reset from addresses of their own, so many. Each answer is a line: how often it was
//! done, in how many microseconds, and the median, 99th and 99.9th percentile of what one took.

use std::{
    collections::HashMap,
    io::{Result, Write, stdin, stdout},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
};

use crate::{upstream, wire::Wire};

/// Tokens that are kept, to show wrong codes with.
const KEPT: usize = 1000;
/// Queries with one first token, which lives five minutes.
const QUERIES: usize = 100;

/// What the clients and the mail sink share.
#[derive(Default)]
struct Town {
    /// Who waits for the code in whose mail.
    awaited: Mutex<HashMap<String, oneshot::Sender<String>>>,
    /// Those of some starts.
    tokens: Mutex<Vec<String>>,
    people: AtomicU64,
    guesses: AtomicU64,
}

/// When it has been done often enough.
#[derive(Clone, Copy)]
enum Until {
    Time(Instant),
    People(u64),
}

impl Until {
    fn over(self, town: &Town) -> bool {
        match self {
            Self::Time(end) => Instant::now() >= end,
            Self::People(count) => town.people.load(Ordering::Relaxed) >= count,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run() {
    let town = Arc::new(Town::default());
    let store = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sink = TcpListener::bind("127.0.0.1:0").await.unwrap();
    crate::tell(&[store.local_addr().unwrap(), sink.local_addr().unwrap()]);
    tokio::spawn(upstream::serve(store));
    tokio::spawn(take_mails(sink, Arc::clone(&town)));
    let line = || stdin().lines().next();
    while let Some(Ok(order)) = tokio::task::spawn_blocking(line).await.unwrap() {
        let words: Vec<&str> = order.split(' ').collect();
        let [what, port, clients, much] = words[..] else { panic!("what is {order}?") };
        let much: u64 = much.parse().unwrap();
        let until = match what {
            "open" | "strangers" => Until::People(town.people.load(Ordering::Relaxed) + much),
            _ => Until::Time(Instant::now() + Duration::from_secs(much)),
        };
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..clients.parse().unwrap() {
            tasks.spawn(client(what.to_owned(), port.parse().unwrap(), until, Arc::clone(&town)));
        }
        let mut took: Vec<Duration> = tasks.join_all().await.into_iter().flat_map(|each| each.unwrap()).collect();
        let all = begun.elapsed().as_micros();
        took.sort_unstable();
        let at = |part: f64| took[(took.len() as f64 * part) as usize].as_micros();
        println!("{} {all} {} {} {}", took.len(), at(0.5), at(0.99), at(0.999));
        stdout().flush().unwrap();
    }
    // Nobody has orders where only an upstream is wanted.
    std::future::pending().await
}

/// What each that it did took.
async fn client(what: String, port: u16, until: Until, town: Arc<Town>) -> Result<Vec<Duration>> {
    let mut gate = Gate(Wire::new(TcpStream::connect(("127.0.0.1", port)).await?)?);
    let (mut took, mut first) = (Vec::new(), String::new());
    while !until.over(&town) {
        let begun = Instant::now();
        match &*what {
            "flows" => {
                let first = gate.first().await?;
                let (token, code, name) = gate.start(&first, &town).await?;
                let proven = gate.step(&token, &format!("{{\"code\":\"{code}\"}}"), 200).await?;
                gate.step(&token_of(&proven), &format!("{{\"password\":\"Fresh-Pass-{name}\"}}"), 200).await?;
            }
            "open" => {
                if took.len().is_multiple_of(QUERIES) {
                    first = gate.first().await?;
                }
                let (token, ..) = gate.start(&first, &town).await?;
                let mut tokens = town.tokens.lock();
                if tokens.len() < KEPT {
                    tokens.push(token);
                } else {
                    let place = town.people.load(Ordering::Relaxed) as usize * 7919 % KEPT;
                    tokens[place] = token;
                }
            }
            "wrong" => {
                let nth = town.guesses.fetch_add(1, Ordering::Relaxed);
                let token = {
                    let tokens = town.tokens.lock();
                    tokens[nth as usize % tokens.len()].clone()
                };
                gate.step(&token, &format!("{{\"code\":\"wrong-{nth}\"}}"), 400).await?;
            }
            "strangers" => {
                let [.., a, b, c, d] = town.people.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                let from = format!("X-Forwarded-For: 2001:{a:x}{b:02x}:{c:x}{d:02x}::1\r\n");
                gate.ask("GET", "", &from, "", 200).await?;
            }
            _ => panic!("what is {what}?"),
        }
        took.push(begun.elapsed());
    }
    Ok(took)
}

/// A client's connection to the gate.
struct Gate(Wire);

impl Gate {
    async fn ask(&mut self, method: &str, query: &str, headers: &str, body: &str, status: u16) -> Result<String> {
        let length = body.len();
        let head = format!(
            "{method} /openidm/selfservice/reset{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\
             Content-Length: {length}\r\n\r\n"
        );
        self.0.send((head + body).as_bytes()).await?;
        let (head, answer) = self.0.message().await?;
        let answer = String::from_utf8(answer).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{body}\n{head}{answer}");
        Ok(answer)
    }

    async fn post(&mut self, body: &str, status: u16) -> Result<String> {
        let json = "Content-Type: application/json\r\n";
        self.ask("POST", "?_action=submitRequirements", json, body, status).await
    }

    async fn step(&mut self, token: &str, input: &str, status: u16) -> Result<String> {
        self.post(&format!("{{\"token\":\"{token}\",\"input\":{input}}}"), status).await
    }

    async fn first(&mut self) -> Result<String> {
        Ok(token_of(&self.post("{\"input\":{}}", 200).await?))
    }

    /// Asks for a mail to somebody who never did: the token to show its code with, the code, and who it was.
    async fn start(&mut self, first: &str, town: &Town) -> Result<(String, String, String)> {
        let name = format!("user-{}", town.people.fetch_add(1, Ordering::Relaxed));
        let (sender, mail) = oneshot::channel();
        town.awaited.lock().insert(name.clone(), sender);
        let query = format!("{{\"queryFilter\":\"userName eq \\\"{name}\\\"\"}}");
        let asked = self.step(first, &query, 200).await?;
        Ok((token_of(&asked), mail.await.unwrap(), name))
    }
}

fn token_of(answer: &str) -> String {
    let token = answer.split_once("\"token\":\"").and_then(|(_, rest)| rest.split_once('"'));
    token.unwrap_or_else(|| panic!("no token: {answer}")).0.to_owned()
}

/// The mail sink: takes whatever it is sent, and hands codes to those who wait for them.
async fn take_mails(listener: TcpListener, town: Arc<Town>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let town = Arc::clone(&town);
        tokio::spawn(async move {
            // A relay's client may go away when its mail is taken.
            let _ = take(Wire::new(stream)?, &town).await;
            Result::Ok(())
        });
    }
}

async fn take(mut wire: Wire, town: &Town) -> Result<()> {
    wire.send(b"220 sink\r\n").await?;
    let mut to = String::new();
    loop {
        let line = wire.until(b"\r\n").await?;
        match line.get(..4).unwrap_or_default() {
            "DATA" => {
                wire.send(b"354 go on\r\n").await?;
                // Quoted-printable, as far as a link needs it.
                let mail = wire.until(b"\r\n.\r\n").await?.replace("=\r\n", "").replace("=3D", "=");
                let code = mail.split_once("code=").map(|(_, rest)| {
                    rest.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))).next().unwrap_or_default()
                });
                if let Some(waiting) = town.awaited.lock().remove(&to) {
                    // Who waited may be gone, where the gate answered otherwise than it should.
                    let _ = waiting.send(code.unwrap_or_else(|| panic!("no code: {mail}")).to_owned());
                }
                wire.send(b"250 taken\r\n").await?;
            }
            "RCPT" => {
                to = line.split(['<', '@']).nth(1).unwrap_or_default().to_owned();
                wire.send(b"250 well\r\n").await?;
            }
            "QUIT" => return wire.send(b"221 bye\r\n").await,
            _ => wire.send(b"250 well\r\n").await?,
        }
    }
}
