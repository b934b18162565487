//! Measures how long a guest has kept threads busy.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A future that measures the wall-clock time inside its polls.
///
/// This includes host calls and the time for which the kernel preempts the thread. It excludes waiting, and work that
/// other threads do for the future. The thread's CPU clock would exclude preemption too, but reading it is a system
/// call that takes microseconds on some machines.
pub(super) struct PollTimer<'t, F> {
    future: Pin<&'t mut F>,
    busy: &'t mut Duration,
}

impl<'t, F> PollTimer<'t, F> {
    /// Polls `future`, and adds the time of each poll to `busy`.
    pub(super) fn new(future: Pin<&'t mut F>, busy: &'t mut Duration) -> Self {
        PollTimer { future, busy }
    }
}

impl<F: Future> Future for PollTimer<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let started = Instant::now();
        let polled = self.future.as_mut().poll(cx);
        *self.busy += started.elapsed();
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn computing_counts_and_waiting_does_not() {
        let mut busy = Duration::ZERO;
        let wait = std::pin::pin!(tokio::time::sleep(Duration::from_millis(200)));
        PollTimer::new(wait, &mut busy).await;
        assert!(busy < Duration::from_millis(100), "{busy:?}");
        let compute = std::pin::pin!(async {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(20) {}
        });
        PollTimer::new(compute, &mut busy).await;
        assert!(busy >= Duration::from_millis(20), "{busy:?}");
    }
}
