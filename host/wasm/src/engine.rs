//! The process's only wasmtime engine: its settings, its pool of instance slots, and its epoch ticker.
//!
//! Every number that decides what an instance costs, or may use at most, is here together with its reason.

use std::time::Duration;

pub use wasmtime::Engine;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// The interval between epoch ticks. A computing guest yields its thread at each tick, so this is also the precision of
/// deadlines.
pub const EPOCH: Duration = Duration::from_millis(10);

/// The most core instances that one component may have. A Rust component has one real module and a few adapters.
const CORE_INSTANCES: u32 = 16;
/// The most tables of one component.
const TABLES: u32 = 8;
/// The most linear memories of one component.
const MEMORIES: u32 = 2;

/// Bytes of a slot's linear memory that stay resident between two requests. Zeroing these is cheaper than returning the
/// pages to the kernel and faulting them in again.
pub const KEEP_RESIDENT: usize = 2 << 20;

/// The size of the instance pool. A slot takes address space only, until a guest touches its pages.
#[derive(Clone, Copy, Debug)]
pub struct PoolSize {
    /// Instances that can exist at the same time.
    pub instances: u32,
    /// The most bytes of one linear memory.
    pub memory: usize,
    /// The most elements of one table.
    pub table_elements: usize,
}

/// Creates the engine and starts its ticker thread, which ends after the engine was dropped.
///
/// # Errors
///
/// The address space of the pool can't be reserved, or the thread can't be spawned.
pub fn open(pool: PoolSize) -> wasmtime::Result<Engine> {
    let mut config = compiler_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling_config(pool)));
    let engine = Engine::new(&config)?;
    start_ticker(&engine)?;
    Ok(engine)
}

/// The settings that influence compiled code. The size of the pool doesn't, so that code which was compiled for one
/// server fits another.
pub(crate) fn compiler_config() -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .memory_init_cow(true)
        // A 64-bit memory could exceed the limits of a request, and no guest needs one.
        .wasm_memory64(false)
        // Traps are logged with function names, which need neither the map to file offsets nor native unwind tables.
        // Those were a seventh of the code on disk and most of what an unused function kept in memory.
        .generate_address_map(false)
        .native_unwind_info(false)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20));
    config
}

fn pooling_config(pool: PoolSize) -> PoolingAllocationConfig {
    let mut config = PoolingAllocationConfig::new();
    config
        .total_component_instances(pool.instances)
        .total_core_instances(pool.instances.saturating_mul(CORE_INSTANCES))
        .total_memories(pool.instances.saturating_mul(MEMORIES))
        .total_tables(pool.instances.saturating_mul(TABLES))
        .total_stacks(pool.instances)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memory_size(pool.memory)
        .table_elements(pool.table_elements)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(64 << 10)
        // Where the kernel can tell which pages were touched (PAGEMAP_SCAN), only those are reset.
        .pagemap_scan(Enabled::Auto);
    config
}

/// Spawns the thread that increments the epoch. One thread serves all requests, since a timer for each request would
/// cost more than the request.
fn start_ticker(engine: &Engine) -> wasmtime::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(EPOCH);
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;

    fn code_hash(pool: PoolSize) -> u64 {
        let mut hasher = DefaultHasher::new();
        open(pool).unwrap().precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn compiled_code_does_not_depend_on_the_size_of_the_pool() {
        let small = PoolSize { instances: 1, memory: 1 << 20, table_elements: 100 };
        let large = PoolSize { instances: 64, memory: 256 << 20, table_elements: 20_000 };
        assert_eq!(code_hash(small), code_hash(large));
    }
}
