use std::{
    cell::Cell,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::{
    task::{JoinHandle, yield_now},
    time::advance,
};

use super::*;
use crate::reset::ports::Time;

const HOUR: Duration = Duration::from_secs(3600);

thread_local! {
    static TAKEN: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static IS_BUSY: Cell<bool> = const { Cell::new(true) };
}

/// Of a process that takes all that there is, whenever it is looked at, or nothing.
fn taken() -> Duration {
    if IS_BUSY.get() {
        TAKEN.set(TAKEN.get() + HOUR);
    }
    TAKEN.get()
}

/// Of a process that was as busy in its first span.
async fn admission(busy: bool) -> (Arc<Admission>, JoinHandle<()>) {
    IS_BUSY.set(busy);
    let admission = Arc::new(Admission::of(1, taken, Arc::new(Metrics::new(Time::from_millis(0)).unwrap())));
    advance(SPAN).await;
    admission.has_time_to_spare();
    let watched = Arc::clone(&admission);
    (admission, tokio::spawn(async move { watched.watch().await }))
}

fn all(admission: &Admission) -> Vec<Place<'_>> {
    let place = || match poll_once(admission.admit()) {
        Poll::Ready(place) => place,
        Poll::Pending => panic!("there were not so many places"),
    };
    (0..EACH).map(|_| place()).collect()
}

fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    poll(pin!(future))
}

fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn while_all_are_busy_one_begins_when_another_ends() {
    let (admission, _watch) = admission(true).await;
    let mut under_way = all(&admission);
    let (mut first, mut second) = (pin!(admission.admit()), pin!(admission.admit()));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    under_way.pop();
    assert!(poll(second.as_mut()).is_pending(), "who came first is first");
    let Poll::Ready(place) = poll(first.as_mut()) else { panic!("a place was free") };
    drop(place);
    assert!(poll(second.as_mut()).is_ready());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_while_there_is_time_to_spare() {
    let (admission, _watch) = admission(false).await;
    let _under_way = all(&admission);
    let more: Vec<_> = (0..1000).map(|_| poll_once(admission.admit())).collect();
    assert!(more.iter().all(Poll::is_ready));
}

#[tokio::test(start_paused = true)]
async fn who_waits_when_work_gets_less_begins_with_the_next_span() {
    let (admission, _watch) = admission(true).await;
    let _under_way = all(&admission);
    let others = (0..1000).map(|_| {
        let admission = Arc::clone(&admission);
        tokio::spawn(async move { drop(admission.admit().await) })
    });
    let others: Vec<_> = others.collect();
    yield_now().await;
    IS_BUSY.set(false);
    let began = Instant::now();
    for other in others {
        other.await.unwrap();
    }
    assert!(began.elapsed() <= 2 * SPAN, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_takes_long_holds_up_nobody_for_long() {
    let (admission, _watch) = admission(true).await;
    let under_way = all(&admission);
    let began = Instant::now();
    let next = all_of(&admission, EACH).await;
    assert!(began.elapsed() <= 3 * SPAN, "{:?}", began.elapsed());
    drop(under_way);
    assert!(
        poll_once(admission.admit()).is_pending(),
        "the places of those that took long were given to others already"
    );
    drop(next);
    assert_eq!(admission.places.available_permits(), EACH);
}

#[tokio::test(start_paused = true)]
async fn of_however_many_none_waits_for_ever() {
    let (admission, _watch) = admission(true).await;
    let began = Instant::now();
    let _held = all_of(&admission, 5000).await;
    assert!(began.elapsed() < 10 * SPAN * u32::try_from(SPANS).unwrap(), "{:?}", began.elapsed());
}

/// So many that begin together, none of which ends.
async fn all_of(admission: &Admission, many: usize) -> Vec<Place<'_>> {
    join_all((0..many).map(|_| admission.admit())).await
}

proptest! {
    #[test]
    fn there_are_as_many_places_as_ever(steps in prop::collection::vec((0..3u8, 0..50usize), 0..200)) {
        let mut state = State {
            number: 0,
            since: Instant::now(),
            taken: Duration::ZERO,
            spare: false,
            held: 0,
            before: 0,
            surplus: 0,
        };
        let (mut free, mut places) = (EACH, Vec::new());
        for (what, which) in steps {
            match what {
                0 if free > 0 => {
                    free -= 1;
                    state.held += 1;
                    places.push(state.number);
                }
                1 if !places.is_empty() => free += usize::from(state.ends(places.swap_remove(which % places.len()))),
                2 => {
                    state.number += 1;
                    free += state.next(which);
                }
                _ => {}
            }
            prop_assert_eq!(free + state.held + state.before, EACH + state.surplus);
        }
    }
}
