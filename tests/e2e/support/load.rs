//! Many clients at once that ask without a pause, and judge every answer. They are correct clients and no more: they open
//! a new connection when they are told to, and nothing that goes wrong otherwise is forgiven.

mod dial;
mod http1;
mod http2;
mod tally;
mod walk;

use std::{iter::repeat_with, sync::Arc};

use tokio::{sync::watch, task::JoinSet};

pub(crate) use self::{
    dial::Dial,
    tally::{Report, Tally},
    walk::walkers,
};
use self::{http1::Http1, http2::Http2};
use super::{
    answer::Answer,
    setup::{Around, PATH},
    soon,
};

/// Where they come in, and how many at a time.
pub(crate) struct Crowd {
    /// A client each, on a connection that is kept.
    pub(crate) http1: Vec<(Dial, usize)>,
    /// A connection each.
    pub(crate) http2: Vec<(Dial, usize)>,
    /// Whether some of them reset passwords.
    pub(crate) walk: bool,
}

/// Streams of a connection of HTTP/2: a client each.
const STREAMS: usize = 20;

/// What is asked.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) target: String,
    /// Posted, if there is one.
    pub(crate) body: Option<String>,
    /// Which answers are right.
    pub(crate) right: &'static [u16],
}

impl Ask {
    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self { target: target.into(), body: None, right: &[200] }
    }

    pub(crate) fn post(target: impl Into<String>, body: impl Into<String>) -> Self {
        Self { target: target.into(), body: Some(body.into()), right: &[200] }
    }
}

/// A client that has at most one request at a time.
pub(crate) enum Client {
    Http1(Box<Http1>),
    Http2(Http2),
}

impl Client {
    /// The answer, or none if there is none that is right; then the tally says why.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Option<Answer> {
        match self {
            Self::Http1(client) => client.ask(ask).await,
            Self::Http2(client) => client.ask(ask).await,
        }
    }
}

/// Running clients.
pub(crate) struct Load {
    tally: Arc<Tally>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Load {
    /// Everybody begins.
    pub(crate) fn start(crowd: &Crowd, around: &Arc<Around>) -> Self {
        let (tally, stop, mut clients) = (Arc::new(Tally::default()), watch::Sender::new(false), JoinSet::new());
        let mut all = Vec::new();
        for (dial, count) in &crowd.http1 {
            all.extend((0..*count).map(|_| Client::Http1(Box::new(Http1::new(dial.clone(), &tally)))));
        }
        for (dial, count) in &crowd.http2 {
            for _ in 0..*count {
                all.extend(Http2::connection(dial, &tally, STREAMS).map(Client::Http2));
            }
        }
        let walkers = walkers(around, if crowd.walk { all.len() } else { 0 });
        for (number, (client, walker)) in
            all.into_iter().zip(walkers.into_iter().chain(repeat_with(|| None))).enumerate()
        {
            let (until, tally) = (stop.subscribe(), Arc::clone(&tally));
            match walker {
                Some(walker) => clients.spawn(walker.walk(client, tally, until)),
                None => clients.spawn(browse(number, client, until)),
            };
        }
        Self { tally, stop, clients }
    }

    /// Goes on until so many more requests are answered.
    pub(crate) async fn more(&self, requests: u64) {
        soon("more answers", self.tally.more(requests)).await;
    }

    /// Goes on until so many more passwords are set, each by a whole flow.
    pub(crate) async fn more_walks(&self, walks: u64) {
        soon("more passwords", self.tally.more_walks(walks)).await;
    }

    /// Goes on until so many requests are on their way or answered.
    pub(crate) async fn asked(&self, requests: u64) {
        soon("more requests", self.tally.asked(requests)).await;
    }

    /// How many answers said that they were their connection's last.
    pub(crate) fn told_to_close(&self) -> u64 {
        self.tally.told_to_close()
    }

    /// Everybody ends with what is being asked.
    pub(crate) async fn finish(mut self) -> Report {
        self.stop.send_replace(true);
        while let Some(ended) = soon("the end of a client", self.clients.join_next()).await {
            ended.unwrap();
        }
        self.tally.report()
    }
}

/// Asks for what passes, and for the reset's page now and then. Whoever fails stops.
async fn browse(number: usize, mut client: Client, until: watch::Receiver<bool>) {
    for turn in 0.. {
        if *until.borrow() {
            return;
        }
        let ask = match turn % 10 {
            0 => Ask::get(PATH),
            1 | 2 => Ask { right: &[200, 403], ..Ask::get(format!("/toggled/{number}/{turn}")) },
            3 => Ask::post(format!("/elsewhere/{number}/{turn}"), "x".repeat(3000)),
            _ => Ask::get(format!("/elsewhere/{number}/{turn}?q=1")),
        };
        let Some(answer) = client.ask(&ask).await else { return };
        // Not one of somebody else's.
        if answer.status == 200 && ask.target != PATH {
            let echo = answer.json();
            assert_eq!((echo["target"].as_str(), echo["bodyLength"].as_u64()), {
                (Some(&*ask.target), Some(ask.body.map_or(0, |body| body.len() as u64)))
            });
        }
    }
}
