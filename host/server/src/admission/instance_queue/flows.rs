//! Components and their clients: what each has of the instances, and who waits. Without clocks and tasks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::queue_wait::QueueWaitEstimator;
use super::shares::{ComponentShare, Reserve};
use super::{Flow, QueueLimits};

/// All flows of a server.
pub(super) struct Flows {
    instances: usize,
    max_waiting: usize,
    reserve: Reserve,
    in_use: usize,
    waiting: usize,
    tickets: u64,
    target: Duration,
    /// When a request was refused last because it would have waited for too long.
    refused_at: Option<Instant>,
    components: BTreeMap<Arc<str>, Component>,
}

#[derive(Default)]
struct Component {
    max_instances: Option<usize>,
    /// False after a reload without it, while requests of it are still there.
    is_served: bool,
    in_use: usize,
    waiting: usize,
    clients: BTreeMap<Option<Arc<str>>, Client>,
}

#[derive(Default)]
struct Client {
    in_use: usize,
    waiting: VecDeque<Waiter>,
    pace: QueueWaitEstimator,
}

struct Waiter {
    ticket: u64,
    since: Instant,
    grant: oneshot::Sender<Result<(), Refusal>>,
}

/// What a waiter is told in place of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// As many wait as may.
    QueueFull,
    /// It has waited for so long, and others are refused meanwhile.
    Stale(Duration),
}

/// How long a request is expected to stay.
pub(super) struct ExpectedWait {
    /// Until it gets an instance.
    pub(super) in_queue: Duration,
    /// Until it has ended.
    pub(super) until_end: Duration,
}

/// A place in the queue, and where the instance will be granted.
pub(super) type Place = (u64, oneshot::Receiver<Result<(), Refusal>>);

impl Flows {
    /// Flows for a queue with these limits, for no components.
    pub(super) fn new(limits: &QueueLimits) -> Self {
        Flows {
            instances: limits.instances,
            max_waiting: limits.waiting,
            target: limits.target,
            reserve: Reserve::of(limits.instances, 1),
            in_use: 0,
            waiting: 0,
            tickets: 0,
            refused_at: None,
            components: BTreeMap::new(),
        }
    }

    /// Records that a request was refused because it would have waited for too long.
    pub(super) fn refused(&mut self, now: Instant) {
        self.refused_at = Some(now);
    }

    /// Serves these components. Requests of others that are there may stay.
    pub(super) fn share_among(&mut self, components: &[ComponentShare]) {
        self.reserve = Reserve::of(self.instances, components.len());
        for component in self.components.values_mut() {
            component.is_served = false;
        }
        for ComponentShare { component, max_instances } in components {
            let known = self.components.entry(component.clone()).or_default();
            (known.is_served, known.max_instances) = (true, *max_instances);
        }
        self.components.retain(|_, component| component.is_served || component.in_use + component.waiting > 0);
        self.grant();
    }

    pub(super) fn free(&self) -> usize {
        self.instances.saturating_sub(self.in_use)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether a request of `flow` would get an instance at once.
    pub(super) fn has_room_for(&self, flow: &Flow) -> bool {
        match self.components.get(&flow.component) {
            Some(component) => component.waiting == 0 && self.may_take(component),
            None => self.free() > 0,
        }
    }

    /// Takes an instance if nobody of the component waits and one is left for it.
    pub(super) fn try_take(&mut self, flow: &Flow) -> bool {
        let takes = self.has_room_for(flow);
        if takes {
            self.take(flow);
        }
        takes
    }

    /// Checks that a request of `flow` could wait.
    ///
    /// # Errors
    ///
    /// As many wait as may, and nobody waits with more than one request more.
    pub(super) fn check_place(&self, flow: &Flow) -> Result<(), Refusal> {
        if self.waiting < self.max_waiting || self.longest_other(flow).is_some() {
            return Ok(());
        }
        Err(Refusal::QueueFull)
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    ///
    /// As [`Flows::check_place`].
    pub(super) fn enqueue(&mut self, flow: &Flow) -> Result<Place, Refusal> {
        if self.waiting >= self.max_waiting {
            let longest = self.longest_other(flow).ok_or(Refusal::QueueFull)?;
            self.refuse_last(&longest);
        }
        self.tickets += 1;
        let (ticket, (grant, granted)) = (self.tickets, oneshot::channel());
        let component = self.components.entry(flow.component.clone()).or_default();
        component.waiting += 1;
        let client = component.clients.entry(flow.client.clone()).or_default();
        client.waiting.push_back(Waiter { ticket, since: Instant::now(), grant });
        self.waiting += 1;
        Ok((ticket, granted))
    }

    /// Gives a place in the queue up.
    pub(super) fn leave(&mut self, flow: &Flow, ticket: u64) {
        let Some(component) = self.components.get_mut(&flow.component) else { return };
        let Some(client) = component.clients.get_mut(&flow.client) else { return };
        let before = client.waiting.len();
        client.waiting.retain(|waiter| waiter.ticket != ticket);
        let left = before - client.waiting.len();
        component.waiting -= left;
        self.waiting -= left;
        self.forget_if_idle(flow);
    }

    /// Gives an instance back, which goes to the next who waits.
    pub(super) fn release(&mut self, flow: &Flow) {
        if let Some(component) = self.components.get_mut(&flow.component) {
            component.in_use = component.in_use.saturating_sub(1);
            if let Some(client) = component.clients.get_mut(&flow.client) {
                client.in_use = client.in_use.saturating_sub(1);
            }
        }
        self.in_use = self.in_use.saturating_sub(1);
        self.forget_if_idle(flow);
        self.grant();
    }

    /// How long a request of `flow` would wait and stay, by the pace at which its client's requests leave the queue. Zero
    /// while that is not known.
    pub(super) fn expected_wait(&self, flow: &Flow, now: Instant) -> ExpectedWait {
        let component = self.components.get(&flow.component);
        let client = component.and_then(|component| component.clients.get(&flow.client));
        let expected = |running: usize| {
            client.map_or(Duration::ZERO, |client| client.pace.estimate(now, client.waiting.len() + running))
        };
        ExpectedWait { in_queue: expected(0), until_end: expected(client.map_or(0, |client| client.in_use)) }
    }

    /// Whether another request of `component` may have an instance.
    fn may_take(&self, component: &Component) -> bool {
        let Reserve { guaranteed, for_newcomers } = self.reserve;
        let free = self.free();
        if free == 0 || component.max_instances.is_some_and(|most| component.in_use >= most) {
            return false;
        }
        if component.in_use < guaranteed || component.in_use == 0 {
            return true;
        }
        let unclaimed = |component: &Component| guaranteed.saturating_sub(component.in_use);
        let claimed_by_others = || {
            let all: usize = self.components.values().filter(|component| component.is_served).map(unclaimed).sum();
            all.saturating_sub(unclaimed(component))
        };
        free > for_newcomers + if guaranteed > 0 { claimed_by_others() } else { 0 }
    }

    fn take(&mut self, flow: &Flow) {
        let component = self.components.entry(flow.component.clone()).or_default();
        component.in_use += 1;
        component.clients.entry(flow.client.clone()).or_default().in_use += 1;
        self.in_use += 1;
    }

    /// Grants free instances to those who wait, as long as somebody may have one. While others are refused, who has waited
    /// for twice the target gives way: its client has had the worst of the wait, and who came later can still be in time.
    fn grant(&mut self) {
        let now = Instant::now();
        let is_overloaded = self.refused_at.is_some_and(|at| now.saturating_duration_since(at) <= self.target);
        while self.waiting > 0
            && let Some(flow) = self.next()
        {
            let Some(component) = self.components.get_mut(&flow.component) else { return };
            let Some(client) = component.clients.get_mut(&flow.client) else { return };
            let Some(waiter) = client.waiting.pop_front() else { return };
            component.waiting -= 1;
            self.waiting -= 1;
            let waited = now.saturating_duration_since(waiter.since);
            if is_overloaded && waited > self.target.saturating_mul(2) {
                let _ = waiter.grant.send(Err(Refusal::Stale(waited)));
                continue;
            }
            client.pace.dequeued(now, client.waiting.len());
            self.take(&flow);
            // Who stops waiting looks for its grant first, with the queue locked, so that none is lost.
            let _ = waiter.grant.send(Ok(()));
        }
    }

    /// Whose turn it is: of the components that wait and may have an instance the one with the fewest, and its client with
    /// the fewest.
    fn next(&self) -> Option<Flow> {
        let waiting = self.components.iter().filter(|(_, component)| component.waiting > 0);
        let able = waiting.filter(|(_, component)| self.may_take(component));
        let (name, component) = able.min_by_key(|(_, component)| component.in_use)?;
        let clients = component.clients.iter().filter(|(_, client)| !client.waiting.is_empty());
        // Of those with equally many, the one who has waited longest.
        let order = |client: &Client| (client.in_use, client.waiting.front().map(|waiter| waiter.ticket));
        let (client, _) = clients.min_by_key(|(_, client)| order(client))?;
        Some(Flow { component: name.clone(), client: client.clone() })
    }

    /// The flow that waits with most requests, if it waits with at least two more than `flow`.
    fn longest_other(&self, flow: &Flow) -> Option<Flow> {
        let own = self.components.get(&flow.component).and_then(|component| component.clients.get(&flow.client));
        let own = own.map_or(0, |client| client.waiting.len());
        let clients = self.components.iter().flat_map(|(name, component)| {
            component.clients.iter().map(move |(client, state)| (state.waiting.len(), name, client))
        });
        let (length, component, client) = clients.max_by_key(|(length, ..)| *length)?;
        (length > own + 1).then(|| Flow { component: component.clone(), client: client.clone() })
    }

    /// Tells the last who waits of `flow` that the queue is full.
    fn refuse_last(&mut self, flow: &Flow) {
        let Some(component) = self.components.get_mut(&flow.component) else { return };
        let Some(waiter) = component.clients.get_mut(&flow.client).and_then(|client| client.waiting.pop_back()) else {
            return;
        };
        component.waiting -= 1;
        self.waiting -= 1;
        let _ = waiter.grant.send(Err(Refusal::QueueFull));
    }

    /// Forgets a client that has and wants nothing, and a component that is served no more.
    fn forget_if_idle(&mut self, flow: &Flow) {
        let Some(component) = self.components.get_mut(&flow.component) else { return };
        if flow.client.is_some()
            && component.clients.get(&flow.client).is_some_and(|client| client.in_use + client.waiting.len() == 0)
        {
            component.clients.remove(&flow.client);
        }
        if !component.is_served && component.in_use + component.waiting == 0 {
            self.components.remove(&flow.component);
        }
    }
}

#[cfg(test)]
mod tests;
