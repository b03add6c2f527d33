//! What concerns xol's own process: its CPU, its clock, the signals that ask it to end.
//!
//! # Safety
//! As in `sys`: every `unsafe` block is one libc call, and each pointer points to storage of the
//! size the call reads or writes, visible in the same function.
#![allow(unsafe_code)]

use super::pair::FROM_TERMINAL;
use super::sys::{SI_KERNEL, Tid, check};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

/// Binds this thread to one CPU, or to a whole set.
///
/// # Errors
/// EINVAL where the cpuset does not have it.
pub fn set_affinity(cpus: &CpuSet) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of_val` bytes of `cpus`.
    let result =
        unsafe { libc::sched_setaffinity(0, size_of_val(&cpus.0), (&raw const cpus.0).cast()) };
    check(result.into()).map(drop)
}

/// The CPUs this thread may run on.
///
/// # Errors
/// EINVAL on machines with more than 1024 CPUs.
pub fn get_affinity() -> io::Result<CpuSet> {
    let mut cpus = CpuSet([0; 16]);
    // SAFETY: the kernel writes at most `size_of_val` bytes to `cpus`.
    let result =
        unsafe { libc::sched_getaffinity(0, size_of_val(&cpus.0), (&raw mut cpus.0).cast()) };
    check(result.into()).map(|_| cpus)
}

/// A set of CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuSet([u64; 16]);

impl CpuSet {
    /// Only `cpu`.
    #[must_use]
    pub fn only(cpu: usize) -> CpuSet {
        let mut set = CpuSet([0; 16]);
        if let Some(word) = set.0.get_mut(cpu / 64) {
            *word = 1 << (cpu % 64);
        }
        set
    }

    /// Whether `cpu` is in it.
    #[must_use]
    pub fn has(&self, cpu: usize) -> bool {
        self.0.get(cpu / 64).is_some_and(|word| word & 1 << (cpu % 64) != 0)
    }
}

/// This thread.
#[must_use]
pub fn tid() -> Tid {
    // Not the libc's own: std names it weakly, and what is weak is not taken from a static libc.
    // SAFETY: nothing is passed.
    Tid(unsafe { libc::syscall(libc::SYS_gettid) } as i32)
}

/// CLOCK_MONOTONIC in nanoseconds.
#[must_use]
pub fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

static CAUGHT: AtomicI32 = AtomicI32::new(0);
static CAUGHT_FROM_TERMINAL: AtomicU32 = AtomicU32::new(0);
static ASKED: AtomicBool = AtomicBool::new(false);
static TICKED: AtomicBool = AtomicBool::new(false);
static REAPING: AtomicBool = AtomicBool::new(false);
static REAPED: AtomicBool = AtomicBool::new(false);
/// The thread whose waits signals are to end.
static WAITS: AtomicI32 = AtomicI32::new(0);

/// Takes the ends of threads and processes that have ended, in a signal handler.
fn reap() {
    let options = libc::__WALL | libc::__WNOTHREAD | libc::WEXITED | libc::WNOHANG;
    // SAFETY: it takes nothing and always has a result.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the address of this thread's errno, valid as long as the thread is.
    let had = unsafe { *errno };
    loop {
        let mut info = [0u64; 16];
        // SAFETY: the kernel writes 128 bytes to `info`.
        let result = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr().cast(), options) };
        // Nobody has signal 0.
        if result != 0 || info[0] == 0 {
            break;
        }
        REAPED.store(true, Ordering::Relaxed);
    }
    // SAFETY: as above.
    unsafe { *errno = had };
}

/// Makes each tick take the ends of threads that have ended (`on`), or no longer. Returns whether there
/// were any since.
pub(super) fn reap_at_ticks(on: bool) -> bool {
    REAPING.store(on, Ordering::Relaxed);
    !on && REAPED.swap(false, Ordering::Relaxed)
}

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let waits = WAITS.load(Ordering::Relaxed);
    let elsewhere = waits != 0 && waits != tid().0;
    note_signal(signal, info, elsewhere);
    if elsewhere {
        wake(waits);
    }
}

/// Ends the wait of another thread of this process, in a signal handler.
fn wake(waits: i32) {
    // SAFETY: it takes nothing and always has a result.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the address of this thread's errno, valid as long as the thread is.
    let had = unsafe { *errno };
    // SAFETY: nothing is passed.
    let pid = unsafe { libc::getpid() };
    // SAFETY: three numbers; where that thread has ended there is none to wake.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, waits, libc::SIGALRM) };
    // SAFETY: as above.
    unsafe { *errno = had };
}

/// Remembers a signal, which may have come to a thread `elsewhere` than the one that waits.
fn note_signal(signal: i32, info: *mut libc::siginfo_t, elsewhere: bool) {
    TICKED.store(true, Ordering::Relaxed);
    if signal == libc::SIGALRM {
        if !elsewhere && REAPING.load(Ordering::Relaxed) {
            reap();
        }
        return;
    }
    if signal == ASKING {
        ASKED.store(true, Ordering::Relaxed);
        return;
    }
    // SAFETY: SA_SIGINFO: the kernel passes a valid siginfo_t.
    let code = unsafe { (*info).si_code };
    // SAFETY: as above: behind si_signo, si_errno, si_code, si_pid and si_uid stands si_value.
    let value = unsafe { *info.cast::<[usize; 4]>() }[3];
    if code == SI_KERNEL || code == libc::SI_QUEUE && value == FROM_TERMINAL {
        CAUGHT_FROM_TERMINAL.fetch_add(1, Ordering::Relaxed);
    }
    CAUGHT.store(signal, Ordering::Relaxed);
}

/// Catches SIGINT, SIGTERM, SIGHUP, SIGQUIT and SIGUSR1 so that a wait of this thread ends with EINTR.
/// Those that are ignored stay so (nohup(1), a shell's `&`), also in what is started.
///
/// # Errors
/// None in practice.
pub fn catch_signals() -> io::Result<()> {
    WAITS.store(tid().0, Ordering::Relaxed);
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_signal;
    for signal in CAUGHT_IN_A_RUN {
        handle(signal, handler as usize, libc::SA_SIGINFO)?;
    }
    tick_after(None)
}

/// The signals that ask xol to end.
pub(super) const ENDING: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// The signal that asks xol for what it has by now.
pub(super) const ASKING: i32 = libc::SIGUSR1;

const CAUGHT_IN_A_RUN: [i32; 6] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, ASKING, libc::SIGALRM];

/// What the kernel sends the tracer when the process in front of it dies. Nobody ignores it.
pub(super) const FRONT_IS_GONE: i32 = libc::SIGUSR2;

/// Catches the signals that ask xol to end, among them [`FRONT_IS_GONE`]: they are remembered until
/// somebody asks.
///
/// # Errors
/// None in practice.
pub(super) fn catch_ending() -> io::Result<()> {
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_signal;
    let mut all = ENDING.into_iter().chain([FRONT_IS_GONE]);
    all.try_for_each(|signal| handle(signal, handler as usize, libc::SA_SIGINFO))
}

/// Blocks the signals that ask xol to end, or unblocks them.
///
/// # Errors
/// None in practice.
pub(super) fn block_ending(block: bool) -> io::Result<()> {
    // SAFETY: all-zero is a valid set of signals.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in ENDING {
        // SAFETY: a set of ours, and the number of a signal.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    let how = if block { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    // SAFETY: the kernel reads one set; the other pointer may be null.
    check(unsafe { libc::sigprocmask(how, &raw const set, std::ptr::null_mut()) }.into()).map(drop)
}

/// Installs a handler, which must be one that `flags` say. An ending signal that is ignored stays so.
///
/// # Errors
/// None in practice.
pub(super) fn handle(signal: i32, handler: usize, flags: i32) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: all-zero is a valid sigaction.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null pointer asks; the kernel's answer goes into `old`.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut old) };
    check(result.into())?;
    if old.sa_sigaction == libc::SIG_IGN && ENDING.contains(&signal) {
        return Ok(());
    }
    // SAFETY: the handlers of this crate only store to atomics and send signals.
    let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    check(result.into()).map(drop)
}

/// Lets a timer end a wait after `first` and then every 100 ms: a signal that comes just before the
/// wait is seen by then.
///
/// # Errors
/// None in practice.
pub fn tick_after(first: Option<Duration>) -> io::Result<()> {
    let first = first.unwrap_or(TICK).min(TICK);
    tick(first, TICK)
}

/// How often a timer ends a wait where nothing else is asked for.
pub const TICK: Duration = Duration::from_millis(100);

/// Lets a timer end a wait after `first`, and then `every` so often: 1 to 999 ms each.
///
/// # Errors
/// None in practice.
pub fn tick(first: Duration, every: Duration) -> io::Result<()> {
    let usec = |time: Duration| libc::timeval {
        tv_sec: 0,
        tv_usec: time.subsec_micros().max(1000).into(),
    };
    let every = libc::itimerval { it_interval: usec(every), it_value: usec(first) };
    // SAFETY: the kernel reads one itimerval; the other pointer may be null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_setitimer,
            libc::ITIMER_REAL,
            &raw const every,
            std::ptr::null_mut::<libc::itimerval>(),
        )
    };
    check(result).map(drop)
}

/// Whether a signal or the timer has come since this was asked last.
#[must_use]
pub fn take_tick() -> bool {
    TICKED.swap(false, Ordering::Relaxed)
}

/// The last signal that asked us to end, and whether a terminal sent it (Ctrl-C: the program in
/// the foreground has got it too); taken.
#[must_use]
pub fn take_caught() -> Option<(i32, bool)> {
    let signal = CAUGHT.swap(0, Ordering::Relaxed);
    let terminal = CAUGHT_FROM_TERMINAL.swap(0, Ordering::Relaxed) != 0;
    (signal != 0).then_some((signal, terminal))
}

/// Whether what is there by now was asked for since; taken.
#[must_use]
pub fn take_asked() -> bool {
    ASKED.swap(false, Ordering::Relaxed)
}

/// Runs something in a thread of its own, and puts the signals' handlers and the timer back behind it. A
/// wait for any child ([`sys::wait`]) takes what that thread started and traces, and leaves alone whom
/// others of this process have started.
///
/// # Errors
/// EAGAIN: there can be no more threads.
///
/// [`sys::wait`]: super::sys::wait
pub fn apart<T: Send>(run: impl FnOnce() -> T + Send) -> io::Result<T> {
    let former = Former::look();
    let result = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("xol".into()).spawn_scoped(scope, run)?;
        Ok(thread.join())
    });
    former.put_back();
    result.map(|joined| joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// What [`catch_signals`] changes in a program that is not ours alone.
struct Former {
    actions: [libc::sigaction; CAUGHT_IN_A_RUN.len()],
    timer: libc::itimerval,
}

impl Former {
    fn look() -> Former {
        // SAFETY: all-zero is a valid sigaction, and a valid itimerval.
        let mut former: Former = unsafe { std::mem::zeroed() };
        for (signal, action) in CAUGHT_IN_A_RUN.into_iter().zip(&mut former.actions) {
            // SAFETY: a null pointer asks; the kernel's answer goes into `action`.
            unsafe { libc::sigaction(signal, std::ptr::null(), action) };
        }
        // SAFETY: the kernel writes one itimerval.
        unsafe { libc::getitimer(libc::ITIMER_REAL, &raw mut former.timer) };
        former
    }

    fn put_back(&self) {
        // SAFETY: the kernel reads one itimerval; the other pointer may be null.
        unsafe {
            libc::setitimer(libc::ITIMER_REAL, &raw const self.timer, std::ptr::null_mut());
        }
        WAITS.store(0, Ordering::Relaxed);
        for (signal, action) in CAUGHT_IN_A_RUN.into_iter().zip(&self.actions) {
            // A last tick may be on its way to a thread, which it would end.
            if signal == libc::SIGALRM && action.sa_sigaction == libc::SIG_DFL {
                continue;
            }
            // SAFETY: the kernel reads one sigaction, which stood there before.
            unsafe { libc::sigaction(signal, action, std::ptr::null_mut()) };
        }
    }
}

/// Starts a thread of ours that takes no signals: they are for the thread that waits for stops.
///
/// # Errors
/// EAGAIN.
pub(super) fn spawn(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigset_t.
    let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = unsafe { std::mem::zeroed() };
    // SAFETY: libc writes one sigset_t.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: libc reads one sigset_t and writes another.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old) };
    let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(run);
    // SAFETY: libc reads one sigset_t.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut()) };
    thread.map(drop)
}

/// The size of a page in bytes.
#[must_use]
pub fn page_size() -> u64 {
    // SAFETY: a name, a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// Keeps a descriptor to ourselves: what we start does not get it.
///
/// # Errors
/// EBADF where it is not open.
pub fn keep(fd: i32) -> io::Result<()> {
    // SAFETY: numbers only. The standard ones are everybody's.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into())?;
    if fd > 2 {
        // SAFETY: numbers only.
        check(unsafe { libc::fcntl(fd, libc::F_SETFD, flags as i32 | libc::FD_CLOEXEC) }.into())?;
    }
    Ok(())
}

/// Lets what we start have a descriptor.
///
/// # Errors
/// EBADF where it is not open.
pub fn pass_on(fd: i32) -> io::Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }.into()).map(drop)
}

/// Writes a line to a descriptor, and closes it but for the standard ones.
///
/// # Errors
/// Those of write(2).
pub fn write_once(fd: i32, line: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `len` bytes of `line`.
    let written = check(unsafe { libc::write(fd, line.as_ptr().cast(), line.len()) } as i64);
    if fd > 2 {
        // SAFETY: a number; nothing here owns it.
        unsafe { libc::close(fd) };
    }
    written.map(drop)
}
