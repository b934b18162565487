use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::*;

const TICK: Duration = Duration::from_millis(10);

fn schedule(lanes: usize) -> Schedule {
    let lanes = std::iter::repeat_with(Lane::default).take(lanes).collect();
    Schedule { lanes, ..Schedule::default() }
}

/// A guest that is never polled.
fn runnable() -> Runnable {
    let (runnable, task) = async_task::spawn(std::future::pending::<()>(), drop);
    task.detach();
    runnable
}

fn lane_that_runs(schedule: &mut Schedule) -> usize {
    let (lane, runnable) = schedule.pop().unwrap();
    drop(runnable);
    lane
}

#[test]
fn lanes_take_turns_however_many_guests_one_has() {
    let mut schedule = schedule(2);
    (0..16).for_each(|_| schedule.push(0, runnable()));
    (0..4).for_each(|_| schedule.push(1, runnable()));
    let mut turns = Vec::new();
    for _ in 0..8 {
        let lane = lane_that_runs(&mut schedule);
        schedule.charge(lane, TICK);
        turns.push(lane);
    }
    assert_eq!(turns, [0, 1, 0, 1, 0, 1, 0, 1]);
}

#[test]
fn a_lane_that_was_idle_is_next_and_has_saved_up_nothing() {
    let mut schedule = schedule(2);
    (0..200).for_each(|_| schedule.push(0, runnable()));
    for _ in 0..100 {
        assert_eq!(lane_that_runs(&mut schedule), 0);
        schedule.charge(0, TICK);
    }
    (0..10).for_each(|_| schedule.push(1, runnable()));
    let turns: Vec<_> = (0..6)
        .map(|_| {
            let lane = lane_that_runs(&mut schedule);
            schedule.charge(lane, TICK);
            lane
        })
        .collect();
    assert_eq!(turns[0], 1, "the newcomer runs next");
    assert_eq!(turns.iter().filter(|&&lane| lane == 1).count(), 3, "{turns:?}");
}

#[tokio::test]
async fn a_guest_that_panics_or_is_dropped_ends_alone() {
    let threads = GuestThreads::start(1).unwrap();
    let lane = threads.lane(&"f".into());
    lane.spawn(async { panic!("told to") }).detach();
    let ended = Arc::new(AtomicUsize::new(0));
    struct CountsDrop(Arc<AtomicUsize>);
    impl Drop for CountsDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let guard = CountsDrop(ended.clone());
    let waiting = lane.spawn(async move {
        let _guard = guard;
        std::future::pending().await
    });
    drop(waiting);
    let (sender, receiver) = oneshot::channel();
    lane.spawn(async move { sender.send(()).unwrap() }).detach();
    receiver.await.unwrap();
    assert_eq!(ended.load(Ordering::SeqCst), 1);
}
