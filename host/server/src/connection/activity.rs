//! What is open on a connection, and how long it has waited for its client.
//!
//! hyper bounds neither how long a client may leave a response unread nor how long an HTTP/2 connection may be idle,
//! and what it calls the time for a head includes the time between two requests. All of these times are kept here, and
//! end the connection in one place, [`ConnectionActivity::ended`]. Requests that wait for a guest or a model have a
//! deadline of their own and are not timed out here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::limits::ConnectionLimits;
use crate::client_turn::{ClientTurn, WeakTurn};
use crate::tracked_body::{ResponseHandle, TrackedBody};
use modelfn_telemetry::metrics::Closed;

/// A connection whose requests have all waited so long for their client may be closed for a newcomer.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// So may a connection that has been idle for so long. A client that has just connected is about to send its request.
const MIN_IDLE: Duration = Duration::from_millis(100);

/// The open requests and responses of one connection.
pub(crate) struct ConnectionActivity {
    state: Mutex<State>,
    evicted: Notify,
}

struct State {
    is_http2: bool,
    /// Since when no request and no response has been open.
    idle_since: Instant,
    /// Since when the head of a request of HTTP/1 has been arriving. A new connection has its first head to send.
    head_since: Option<Instant>,
    /// Since when bytes have waited for the client to make room for them: the end of a response that hyper has taken.
    write_since: Option<Instant>,
    exchanges: Vec<Exchange>,
    /// The latest request, whose body may still be read after its response.
    latest: WeakTurn,
    /// Whether a response was abandoned, whose stream the client has not ended.
    has_abandoned: bool,
    /// The number of the next exchange.
    next: u64,
    /// Bytes of the heads of requests that have no response yet.
    heads: usize,
}

/// A request, or the response to it.
struct Exchange {
    number: u64,
    step: Step,
}

enum Step {
    Request(ClientTurn),
    Response(ResponseHandle),
}

/// How easily a connection can be spared: the least value is closed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spare {
    /// Nothing is open on it, since this time.
    Idle(Instant),
    /// All that is open waits for the client, since this time at the latest.
    Waiting(Instant),
}

impl ConnectionActivity {
    /// A connection that was accepted just now.
    pub(crate) fn new() -> Arc<ConnectionActivity> {
        let now = Instant::now();
        let state = State {
            is_http2: false,
            idle_since: now,
            head_since: Some(now),
            write_since: None,
            exchanges: Vec::new(),
            latest: WeakTurn::default(),
            has_abandoned: false,
            next: 0,
            heads: 0,
        };
        Arc::new(ConnectionActivity { state: Mutex::new(state), evicted: Notify::new() })
    }

    /// The client has shown that it speaks HTTP/2, whose heads are not told from other frames here.
    pub(super) fn speaks_http2(&self) {
        let mut state = self.lock();
        state.is_http2 = true;
        state.head_since = None;
        state.idle_since = Instant::now();
    }

    /// Bytes have arrived. Between two requests they are the start of a head.
    pub(super) fn received(&self) {
        let mut state = self.lock();
        if !state.is_http2 && state.exchanges.is_empty() && state.latest.is_over() {
            state.head_since.get_or_insert_with(Instant::now);
        }
    }

    /// A write waits for the client to read, or goes on.
    pub(super) fn write_is_pending(&self, is_pending: bool) {
        let mut state = self.lock();
        state.write_since = is_pending.then(Instant::now);
        // Whoever has just read the end of a response is not idle for long.
        state.idle_since = Instant::now();
    }

    /// Whether a request or a response of HTTP/1 is open.
    pub(super) fn is_busy_http1(&self) -> bool {
        let state = self.lock();
        !state.is_http2 && !state.exchanges.is_empty()
    }

    /// Counts a request whose head has `head` bytes for as long as the result lives.
    pub(crate) fn request(self: &Arc<ConnectionActivity>, head: usize) -> OpenExchange {
        let turn = ClientTurn::default();
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.head_since = None;
        state.latest = turn.downgrade();
        state.heads += head;
        state.exchanges.push(Exchange { number, step: Step::Request(turn.clone()) });
        OpenExchange { connection: self.clone(), number, turn, head }
    }

    /// Bytes of the heads of requests that have no response yet.
    pub(crate) fn heads(&self) -> usize {
        self.lock().heads
    }

    /// Resolves when the client has taken longer than `limits` allow, or the connection was evicted. In HTTP/2
    /// responses that the client has left alone for too long are abandoned one by one, and other requests go on.
    pub(crate) async fn ended(&self, limits: ConnectionLimits) -> Closed {
        loop {
            let check_at = match self.check(limits) {
                Ok(check_at) => check_at,
                Err(reason) => return reason,
            };
            tokio::select! {
                () = tokio::time::sleep_until(check_at.into()) => {}
                () = self.evicted.notified() => return Closed::Evicted,
            }
        }
    }

    /// When to check again, or why the connection has to end.
    fn check(&self, limits: ConnectionLimits) -> Result<Instant, Closed> {
        let now = Instant::now();
        let mut state = self.lock();
        let stalled =
            |exchange: &mut Exchange| exchange.response_since().is_some_and(|since| since + limits.stall <= now);
        let abandoned: Vec<_> = state.exchanges.extract_if(.., stalled).collect();
        if !abandoned.is_empty() {
            state.has_abandoned = true;
            state.idle_since = now;
        }
        let is_idle = state.exchanges.is_empty() && state.write_since.is_none();
        let (head_since, idle_since) = (state.head_since, state.idle_since);
        let (is_http2, has_abandoned) = (state.is_http2, state.has_abandoned);
        let oldest = state.exchanges.iter().filter_map(Exchange::response_since).min();
        drop(state);
        for exchange in &abandoned {
            if let Step::Response(response) = &exchange.step {
                response.abandon();
            }
        }
        if !is_http2 && !abandoned.is_empty() {
            return Err(Closed::Stalled);
        }
        // Whatever begins after this check can't end before one of these times has passed.
        let soonest = now + limits.header_timeout.min(limits.stall).min(limits.idle);
        let (due, reason) = match (is_idle, head_since, oldest) {
            (true, Some(head), _) => (head + limits.header_timeout, Closed::SlowHead),
            // hyper still holds the streams that were abandoned.
            (true, None, _) if has_abandoned => (idle_since + limits.idle.min(limits.stall), Closed::Stalled),
            (true, None, _) => (idle_since + limits.idle, Closed::Idle),
            (false, _, Some(oldest)) => (oldest + limits.stall, Closed::Stalled),
            (false, _, None) => (soonest, Closed::Stalled),
        };
        if due <= now { Err(reason) } else { Ok(due.min(soonest)) }
    }

    /// Whether this connection may be closed for another one.
    pub(super) fn spare(&self) -> Option<Spare> {
        let state = self.lock();
        if state.exchanges.is_empty() && state.write_since.is_none() {
            let since = state.head_since.unwrap_or(state.idle_since);
            return (since.elapsed() >= MIN_IDLE).then_some(Spare::Idle(since));
        }
        let since = state.exchanges.iter().map(Exchange::since).collect::<Option<Vec<_>>>()?;
        let latest = since.into_iter().chain(state.write_since).max()?;
        (latest.elapsed() >= MIN_WAIT).then_some(Spare::Waiting(latest))
    }

    /// Ends the connection for another one.
    pub(super) fn evict(&self) {
        self.evicted.notify_one();
    }

    /// Moves everything that has happened into the past.
    #[cfg(test)]
    pub(super) fn age(&self, by: Duration) {
        let mut state = self.lock();
        state.idle_since = state.idle_since.checked_sub(by).unwrap();
        state.head_since = state.head_since.map(|since| since.checked_sub(by).unwrap());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exchange {
    /// Since when it has waited for its client.
    fn since(&self) -> Option<Instant> {
        match &self.step {
            Step::Request(turn) => turn.since(),
            Step::Response(response) => response.turn().since(),
        }
    }

    /// Since when it has waited for its client to read. How long a client may pause within a request's body is
    /// admission's to say.
    fn response_since(&self) -> Option<Instant> {
        match &self.step {
            Step::Request(_) => None,
            Step::Response(response) => response.turn().since(),
        }
    }
}

/// A request or response that is open until this is dropped.
pub(crate) struct OpenExchange {
    connection: Arc<ConnectionActivity>,
    number: u64,
    turn: ClientTurn,
    /// Bytes of the request's head; 0 once there is a response.
    head: usize,
}

impl OpenExchange {
    /// Where the reader of the request's body says that it waits for the client.
    pub(crate) fn turn(&self) -> ClientTurn {
        self.turn.clone()
    }

    /// The response to the request is open from here on.
    pub(crate) fn responded(mut self, body: TrackedBody) -> TrackedBody<OpenExchange> {
        body.watched(|response| {
            let mut state = self.connection.lock();
            state.heads -= std::mem::take(&mut self.head);
            if let Some(exchange) = state.exchanges.iter_mut().find(|exchange| exchange.number == self.number) {
                exchange.step = Step::Response(response);
            }
            drop(state);
            self
        })
    }
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        let mut state = self.connection.lock();
        state.heads -= self.head;
        state.exchanges.retain(|exchange| exchange.number != self.number);
        if state.exchanges.is_empty() {
            state.idle_since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        connections: 1,
        per_address: None,
        header_timeout: Duration::from_secs(10),
        stall: Duration::from_secs(30),
        idle: Duration::from_secs(120),
    };

    #[test]
    fn a_head_has_its_time_and_the_time_between_two_requests_is_another() {
        let activity = ConnectionActivity::new();
        let age = |seconds| activity.age(Duration::from_secs(seconds));
        age(9);
        assert!(activity.check(LIMITS).is_ok());
        age(2);
        assert!(matches!(activity.check(LIMITS), Err(Closed::SlowHead)));
        drop(activity.request(0));
        age(119);
        assert!(activity.check(LIMITS).is_ok(), "idle is not a slow head");
        activity.received();
        assert!(activity.check(LIMITS).is_ok());
        age(11);
        assert!(matches!(activity.check(LIMITS), Err(Closed::SlowHead)));
        drop(activity.request(0));
        age(121);
        assert!(matches!(activity.check(LIMITS), Err(Closed::Idle)));
        activity.speaks_http2();
        activity.received();
        age(119);
        assert!(activity.check(LIMITS).is_ok(), "pings are no heads");
    }

    #[test]
    fn the_rest_of_a_body_is_no_head() {
        let activity = ConnectionActivity::new();
        let request = activity.request(0);
        let drained = request.turn();
        drop(request);
        activity.received();
        activity.age(LIMITS.header_timeout);
        assert!(activity.check(LIMITS).is_ok());
        drop(drained);
        activity.received();
        activity.age(LIMITS.header_timeout);
        assert!(matches!(activity.check(LIMITS), Err(Closed::SlowHead)));
    }

    #[test]
    fn a_connection_is_spared_while_something_computes_on_it() {
        let activity = ConnectionActivity::new();
        assert_eq!(activity.spare(), None, "its client is about to send something");
        activity.age(MIN_IDLE);
        assert!(matches!(activity.spare(), Some(Spare::Idle(_))));
        let request = activity.request(0);
        assert_eq!(activity.spare(), None, "it computes");
        request.turn().begin();
        assert_eq!(activity.spare(), None, "the client has had no time");
        assert!(activity.check(LIMITS).is_ok(), "the time for a body is not the connection's");
        drop(request);
        activity.age(MIN_IDLE);
        assert!(activity.spare() < Some(Spare::Waiting(Instant::now())), "idle ones are closed first");
    }

    #[test]
    fn the_end_of_a_response_that_is_still_written_is_not_idle() {
        let activity = ConnectionActivity::new();
        drop(activity.request(0));
        activity.write_is_pending(true);
        activity.age(LIMITS.idle);
        assert_eq!(activity.spare(), None, "its client may be about to read");
        assert!(activity.check(LIMITS).is_ok(), "the stream bounds the write itself");
        activity.write_is_pending(false);
        assert!(activity.check(LIMITS).is_ok(), "it is idle from here on");
        activity.age(LIMITS.idle);
        assert!(matches!(activity.check(LIMITS), Err(Closed::Idle)));
    }

    #[test]
    fn heads_are_counted_until_there_is_a_response() {
        let activity = ConnectionActivity::new();
        let requests = [activity.request(3), activity.request(4)];
        assert_eq!(activity.heads(), 7);
        drop(requests);
        assert_eq!(activity.heads(), 0);
    }
}
