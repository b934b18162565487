//! Who computes: one thread for each instance of a graph, and the bounded queue before them.
//!
//! A graph belongs to its thread, which receives jobs; no lock is held across `compute`. A job whose caller
//! left or whose deadline passed is never started. Nothing here blocks the caller: it awaits a oneshot.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::backend::{ComputeError, Graph};
use super::tensor::Tensors;

/// The handle to a model's engine threads. Dropping the last one ends them.
pub struct Workers {
    queue: Arc<Queue>,
}

/// The answer to one job, and what it took.
#[derive(Debug)]
pub struct Computed {
    /// In the signature's order.
    pub outputs: Tensors,
    /// From `compute` being called to an engine thread taking the job.
    pub queued: Duration,
    /// In the engine.
    pub computing: Duration,
}

/// Why a job has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The queue is full: come back later.
    #[error("{0} computations are waiting already, which is this model's queue_size")]
    Overloaded(usize),
    /// The deadline passed before the engine was done.
    #[error("the deadline passed after {0:?}")]
    Deadline(Duration),
    /// The engine failed.
    #[error(transparent)]
    Engine(ComputeError),
}

struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    size: usize,
}

struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

struct Job {
    inputs: Tensors,
    submitted: Instant,
    deadline: Instant,
    reply: oneshot::Sender<Result<Computed, ComputeError>>,
}

impl Workers {
    /// Starts a thread for each of `graphs`, all taking from one queue of `queue_size` places.
    pub fn start(model: &str, graphs: Vec<Box<dyn Graph>>, queue_size: usize) -> std::io::Result<Workers> {
        let state = Mutex::new(State { jobs: VecDeque::new(), closed: false });
        let workers = Workers { queue: Arc::new(Queue { state, arrived: Condvar::new(), size: queue_size }) };
        for (n, graph) in graphs.into_iter().enumerate() {
            let queue = workers.queue.clone();
            std::thread::Builder::new().name(format!("nn-{model}-{n}")).spawn(move || work(&queue, graph))?;
        }
        Ok(workers)
    }

    /// Computes `inputs`, which must fit the graph's signature. Dropping the future cancels a job that has not
    /// been started.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn compute(&self, inputs: Tensors, deadline: Instant) -> Result<Computed, Failure> {
        let submitted = Instant::now();
        let (reply, answer) = oneshot::channel();
        self.queue.push(Job { inputs, submitted, deadline, reply })?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(result)) => result.map_err(Failure::Engine),
            // A worker drops a job unanswered only when it found the deadline passed.
            Ok(Err(_)) | Err(_) => Err(Failure::Deadline(submitted.elapsed())),
        }
    }

    /// Jobs that wait for an engine thread.
    pub fn waiting(&self) -> usize {
        self.queue.lock().jobs.len()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.arrived.notify_all();
    }
}

impl Queue {
    fn push(&self, job: Job) -> Result<(), Failure> {
        let mut state = self.lock();
        if state.jobs.len() >= self.size {
            state.jobs.retain(Job::is_wanted);
        }
        if state.jobs.len() >= self.size {
            return Err(Failure::Overloaded(self.size));
        }
        state.jobs.push_back(job);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next job that somebody still waits for; `None` when the queue is closed.
    fn pop(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            match state.jobs.pop_front() {
                Some(job) if job.is_wanted() => return Some(job),
                Some(_) => {}
                None => state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed() && self.deadline > Instant::now()
    }
}

fn work(queue: &Queue, mut graph: Box<dyn Graph>) {
    while let Some(job) = queue.pop() {
        let started = Instant::now();
        let result = compute(graph.as_mut(), &job.inputs).map(|outputs| Computed {
            outputs,
            queued: started - job.submitted,
            computing: started.elapsed(),
        });
        // The caller may have left meanwhile; then nobody is to be told.
        let _ = job.reply.send(result);
    }
}

/// One engine call. A panic in an engine is that job's failure, not the thread's end.
fn compute(graph: &mut dyn Graph, inputs: &Tensors) -> Result<Tensors, ComputeError> {
    catch_unwind(AssertUnwindSafe(|| graph.compute(inputs)))
        .unwrap_or_else(|_| Err(ComputeError("the engine panicked; its message is in the log".to_owned())))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::nn::backend::{Backend, LoadOptions, fake::Fake};
    use crate::nn::tensor::{DType, Signature, Tensor};

    /// A graph that says when a run starts and waits to be let go.
    struct Gated {
        inner: Box<dyn Graph>,
        started: mpsc::Sender<()>,
        go: mpsc::Receiver<()>,
    }

    impl Graph for Gated {
        fn signature(&self) -> &Signature {
            self.inner.signature()
        }
        fn compute(&mut self, inputs: &Tensors) -> Result<Tensors, ComputeError> {
            self.started.send(()).unwrap();
            self.go.recv().unwrap();
            self.inner.compute(inputs)
        }
    }

    fn fake(compute: &str) -> Box<dyn Graph> {
        let spec = r#"[{ name = "x", dtype = "U8", shape = [-1] }]"#;
        let file = format!("compute = \"{compute}\"\ninputs = {spec}\noutputs = {spec}");
        let threads = std::num::NonZeroUsize::MIN;
        Fake.load(file.as_bytes(), &LoadOptions { target: Default::default(), threads }).unwrap()
    }

    fn input(n: u8) -> Tensors {
        vec![("x".to_owned(), Tensor::new(DType::U8, vec![1], vec![n].into()).unwrap())]
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn gated() -> (Box<dyn Graph>, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (started, on_start) = mpsc::channel();
        let (let_go, go) = mpsc::channel();
        (Box::new(Gated { inner: fake("echo"), started, go }), on_start, let_go)
    }

    #[tokio::test]
    async fn each_caller_gets_its_own_answer() {
        let workers = Arc::new(Workers::start("m", vec![fake("echo"), fake("echo")], 64).unwrap());
        let tasks: Vec<_> = (0..50)
            .map(|n| {
                let workers = workers.clone();
                tokio::spawn(async move { (n, workers.compute(input(n), far()).await.unwrap().outputs) })
            })
            .collect();
        for task in tasks {
            let (n, outputs) = task.await.unwrap();
            assert_eq!(outputs, input(n));
        }
    }

    #[tokio::test]
    async fn a_full_queue_sheds_and_a_caller_who_left_makes_room() {
        let (graph, on_start, let_go) = gated();
        let workers = Arc::new(Workers::start("m", vec![graph], 1).unwrap());
        let submit = |n| {
            let workers = workers.clone();
            tokio::spawn(async move { workers.compute(input(n), far()).await })
        };
        let running = submit(1);
        tokio::task::yield_now().await;
        on_start.recv().unwrap();
        let waiting = submit(2);
        tokio::task::yield_now().await;
        assert_eq!(workers.waiting(), 1);
        assert!(matches!(workers.compute(input(3), far()).await, Err(Failure::Overloaded(1))));

        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        let next = submit(4);
        tokio::task::yield_now().await;
        let_go.send(()).unwrap();
        let_go.send(()).unwrap();
        assert_eq!(running.await.unwrap().unwrap().outputs, input(1));
        assert_eq!(next.await.unwrap().unwrap().outputs, input(4));
        assert_eq!(on_start.iter().take(1).count(), 1, "the abandoned job must never reach the engine");
    }

    #[tokio::test]
    async fn a_deadline_ends_the_wait_and_expired_work_is_not_started() {
        let (graph, on_start, let_go) = gated();
        let workers = Workers::start("m", vec![graph], 8).unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(matches!(workers.compute(input(1), soon).await, Err(Failure::Deadline(_))));
        assert!(matches!(workers.compute(input(2), Instant::now()).await, Err(Failure::Deadline(_))));
        let_go.send(()).unwrap();
        let_go.send(()).unwrap();
        assert_eq!(workers.compute(input(3), far()).await.unwrap().outputs, input(3));
        drop(workers);
        assert_eq!(on_start.iter().count(), 2, "the second job had expired");
    }

    #[tokio::test]
    async fn an_engine_that_fails_or_panics_goes_on_with_the_next_job() {
        for (compute, says) in [("fail", "told to fail"), ("panic", "panicked")] {
            let workers = Workers::start("m", vec![fake(compute)], 8).unwrap();
            workers.compute(input(0), far()).await.unwrap();
            for _ in 0..2 {
                let error = workers.compute(input(1), far()).await.unwrap_err();
                assert!(error.to_string().contains(says), "{error}");
            }
        }
    }
}
