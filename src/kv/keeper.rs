//! The task that has the connection: makes it, looks whether the server is still fit, and makes another one when it is
//! lost.

use std::{collections::hash_map::RandomState, hash::BuildHasher, sync::Arc, time::Duration};

use redis::aio::MultiplexedConnection;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{Accord, Asking, Link, Phase, Shared, Unfit, dial::Dialler, fitness};
use crate::telemetry::log;

/// How often a server in use is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// The first wait for a lost server, which doubles up to the longest one.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Keeps a connection for ever.
pub(super) async fn keep(shared: Arc<Shared>, accord: Arc<dyn Accord>, tell: watch::Sender<Phase>) {
    let mut wait = FIRST;
    let mut said: Option<String> = None;
    loop {
        let dialler = shared.dialler.load_full();
        let why = match timeout(dialler.timeout, connect(&dialler, &shared, &*accord)).await {
            Ok(Ok(link)) => {
                let link = Arc::new(link);
                shared.link.store(Some(Arc::clone(&link)));
                shared.numbers.up(true);
                tell.send_replace(Phase::Up);
                tracing::info!(service = "codes", "connected to the server that codes are on");
                (wait, said) = (FIRST, None);
                let why = watch(&link, &dialler, &shared, &*accord).await;
                shared.link.store(None);
                shared.numbers.up(false);
                why
            }
            Ok(Err(why)) => why,
            Err(_) => Unfit::Slow,
        };
        let text = log::with_causes(&why);
        // Once for each reason: what it is tried for again and again need not be read again and again.
        if said.as_ref() != Some(&text) {
            tracing::error!(
                service = "codes",
                error = text,
                "the server that codes are on is left alone, and resets are refused to everybody"
            );
            said = Some(text);
        }
        tell.send_replace(Phase::Down(Arc::new(why)));
        sleep(jittered(wait)).await;
        wait = (wait * 2).min(LONGEST);
    }
}

async fn connect(dialler: &Dialler, shared: &Shared, accord: &dyn Accord) -> Result<Link, Unfit> {
    let names = format!("{}names", shared.space);
    let (connection, driver) = dialler.dial(&names).await?;
    let broken = Arc::new(Notify::new());
    let ended = Arc::clone(&broken);
    let driver = tokio::spawn(async move {
        driver.await;
        ended.notify_one();
    });
    let link = Link { connection, strikes: 0.into(), broken, _driver: AbortOnDropHandle::new(driver) };
    examine(&link.connection, shared, accord).await?;
    Ok(link)
}

/// Whether the server may be used.
async fn examine(connection: &MultiplexedConnection, shared: &Shared, accord: &dyn Accord) -> Result<(), Unfit> {
    let mut connection = connection.clone();
    fitness::judge(&mut connection).await?;
    accord.reach(&mut Asking { connection, space: Arc::clone(&shared.space) }).await
}

/// Returns when the connection is not to be used any more.
async fn watch(link: &Link, dialler: &Dialler, shared: &Shared, accord: &dyn Accord) -> Unfit {
    loop {
        tokio::select! {
            () = link.broken.notified() => {
                return Unfit::Unreachable(std::io::Error::other("the connection was lost"));
            }
            () = sleep(jittered(LOOK)) => {}
        }
        match timeout(dialler.timeout, examine(&link.connection, shared, accord)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return why,
            Err(_) => return Unfit::Slow,
        }
    }
}

/// Between half of it and all, so that many gates do not come back at once.
fn jittered(span: Duration) -> Duration {
    let drawn = u32::try_from(RandomState::new().hash_one(()) % 501).unwrap_or_default();
    span * (500 + drawn) / 1000
}
