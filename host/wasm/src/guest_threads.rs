//! The threads on which guests run, and the order in which they get there.
//!
//! Guests compute, so they run on threads of their own: sockets, probes, static responses and `/v2` never wait for one.
//! Functions share these threads by start-time fair queueing: the function that has used the least time runs next. A
//! guest gives its thread up at each epoch tick, so a function waits for one tick, however many guests others have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_task::{Runnable, Task};

/// Threads that run the guests of all functions. They end when the last clone and the last [`GuestLane`] are gone.
#[derive(Clone)]
pub struct GuestThreads(Arc<Owner>);

/// One function's access to the threads. Lanes of the same name share one account of used time.
#[derive(Clone)]
pub(super) struct GuestLane {
    owner: Arc<Owner>,
    lane: usize,
}

/// Closes the pool when it is dropped.
struct Owner(Arc<Pool>);

#[derive(Default)]
struct Pool {
    schedule: Mutex<Schedule>,
    work: Condvar,
}

/// Which guests are ready to run, in the order in which they will.
#[derive(Default)]
struct Schedule {
    lanes: Vec<Lane>,
    by_name: BTreeMap<Arc<str>, usize>,
    /// The lanes that have ready guests, by the time that they have used.
    order: BTreeSet<(Duration, usize)>,
    /// The used time of the lane that ran last. A lane that was idle starts here, so that it has saved up nothing.
    clock: Duration,
    idle_threads: usize,
    is_closed: bool,
}

#[derive(Default)]
struct Lane {
    used: Duration,
    ready: VecDeque<Runnable>,
}

impl GuestThreads {
    /// Starts `threads` threads, on which the timers of the current tokio runtime work.
    ///
    /// # Errors
    ///
    /// A thread can't be spawned.
    pub fn start(threads: usize) -> std::io::Result<GuestThreads> {
        let pool = Arc::new(Pool::default());
        let runtime = tokio::runtime::Handle::current();
        for _ in 0..threads {
            let (pool, runtime) = (pool.clone(), runtime.clone());
            std::thread::Builder::new().name("guest".to_owned()).spawn(move || {
                let _entered = runtime.enter();
                pool.run_guests();
            })?;
        }
        Ok(GuestThreads(Arc::new(Owner(pool))))
    }

    /// The lane of the function `name`.
    pub(super) fn lane(&self, name: &Arc<str>) -> GuestLane {
        let Schedule { lanes, by_name, .. } = &mut *self.0.0.lock();
        let lane = *by_name.entry(name.clone()).or_insert_with(|| {
            lanes.push(Lane::default());
            lanes.len() - 1
        });
        GuestLane { owner: self.0.clone(), lane }
    }
}

impl GuestLane {
    /// Runs `guest` on the threads. Dropping the task ends the guest the next time that it yields.
    pub(super) fn spawn(&self, guest: impl Future<Output = ()> + Send + 'static) -> Task<()> {
        let (pool, lane) = (self.owner.0.clone(), self.lane);
        let (runnable, task) = async_task::spawn(guest, move |runnable| pool.push(lane, runnable));
        runnable.schedule();
        task
    }
}

impl Pool {
    /// Runs ready guests until the pool is closed and none is ready.
    fn run_guests(&self) {
        let mut schedule = self.lock();
        loop {
            if let Some((lane, runnable)) = schedule.pop() {
                drop(schedule);
                let started = Instant::now();
                if catch_unwind(AssertUnwindSafe(|| runnable.run())).is_err() {
                    tracing::error!("a host call of a guest panicked; the guest was ended");
                }
                schedule = self.lock();
                schedule.charge(lane, started.elapsed());
            } else if schedule.is_closed {
                return;
            } else {
                schedule.idle_threads += 1;
                schedule = self.work.wait(schedule).unwrap_or_else(PoisonError::into_inner);
                schedule.idle_threads -= 1;
            }
        }
    }

    fn push(&self, lane: usize, runnable: Runnable) {
        let mut schedule = self.lock();
        schedule.push(lane, runnable);
        let wakes = schedule.idle_threads > 0;
        drop(schedule);
        if wakes {
            self.work.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Schedule {
    fn push(&mut self, lane: usize, runnable: Runnable) {
        let Lane { used, ready } = &mut self.lanes[lane];
        if ready.is_empty() {
            *used = self.clock.max(*used);
            self.order.insert((*used, lane));
        }
        ready.push_back(runnable);
    }

    /// The guest that has waited longest of the lane that has used the least.
    fn pop(&mut self) -> Option<(usize, Runnable)> {
        let &(used, lane) = self.order.first()?;
        let ready = &mut self.lanes[lane].ready;
        let runnable = ready.pop_front()?;
        if ready.is_empty() {
            self.order.pop_first();
        }
        self.clock = self.clock.max(used);
        Some((lane, runnable))
    }

    /// Adds `time` to what a lane has used.
    fn charge(&mut self, lane: usize, time: Duration) {
        let Lane { used, ready } = &mut self.lanes[lane];
        let before = *used;
        *used += time;
        if !ready.is_empty() {
            self.order.remove(&(before, lane));
            self.order.insert((*used, lane));
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.work.notify_all();
    }
}

#[cfg(test)]
mod tests;
