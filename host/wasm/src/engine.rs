//! The one wasmtime engine of the process: settings, the pool of instance slots, and the epoch ticker.
//!
//! Everything that decides what an instance costs or may use at most is here, with its reason.

use std::time::Duration;

pub use wasmtime::Engine;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// How often a running guest gives its thread back, and so how exactly a deadline is kept.
pub const EPOCH: Duration = Duration::from_millis(10);

/// Core instances, tables and memories that one component may have. A Rust component has one real module and
/// a few adapters around it.
const CORE_INSTANCES: u32 = 16;
const TABLES: u32 = 8;
const MEMORIES: u32 = 2;

/// What of a slot's memory stays resident between two requests. Cleaning this much by writing zeros is cheaper
/// than giving the pages back to the kernel and faulting them in again.
const KEEP_RESIDENT: usize = 2 << 20;

/// Sizes of the pool. Slots are address space, not memory, until a guest touches them.
#[derive(Clone, Copy, Debug)]
pub struct PoolSize {
    /// Instances that can live at the same time.
    pub instances: u32,
    /// The most linear memory of one instance, in bytes.
    pub memory: usize,
    /// The most elements of one table.
    pub table_elements: usize,
}

/// Makes the engine and starts its ticker, which ends when the engine is dropped.
///
/// # Errors
///
/// The address space for the pool can't be reserved.
pub fn open(pool: PoolSize) -> wasmtime::Result<Engine> {
    let mut config = compiler_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling_config(pool)));
    let engine = Engine::new(&config)?;
    start_ticker(&engine)?;
    Ok(engine)
}

/// All that influences compiled code. The sizes of the pool don't, so that code compiled for one server fits
/// another.
pub(crate) fn compiler_config() -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .memory_init_cow(true)
        // Threads and 64-bit memories would let a guest around the limits of a request; nothing here needs them.
        .wasm_memory64(false)
        // A trap is logged with the names of functions, which need no map to offsets in the file, nor tables for others'
        // unwinders: they were a seventh of the code on disk, and most of what an unused function kept in memory.
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
        // Where the kernel can say which pages were touched, only those are cleaned.
        .pagemap_scan(Enabled::Auto);
    config
}

/// One thread for the process; a timer for each request would cost more than the request.
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
