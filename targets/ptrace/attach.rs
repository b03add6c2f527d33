//! How a running process becomes a target, and how any target stops being one.

use super::space::Space;
use super::sys::{self, Pid, Tid};
use super::thread::{Process, State, Thread};
use super::{Go, Ptrace, is_gone, procfs, tracer};
use crate::native;
use std::time::{Duration, Instant};
use std::{fmt, fs, io};
use xol_arch::Addr;

/// What is asked of the kernel for every tracee. Never PTRACE_O_EXITKILL: the target outlives us.
pub(super) const OPTIONS: i32 = libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACEVFORKDONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESYSGOOD;
const PTRACE_O_SUSPEND_SECCOMP: i32 = 1 << 21;

/// Why a process cannot be attached to. Displays as one sentence and what to try.
#[derive(Debug)]
pub enum AttachError {
    /// There is no such process.
    Gone(Pid),
    /// It ended while it was attached to.
    Ended(Pid),
    /// It has exited and waits for its parent.
    Zombie(Pid),
    /// Another tracer has it: its pid and name.
    Traced(Pid, i32, String),
    /// It is ours that asks.
    Ourselves,
    /// The kernel does not let us; the process's user, and Yama's setting where there is one.
    Forbidden(Pid, u32, Option<u8>),
    /// It may be traced, and its memory not be opened; its user.
    Memory(Pid, u32),
    /// It runs in 32-bit mode.
    Is32Bit(Pid),
    /// Its program is for another architecture: e_machine.
    OtherMachine(Pid, u16),
    /// It is an emulator: its text is not the guest's.
    Emulator(Pid, String),
    /// It is a kernel thread.
    KernelThread(Pid),
    /// It shares its memory with another process that cannot be traced, and why.
    Shares(Pid, Pid, Box<AttachError>),
    /// Anything else.
    Io(Pid, io::Error),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::Gone(pid) => {
                write!(f, "no such process: {pid}; `ps -e` lists those there are")
            }
            AttachError::Ended(pid) => {
                write!(f, "process {pid} ended before its probes were in")
            }
            AttachError::Zombie(pid) => {
                write!(f, "process {pid} has exited already (a zombie); there is nothing to probe")
            }
            AttachError::Traced(pid, by, name) => write!(
                f,
                "process {pid} is already traced by process {by} ({name}); detach that tracer first"
            ),
            AttachError::Ourselves => f.write_str("xol cannot probe itself; start a second one"),
            AttachError::Forbidden(pid, uid, yama) => {
                write!(f, "not allowed to trace process {pid}, which belongs to user {uid}; ")?;
                match yama {
                    Some(n @ 1..) => write!(
                        f,
                        "kernel.yama.ptrace_scope is {n}: run as root, or start the program with \
                         `xol … -- CMD`"
                    ),
                    // Root already, as far as root goes here.
                    _ if effective_user() == Some(0) => f.write_str(
                        "root lacks CAP_SYS_PTRACE here (a container's init, a security module): run xol \
                         outside of the container, or start the program with `xol … -- CMD`",
                    ),
                    _ => f.write_str("run as that user or as root"),
                }
            }
            AttachError::Memory(pid, uid) => write!(
                f,
                "process {pid} may be traced, but /proc/{pid}/mem belongs to user {uid} and cannot be \
                 opened: give xol CAP_DAC_OVERRIDE beside CAP_SYS_PTRACE, or run as that user or as \
                 root"
            ),
            AttachError::Is32Bit(pid) => write!(
                f,
                "process {pid} is a 32-bit process; xol probes 64-bit programs only, try gdb"
            ),
            AttachError::OtherMachine(pid, machine) => write!(
                f,
                "process {pid} runs a program for {}, this xol is for {}; use an xol built for it",
                machine_name(*machine),
                <native::Native as xol_arch::Arch>::NAME
            ),
            AttachError::Emulator(pid, name) => write!(
                f,
                "process {pid} is an emulator ({name}): its code is not the guest program's; run \
                 the program natively, or under a VM that xol runs in"
            ),
            AttachError::KernelThread(pid) => {
                write!(f, "process {pid} is a kernel thread; xol probes user programs")
            }
            AttachError::Shares(pid, other, why) => write!(
                f,
                "process {pid} shares its memory with process {other}, a child made by vfork or \
                 the like, which must be traced too: {why}"
            ),
            AttachError::Io(pid, error) => write!(f, "cannot trace process {pid}: {error}"),
        }
    }
}

impl std::error::Error for AttachError {}

/// The name of an ELF machine.
#[must_use]
pub(super) fn machine_name(machine: u16) -> String {
    match machine {
        3 => "i386".into(),
        40 => "arm (32-bit)".into(),
        62 => "x86_64".into(),
        183 => "arm64".into(),
        243 => "riscv".into(),
        other => format!("ELF machine {other}"),
    }
}

/// Programs whose text is not the program's that they run (RULES C7).
fn is_emulator(name: &str) -> bool {
    ["qemu-", "valgrind", "memcheck-", "box64", "FEX", "rr"].iter().any(|known| {
        name.starts_with(known) && (*known != "rr" || name == "rr") && !name.starts_with("qemu-img")
    })
}

impl Ptrace {
    /// Attaches to a process and all its threads, without stopping any. With `hold`, a lone thread that waits
    /// in a call is asked to stop, and goes on when it is given back: a process that sees it traced may wake
    /// it, and it must then find what is armed.
    ///
    /// # Errors
    /// See [`AttachError`]; what was attached is then let go again when we end.
    pub fn attach(&mut self, pid: Pid, hold: bool) -> Result<(), AttachError> {
        const TRIES: u32 = 5;
        const PAUSE: Duration = Duration::from_millis(2);
        let mut tries = 0;
        loop {
            match self.try_attach(pid, hold) {
                // Where a thread execs that is not the first, it gets the first one's number: between two
                // looks the process has none that is alive, or the one looked at is gone.
                Err(AttachError::Gone(_) | AttachError::Zombie(_)) if tries < TRIES => tries += 1,
                result => return result,
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn try_attach(&mut self, pid: Pid, hold: bool) -> Result<(), AttachError> {
        check(pid)?;
        if self.processes.contains_key(&pid) {
            // It shares the memory of one that was attached to.
            return Ok(());
        }
        if !self.seize_all(pid, hold)? {
            return Err(AttachError::Zombie(pid));
        }
        self.look_at_masks(pid);
        self.end_clones(pid);
        self.seize_all(pid, false)?;
        self.look_at_masks(pid);
        let space = Space::open(pid).map_err(|error| match refusal(pid, error) {
            // It is traced by now.
            AttachError::Forbidden(pid, uid, _) => AttachError::Memory(pid, uid),
            other => other,
        })?;
        let space = self.add_space(space);
        self.add_process(pid, space, false);
        self.attach_sharers(pid, space)
    }

    /// Seizes every thread of a process. Returns whether there is one. With `hold`, a lone thread that waits in a
    /// call is asked to stop. One that runs is not: what is looked for in its mask shows while it runs.
    pub(super) fn seize_all(&mut self, pid: Pid, hold: bool) -> Result<bool, AttachError> {
        // A thread that execs becomes the first one, whose end is not seen then.
        const TRIES: u32 = 10;
        const PAUSE: Duration = Duration::from_millis(2);
        let mut tries = 0;
        // Until a pass over the threads finds none that is new.
        loop {
            let mut new = false;
            let mut tasks = procfs::tasks(pid).map_err(|error| refusal(pid, error))?;
            tasks.retain(|&tid| tid.0 == pid.0 || !procfs::is_of_kernel(tid));
            // A thread that execs waits for the others to be gone, and we would wait for it: the kernel
            // attaches to nothing meanwhile.
            tracer::reap_at_ticks(true);
            let mut result = Ok(());
            for &tid in &tasks {
                // Another thread may have exec'd, and have the number of the first, which we had.
                let same = || procfs::status(tid).is_ok_and(|s| is_ours(s.tracer));
                let has = self.threads.contains_key(&tid) || self.early.contains(&tid);
                if has && (tid.0 != pid.0 || same()) {
                    continue;
                }
                let waits = || procfs::whereabouts(tid) != procfs::Whereabouts::Running;
                let seized = match hold && tasks.len() == 1 && waits() {
                    true => self.seize_and_ask(tid, pid),
                    false => sys::seize(tid, OPTIONS).map(|()| {
                        self.threads.insert(tid, Thread::new(tid, pid, State::Running));
                    }),
                };
                match seized {
                    Ok(()) => new = true,
                    Err(error) if is_gone(&error) => {}
                    // On its way out, the kernel lets nobody have it. A zombie leader is one too.
                    Err(_) if procfs::is_exiting(tid) => {}
                    // The first thread is one that we had by another number, and that has exec'd.
                    Err(_)
                        if tid.0 == pid.0
                            && procfs::status(tid).is_ok_and(|s| is_ours(s.tracer)) =>
                    {
                        self.threads.insert(tid, Thread::new(tid, pid, State::Running));
                        new = true;
                    }
                    // The child of a thread we have is traced already.
                    Err(_) if procfs::status(tid).is_ok_and(|s| is_ours(s.tracer)) => {}
                    Err(_) if tries < TRIES => {
                        (tries, new) = (tries + 1, true);
                        std::thread::sleep(PAUSE);
                    }
                    Err(error) => {
                        result = Err(refusal(pid, error));
                        break;
                    }
                }
            }
            let reaped = tracer::reap_at_ticks(false);
            result?;
            if !new {
                // Not the numbers of those that have exec'd meanwhile.
                let is_of = |tid: Tid, pid: Pid| procfs::status(tid).is_ok_and(|s| s.tgid == pid.0);
                self.threads.retain(|tid, t| match t.pid == pid {
                    true => tasks.contains(tid),
                    false => !reaped || is_of(*tid, t.pid),
                });
                return Ok(self.threads.values().any(|t| t.pid == pid));
            }
        }
    }

    /// Waits until no thread is in a clone or fork that it began before it was traced: what that makes is not
    /// told of, and may have a copy of what is in memory by then. The kernel begins such a call again when
    /// the thread is asked to stop in it; a thread that waits for its vfork child makes nothing any more.
    fn end_clones(&mut self, pid: Pid) {
        const LIMIT: Duration = Duration::from_secs(2);
        const PAUSE: Duration = Duration::from_micros(50);
        // One that was asked already is held until its probes are in.
        let runs = |t: &&Thread| t.pid == pid && t.state == State::Running && !t.asked;
        let mut tids: Vec<Tid> = self.threads.values().filter(runs).map(|t| t.tid).collect();
        tids.retain(|&tid| self.may_clone(tid) && self.ask(tid).is_ok());
        let begun = Instant::now();
        while !tids.is_empty() && begun.elapsed() < LIMIT {
            // None waits for another that gets no CPU.
            tids.retain(|&tid| match self.await_stop_on(tid, begun, Duration::ZERO) {
                Ok(true) => {
                    // Its end is told of in its turn.
                    let _ = self.go(tid, Go::On);
                    false
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    self.may_clone(tid) && !procfs::is_exiting(tid)
                }
                _ => false,
            });
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether a thread may be making a thread or a process now, but for one that it will wait for (vfork),
    /// which nothing interrupts.
    #[must_use]
    pub fn may_clone(&self, tid: Tid) -> bool {
        let (number, arg) = match procfs::whereabouts(tid) {
            procfs::Whereabouts::InCall { number, args, .. } => (number, args[0]),
            procfs::Whereabouts::Running => return true,
            procfs::Whereabouts::Unknown => return false,
        };
        let waits = match number {
            libc::SYS_clone => arg & libc::CLONE_VFORK as u64 != 0,
            libc::SYS_clone3 => {
                let mut flags = [0; 8];
                let space = self.space_of(tid).and_then(|id| self.spaces.get(&id));
                let read = space.is_some_and(|space| space.read(Addr(arg), &mut flags).is_ok());
                !read || u64::from_ne_bytes(flags) & libc::CLONE_VFORK as u64 != 0
            }
            _ => !native::is_fork(number),
        };
        !waits && !self.is_deaf(tid)
    }

    /// Learns the masks of the threads of a process. What one that runs has may be a handler's and
    /// gone when it next gets a CPU: if it blocks SIGTRAP, it must be seen to do so while it runs.
    pub(super) fn look_at_masks(&mut self, pid: Pid) {
        const PAUSE: Duration = Duration::from_micros(500);
        const LOOKS: u32 = 600;
        const ENOUGH: u32 = 4;
        const RUN_NS: u64 = 200_000;
        let threads = self.threads.values_mut().filter(|t| t.pid == pid && t.mask.is_none());
        let mut open: Vec<(&mut Thread, u64)> = threads.map(|t| (t, 0)).collect();
        for n in 1..=LOOKS {
            open.retain_mut(|(thread, begun)| {
                let running = procfs::whereabouts(thread.tid) == procfs::Whereabouts::Running;
                let Ok(status) = procfs::status(thread.tid) else { return false };
                thread.mask = Some(status.blocked);
                let ran = procfs::run_ns(thread.tid);
                if n == 1 {
                    *begun = ran;
                }
                let seen = n >= ENOUGH && ran - *begun >= RUN_NS;
                running && status.blocked & super::signals::TRAP_BIT != 0 && !seen
            });
            if open.is_empty() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    pub(super) fn add_process(&mut self, pid: Pid, space: super::SpaceId, launched: bool) {
        let action = super::Action::default();
        let process = Process {
            pid,
            space,
            action,
            known_action: false,
            seen_action: launched,
            protected: false,
            shares_memory: false,
            vforked: false,
            handlers: pid,
            launched,
            in_doubt: false,
        };
        self.processes.insert(pid, process);
    }

    /// Lets a stopped thread go for good, delivering `signal`.
    ///
    /// # Errors
    /// ESRCH when it is gone.
    pub fn detach_thread(&mut self, tid: Tid, signal: i32) -> io::Result<()> {
        self.flush_regs(tid)?;
        self.put_block_back(tid)?;
        let result = sys::detach(tid, signal);
        self.threads.remove(&tid);
        result
    }
}

/// Whether `tracer` is this thread: TracerPid names the thread that traces.
pub(super) fn is_ours(tracer: i32) -> bool {
    tracer == tracer::tid().0
}

/// What an error of the kernel says about a process that is to be attached to.
fn refusal(pid: Pid, error: io::Error) -> AttachError {
    match error.raw_os_error() {
        Some(libc::ESRCH | libc::ENOENT) => AttachError::Gone(pid),
        Some(libc::EPERM | libc::EACCES) => {
            let uid = procfs::status(Tid(pid.0)).map_or(0, |s| s.euid);
            let yama = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
            AttachError::Forbidden(pid, uid, yama.and_then(|v| v.trim().parse().ok()))
        }
        _ => AttachError::Io(pid, error),
    }
}

/// Makes the kernel pass a stopped thread's calls by its seccomp filter, if it does that for us
/// (CAP_SYS_ADMIN): for a call of ours only, because the program counts on its filter.
pub(super) fn suspend_filter(tid: Tid) -> bool {
    sys::set_options(tid, OPTIONS | PTRACE_O_SUSPEND_SECCOMP).is_ok()
}

/// The filter is there again.
pub(super) fn resume_filter(tid: Tid) -> bool {
    sys::set_options(tid, OPTIONS).is_ok()
}

/// Whom the kernel takes xol for.
fn effective_user() -> Option<u32> {
    procfs::status(Tid(std::process::id().cast_signed())).ok().map(|status| status.euid)
}

/// What can be said before the kernel is asked.
fn check(pid: Pid) -> Result<(), AttachError> {
    if pid.0 as u32 == std::process::id() {
        return Err(AttachError::Ourselves);
    }
    let Ok(status) = procfs::status(Tid(pid.0)) else { return Err(AttachError::Gone(pid)) };
    if status.state == b'X' || status.state == b'Z' && procfs::tasks(pid).map_or(1, |t| t.len()) < 2
    {
        return Err(AttachError::Zombie(pid));
    }
    if status.tracer != 0 {
        // TracerPid names the thread that traces.
        let by = procfs::status(Tid(status.tracer)).unwrap_or_default();
        return Err(AttachError::Traced(pid, by.tgid, by.name));
    }
    let exe = format!("/proc/{pid}/exe");
    match fs::read_link(&exe) {
        Ok(path) => {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            if let Some(name) = name.filter(|name| is_emulator(name)) {
                return Err(AttachError::Emulator(pid, name));
            }
        }
        Err(_) if procfs::is_of_kernel(Tid(pid.0)) => return Err(AttachError::KernelThread(pid)),
        // Its first thread has ended, or it may be forbidden, and SEIZE says so.
        Err(_) => return Ok(()),
    }
    check_machine(pid, &exe)
}

/// Whether the program of a process is one that this build can probe.
///
/// # Errors
/// [`AttachError::Is32Bit`], [`AttachError::OtherMachine`], [`AttachError::Emulator`].
pub fn check_program(pid: Pid) -> Result<(), AttachError> {
    let exe = format!("/proc/{pid}/exe");
    check_machine(pid, &exe)?;
    let name = fs::read_link(&exe).ok();
    let name = name.as_ref().and_then(|p| p.file_name()).map(|n| n.to_string_lossy().into_owned());
    match name.filter(|name| is_emulator(name)) {
        Some(name) => Err(AttachError::Emulator(pid, name)),
        None => Ok(()),
    }
}

fn check_machine(pid: Pid, exe: &str) -> Result<(), AttachError> {
    match machine_of(exe.as_ref()) {
        Some((true, _)) => Err(AttachError::Is32Bit(pid)),
        Some((false, machine)) if machine != native::ELF_MACHINE => {
            Err(AttachError::OtherMachine(pid, machine))
        }
        _ => Ok(()),
    }
}

/// Whether a file is a 32-bit ELF, and its e_machine; `None` for what is no ELF or unreadable.
fn machine_of(path: &std::path::Path) -> Option<(bool, u16)> {
    use std::io::Read;
    let mut ident = [0u8; 20];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut ident)).ok()?;
    let elf = ident.starts_with(b"\x7fELF");
    elf.then(|| (ident[4] == 1, u16::from_le_bytes([ident[18], ident[19]])))
}

/// The architecture of a program that this build cannot probe; `None` if it can, or no ELF file
/// says so.
#[must_use]
pub fn foreign_machine(path: &std::path::Path) -> Option<String> {
    let (_, machine) = machine_of(path).filter(|&(small, m)| !small && m != native::ELF_MACHINE)?;
    Some(machine_name(machine))
}
