//! What an engine process may still do once it begins to load a graph: compute, and talk to the server on the sockets
//! that it has.
//!
//! Two sandboxes of the kernel lie on top of each other. Landlock takes all files and TCP away where the kernel has it.
//! A seccomp filter refuses every system call that is not in a list: nothing in that list opens, connects, executes, or
//! looks at another process.

use std::collections::BTreeMap;
use std::io;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// Descriptors of an engine process: two for each handle, and a few of its own.
const MAX_DESCRIPTORS: u64 = 1024;

/// The system calls of an allocator, of threads, of clocks, and of reading and writing descriptors that are open.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fallocate,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_tgkill,
    libc::SYS_uname,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Bounds the memory that this process can write to `bytes`, so that an absurd allocation fails instead of taking the
/// machine's memory, and offers this process to the kernel first where memory runs out all the same.
///
/// # Errors
///
/// The kernel refuses a limit.
pub(super) fn limit_memory(bytes: u64) -> io::Result<()> {
    lower(Resource::Data, bytes)?;
    lower(Resource::Fsize, bytes)?;
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, MAX_DESCRIPTORS)?;
    if let Err(e) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        tracing::debug!("the kernel's choice where memory runs out stays as it is: {e}");
    }
    Ok(())
}

fn lower(resource: Resource, to: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(to, |maximum| maximum.min(to));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// Takes files, network and other processes away from this thread and from those that it starts.
///
/// # Errors
///
/// The kernel has no seccomp filters. A kernel without Landlock is no error, since the filter alone refuses the same.
pub(super) fn confine() -> io::Result<()> {
    landlock().map_err(io::Error::other)?;
    for filter in [unknown_calls(), allowed_calls()] {
        let program = filter.and_then(|filter| Ok(BpfProgram::try_from(filter)?)).map_err(io::Error::other)?;
        apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn landlock() -> Result<(), landlock::RulesetError> {
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .scope(Scope::from_all(ABI::V6))?;
    let status = ruleset.create()?.restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        tracing::debug!("this kernel has no Landlock");
    }
    Ok(())
}

/// Answers `clone3` as a kernel does that does not know it: its flags can't be looked at, and the C library then takes
/// `clone`.
fn unknown_calls() -> Result<SeccompFilter, seccompiler::Error> {
    filter(always([libc::SYS_clone3]), SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()))
}

/// A process may end itself, which is how it ends without the engine's destructors.
fn allowed_calls() -> Result<SeccompFilter, seccompiler::Error> {
    let own = u64::from(std::process::id());
    let itself = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own)?;
    let mut rules = always(ALLOWED.iter().copied().chain([libc::SYS_clone3]));
    rules.insert(libc::SYS_kill, vec![SeccompRule::new(vec![itself])?]);
    filter(rules, SeccompAction::Errno(libc::EACCES.unsigned_abs()), SeccompAction::Allow)
}

/// System calls with the arguments to which a filter applies; without rules it applies to all.
type Calls = BTreeMap<libc::c_long, Vec<SeccompRule>>;

fn always(calls: impl IntoIterator<Item = libc::c_long>) -> Calls {
    calls.into_iter().map(|call| (call, Vec::new())).collect()
}

/// A filter that does `listed` for some system calls, and `others` for all others.
fn filter(calls: Calls, others: SeccompAction, listed: SeccompAction) -> Result<SeccompFilter, seccompiler::Error> {
    Ok(SeccompFilter::new(calls, others, listed, std::env::consts::ARCH.try_into()?)?)
}
