//! The connections that are open, and which of them makes room for a newcomer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::activity::ConnectionActivity;
use super::limits::ConnectionLimits;

/// How often a newcomer looks for a connection that can be spared, when all of them were busy.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The connections of one listener.
pub(crate) struct OpenConnections {
    most: usize,
    most_per_address: usize,
    open: Mutex<Table>,
    freed: Notify,
}

#[derive(Default)]
struct Table {
    connections: HashMap<u64, Connection>,
    /// The number of the next connection.
    next: u64,
}

struct Connection {
    address: IpAddr,
    activity: Arc<ConnectionActivity>,
}

/// A connection that counts as open until this is dropped.
pub(crate) struct ConnectionSlot {
    connections: Arc<OpenConnections>,
    number: u64,
}

/// The address has as many connections open as it may have, and all of them are busy.
#[derive(Debug)]
pub(crate) struct AddressFull;

impl OpenConnections {
    /// A table without connections.
    pub(crate) fn new(limits: ConnectionLimits) -> Arc<OpenConnections> {
        Arc::new(OpenConnections {
            most: limits.connections,
            most_per_address: limits.per_address.map_or(usize::MAX, Into::into),
            open: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Connections that are open.
    pub(crate) fn len(&self) -> usize {
        self.lock().connections.len()
    }

    /// Counts a newcomer. If there are as many connections as may be, the one that can be spared best is closed; if none
    /// can, the newcomer waits.
    ///
    /// # Errors
    ///
    /// The newcomer's address may have no more connections.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        activity: &Arc<ConnectionActivity>,
    ) -> Result<ConnectionSlot, AddressFull> {
        let address = network(address);
        loop {
            if let Some(number) = self.try_admit(address, activity)? {
                return Ok(ConnectionSlot { connections: self.clone(), number });
            }
            let _ = tokio::time::timeout(LOOK_EVERY, self.freed.notified()).await;
        }
    }

    /// Closes the connection that can be spared best. Returns whether there was one.
    pub(crate) fn evict(&self) -> bool {
        self.lock().evict(|_| true)
    }

    fn try_admit(&self, address: IpAddr, activity: &Arc<ConnectionActivity>) -> Result<Option<u64>, AddressFull> {
        let mut table = self.lock();
        let is_neighbour = |connection: &Connection| connection.address == address;
        if self.most_per_address < usize::MAX {
            let neighbours = table.connections.values().filter(|connection| is_neighbour(connection)).count();
            if neighbours >= self.most_per_address && !table.evict(is_neighbour) {
                return Err(AddressFull);
            }
        }
        if table.connections.len() >= self.most && !table.evict(|_| true) {
            return Ok(None);
        }
        let number = table.next;
        table.next += 1;
        table.connections.insert(number, Connection { address, activity: activity.clone() });
        Ok(Some(number))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Of the connections that `may_go`, closes the one that can be spared best.
    fn evict(&mut self, may_go: impl Fn(&Connection) -> bool) -> bool {
        let candidates = self.connections.iter().filter(|(_, connection)| may_go(connection));
        let spare = candidates.filter_map(|(number, connection)| Some((connection.activity.spare()?, *number))).min();
        let evicted = spare.and_then(|(_, number)| self.connections.remove(&number));
        if let Some(connection) = &evicted {
            connection.activity.evict();
        }
        evicted.is_some()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.lock().connections.remove(&self.number);
        self.connections.freed.notify_one();
    }
}

/// What counts as one address: of IPv6 the network of 64 bits that one client usually has for itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn table(connections: usize, per_address: Option<usize>) -> Arc<OpenConnections> {
        let second = Duration::from_secs(1);
        OpenConnections::new(ConnectionLimits {
            connections,
            per_address: per_address.and_then(NonZeroUsize::new),
            header_timeout: second,
            stall: second,
            idle: second,
        })
    }

    /// The number of a newcomer from `address`, `None` while it has to wait.
    fn admit(table: &OpenConnections, address: &str, activity: &Arc<ConnectionActivity>) -> Result<Option<u64>, ()> {
        table.try_admit(network(address.parse().unwrap()), activity).map_err(|AddressFull| ())
    }

    /// A connection that has been idle for so many seconds.
    fn idle_for(seconds: u64) -> Arc<ConnectionActivity> {
        let activity = ConnectionActivity::new();
        activity.age(Duration::from_secs(seconds));
        activity
    }

    #[test]
    fn the_connection_that_was_idle_longest_makes_room_and_a_busy_one_never_does() {
        let table = table(2, None);
        let activities = [4, 3, 2, 1].map(idle_for);
        let busy = [activities[1].request(0)];
        assert_eq!(admit(&table, "10.0.0.1", &activities[0]), Ok(Some(0)));
        assert_eq!(admit(&table, "10.0.0.1", &activities[1]), Ok(Some(1)));
        assert_eq!(admit(&table, "10.0.0.1", &activities[2]), Ok(Some(2)));
        assert!(table.len() == 2 && !table.lock().connections.contains_key(&0));
        let second = activities[2].request(0);
        assert_eq!(admit(&table, "10.0.0.1", &activities[3]), Ok(None), "both are busy");
        drop(second);
        activities[2].age(Duration::from_secs(1));
        assert_eq!(admit(&table, "10.0.0.1", &activities[3]), Ok(Some(3)));
        assert!(table.lock().connections.contains_key(&1), "the busy one stays");
        drop(busy);
    }

    #[test]
    fn an_address_has_its_share_and_takes_none_of_another_ones() {
        let table = table(10, Some(1));
        let activities = [4, 3, 2, 1].map(idle_for);
        let requests = [0, 1].map(|n: usize| activities[n].request(0));
        assert_eq!(admit(&table, "2001:db8::1", &activities[0]), Ok(Some(0)));
        assert_eq!(admit(&table, "2001:db8::ffff", &activities[2]), Err(()), "it is the same network");
        assert_eq!(admit(&table, "2001:db8:0:1::1", &activities[1]), Ok(Some(1)));
        assert_eq!(admit(&table, "10.0.0.1", &activities[2]), Ok(Some(2)));
        assert_eq!(admit(&table, "::ffff:10.0.0.1", &activities[3]), Ok(Some(3)), "the idle one makes room");
        assert!(table.len() == 3 && !table.lock().connections.contains_key(&2));
        drop(requests);
    }
}
