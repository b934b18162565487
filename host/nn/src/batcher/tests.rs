use std::sync::mpsc;

use super::*;
use crate::backend::{Backend, Canceller, ComputeError, GraphBytes, LoadOptions, fake::Fake};
use crate::tensor::{DType, Signature, Tensor};

/// A graph in which something else happens before each run, which may fail.
struct Hooked<F> {
    inner: Box<dyn Graph>,
    before: F,
}

impl<F: FnMut(&Tensors) -> Result<(), ComputeError> + Send> Graph for Hooked<F> {
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }
    fn share(&self) -> Box<dyn Graph> {
        self.inner.share()
    }
    fn canceller(&self) -> Arc<dyn Canceller> {
        self.inner.canceller()
    }
    fn compute(&mut self, inputs: &Tensors) -> Result<Tensors, ComputeError> {
        (self.before)(inputs)?;
        self.inner.compute(inputs)
    }
}

fn fake(compute: &str) -> Box<dyn Graph> {
    let spec = r#"[{ name = "x", dtype = "U8", shape = [-1] }]"#;
    let file = format!("compute = \"{compute}\"\ninputs = {spec}\noutputs = {spec}");
    let threads = std::num::NonZeroUsize::MIN;
    let files = GraphBytes { graph: file.as_bytes(), external: &[] };
    Fake.load(files, &LoadOptions { target: Default::default(), threads, outputs: Vec::new() }).unwrap()
}

fn start(graphs: Vec<Box<dyn Graph>>, queue_size: usize) -> Batcher {
    let limits = BatcherLimits { queue_size, max_batch_size: 4, max_queue_delay: Duration::ZERO };
    Batcher::start("m", graphs, limits, Arc::new(|_, _| {})).unwrap()
}

fn input(n: u8) -> Tensors {
    vec![("x".to_owned(), Tensor::new(DType::U8, vec![1], vec![n].into()).unwrap())]
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A graph that signals when a run starts, and waits for a signal to go on.
fn gated() -> (Box<dyn Graph>, mpsc::Receiver<()>, mpsc::Sender<()>) {
    gated_around(fake("echo"))
}

fn gated_around(inner: Box<dyn Graph>) -> (Box<dyn Graph>, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (started, on_start) = mpsc::channel();
    let (let_go, go) = mpsc::channel();
    let before = move |_: &Tensors| {
        started.send(()).unwrap();
        go.recv().unwrap();
        Ok(())
    };
    (Box::new(Hooked { inner, before }), on_start, let_go)
}

#[tokio::test]
async fn each_caller_gets_its_own_outputs() {
    let batcher = Arc::new(start(vec![fake("echo"), fake("echo")], 64));
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let batcher = batcher.clone();
            tokio::spawn(async move { (n, batcher.compute(input(n), far()).await.unwrap().outputs) })
        })
        .collect();
    for task in tasks {
        let (n, outputs) = task.await.unwrap();
        assert_eq!(outputs, input(n));
    }
}

#[tokio::test]
async fn a_full_queue_rejects_and_a_caller_that_left_frees_its_slot() {
    let (graph, on_start, let_go) = gated();
    let batcher = Arc::new(start(vec![graph], 1));
    let submit = |n| {
        let batcher = batcher.clone();
        tokio::spawn(async move { batcher.compute(input(n), far()).await })
    };
    let running = submit(1);
    tokio::task::yield_now().await;
    on_start.recv().unwrap();
    let waiting = submit(2);
    tokio::task::yield_now().await;
    assert_eq!(batcher.queue_len(), 1);
    assert!(matches!(batcher.compute(input(3), far()).await, Err(Failure::Overloaded(1))));

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
    let batcher = start(vec![graph], 8);
    let soon = Instant::now() + Duration::from_millis(20);
    assert!(matches!(batcher.compute(input(1), soon).await, Err(Failure::Deadline(_))));
    assert!(matches!(batcher.compute(input(2), Instant::now()).await, Err(Failure::Deadline(_))));
    let_go.send(()).unwrap();
    let_go.send(()).unwrap();
    assert_eq!(batcher.compute(input(3), far()).await.unwrap().outputs, input(3));
    drop(batcher);
    assert_eq!(on_start.iter().count(), 2, "the second job had expired");
}

#[tokio::test]
async fn an_engine_that_fails_or_panics_goes_on_with_the_next_job() {
    for (compute, says) in [("fail", "told to fail"), ("panic", "panicked")] {
        let batcher = start(vec![fake(compute)], 8);
        batcher.compute(input(0), far()).await.unwrap();
        for _ in 0..2 {
            let error = batcher.compute(input(1), far()).await.unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}

#[tokio::test]
async fn what_queued_while_the_engine_was_busy_is_one_batch_and_each_gets_its_own() {
    let (graph, on_start, let_go) = gated();
    let batcher = Arc::new(start(vec![graph], 16));
    let submit = |n| {
        let batcher = batcher.clone();
        tokio::spawn(async move { batcher.compute(input(n), far()).await })
    };
    let running = submit(0);
    tokio::task::yield_now().await;
    on_start.recv().unwrap();
    let waiting: Vec<_> = (1..=5).map(submit).collect();
    tokio::task::yield_now().await;
    assert_eq!(batcher.queue_len(), 5);
    (0..3).for_each(|_| let_go.send(()).unwrap());
    assert_eq!(running.await.unwrap().unwrap().batch_size, 1);
    for (n, task) in (1..).zip(waiting) {
        let computed = task.await.unwrap().unwrap();
        assert_eq!(computed.outputs, input(n));
        assert_eq!(computed.batch_size, if n <= 4 { 4 } else { 1 });
    }
}

const GUILTY: u8 = 9;

/// A graph that fails with `error` on every input with the byte [`GUILTY`].
fn fails_on_guilty(error: ComputeError) -> Box<dyn Graph> {
    let before = move |inputs: &Tensors| if inputs[0].1.data().contains(&GUILTY) { Err(error.clone()) } else { Ok(()) };
    Box::new(Hooked { inner: fake("echo"), before })
}

#[tokio::test]
async fn only_the_guilty_of_a_failed_batch_fail() {
    for error in [ComputeError::Failed("refused".to_owned()), ComputeError::Crashed("gone".to_owned())] {
        let (graph, on_start, let_go) = gated_around(fails_on_guilty(error));
        let batcher = Arc::new(start(vec![graph], 16));
        let submit = |n| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.compute(input(n), far()).await })
        };
        let first = submit(0);
        tokio::task::yield_now().await;
        on_start.recv().unwrap();
        let together: Vec<_> = [1, GUILTY, 2].map(|n| (n, submit(n))).into();
        tokio::task::yield_now().await;
        (0..5).for_each(|_| let_go.send(()).unwrap());
        first.await.unwrap().unwrap();
        for (n, task) in together {
            match task.await.unwrap() {
                Ok(computed) => assert_eq!((computed.outputs, n == GUILTY), (input(n), false)),
                Err(failure) => assert!(n == GUILTY && matches!(failure, Failure::Engine(_)), "{n}: {failure}"),
            }
        }
        assert_eq!(on_start.iter().take(4).count(), 4, "one call for all three, then one for each");
    }
}

#[tokio::test]
async fn a_computation_that_nobody_waits_for_is_cancelled() {
    let batcher = Arc::new(start(vec![fake("spin")], 8));
    batcher.compute(input(1), far()).await.unwrap();
    let abandoned = batcher.clone();
    let abandoned = tokio::spawn(async move { abandoned.compute(input(0), far()).await });
    tokio::task::yield_now().await;
    abandoned.abort();
    assert!(abandoned.await.unwrap_err().is_cancelled());
    let soon = Instant::now() + Duration::from_millis(5);
    assert!(matches!(batcher.compute(input(0), soon).await, Err(Failure::Deadline(_))));
    assert_eq!(batcher.compute(input(3), far()).await.unwrap().outputs, input(3), "the only thread is free again");
}
