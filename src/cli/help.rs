//! What `--help` says beyond the options.

use xol::WhyNotJump;

const ABOUT: &str = "\
Probes for running arm64 and x86-64 programs: no kernel support, no debug information,
no agent, no root beyond the right to ptrace.";

pub(super) const PROBES: &str = "\
PROBES:
  malloc                                 entry of every malloc in the target
  libc:malloc                            only in libc (file name, soname or path; globs allowed)
  'libc:mem*'                            every function that matches
  'open(path: str, flags: hex) -> i32'   typed arguments, and the return value
  ./app:main+0x10   ./app:0x1139         an instruction
  'libc:qsort+*'                         every instruction of a function
  return:libc:read                       returns only (uretprobe: and uprobe: are understood)
  ns::Type::method   'ns::Vec<int>::f'   C++ and Rust, without parameters; <...> may be left out
  =SYMBOL                                exactly this symbol, mangled as it is
  Types: i8 … i64, u8 … u64, fd, hex, ptr, str, bool, char, f32, f64; what comes back may be void;
  bytes[N], str[], out bytes[ret] (read at the return), names for flags: see xol help PROBE.
  With a return value, or return:, each call is told with its end: see xol help output.";

/// The command, with what it says of itself: `-V` the version, `--version` of what it is made.
pub(super) fn named(name: &'static str) -> clap::Command {
    clap::Command::new(name).version(VERSION).long_version(version()).about(ABOUT)
}

/// What `-V` says behind the name.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `--version` says behind the name.
fn version() -> &'static str {
    let features = [
        ("jump", cfg!(feature = "jump")),
        ("names", cfg!(feature = "names")),
        ("demangle", cfg!(feature = "demangle")),
        ("debugdata", cfg!(feature = "debugdata")),
        ("manual", cfg!(feature = "manual")),
        ("show", cfg!(feature = "show")),
        ("tables", cfg!(feature = "tables")),
        ("picture", cfg!(feature = "picture")),
        ("measure", cfg!(feature = "measure")),
        ("arm64", cfg!(feature = "arm64")),
        ("x86_64", cfg!(feature = "x86_64")),
    ];
    let has: Vec<&str> = features.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    let commit = option_env!("XOL_COMMIT").map_or(String::new(), |c| format!(" (commit {c})"));
    let host = <xol_targets::Native as xol_arch::Arch>::NAME;
    let text =
        format!("{}{commit}\nprobes programs of {host}; features: {}", VERSION, has.join(", "));
    // Once a run: the table of commands keeps it.
    text.leak()
}

/// What `xol help PROBE` says.
pub(super) const PROBE: &str = "\
A PROBE says what is to be probed. It reads like the declaration it stands for:

  [return:] [OBJECT:] NAME [@VERSION] [+OFFSET] [(NAME: TYPE, ...)] [-> TYPE]

NAME is a function. Alone it is meant in every object of the program, which is the program itself and
the libraries that it has loaded or loads later; * ? and [a-z] match several. C++ and Rust names are
written without their parameters, but to tell some apart, and what is between < and > may be left out: ns::Type::method.
OBJECT is a file name, a soname or a path, with the same patterns: libc, libssl*, ./app.

  malloc                     entry of every malloc
  libc:malloc                only libc's
  libc:memcpy@GLIBC_2.14     one version of several
  'libc:mem*'                every function that matches
  'libc:*'                   every function of libc
  ls:*@plt                   what the program itself calls in libraries
  'geo::over(const char*)'   of several C++ functions of a name, the one with these parameters
  =_ZN3geo4overEi            exactly this symbol, as it is in the file

INSTRUCTIONS
  ./app:main+0x10            this many bytes behind a function's start; xol plan lists them
  ./app:0x1139               an address in the file; of a program, as xol list shows it
  'libc:qsort+*'             every instruction of a function
  'app:*+*'                  every instruction of all functions
  './app:main+0x10(rax: u64, xmm0: f64)'    with registers; on arm64 x0 to x30, sp, pc, d0 to d31

ARGUMENTS AND RETURNS
  'open(path: str, flags: hex)'          arguments by names of your own, in their order
  'open(path: str, flags: hex) -> i32'   and what comes back: the call is told with its end
  'read -> i64'                          what comes back alone
  'printf(format: str, ...)'             and what a format of printf asks for
  './app:0x1139(n: i32) -> i32'          also at an address where a function begins that has no name
  return:read                            returns only; its type is libc's, if known
  Functions of libc that are well known need no signature: xol trace libc:open.
  i8 i16 i32 i64     signed numbers: int is i32, long is i64
  u8 u16 u32 u64     unsigned numbers: size_t is u64
  fd                 a descriptor: with -y it is told with what it is open for, 3</etc/passwd>
  hex  ptr           64 bits in hexadecimal; an address, NULL is 0
  str                a text that ends with a NUL
  bytes[N]           N bytes: a number, or the name of an argument, as in write(fd: i32, buf: bytes[n], n: usize)
  str[]  str[N]      an array of texts: up to NULL, or N; 64 of them are read
  usize  isize       u64 and i64
  bool  char         the lowest byte
  f32  f64           float and double
  void               what a function returns that returns nothing
  out ...            str, bytes or str[] as it is when the function returns: with ret as a length
                     'read(fd: i32, buf: out bytes[ret], n: usize) -> isize'; bytes[ret<=n] for no more than n

NUMBERS WITH NAMES, as functions of libc have them: oflags and mode? of open (O_RDONLY|O_CLOEXEC, 0644),
  mode, prot, mapflags, signal, clock, family, socktype, whence, amode (of access), fcntl, atflags,
  msgflags, waitflags (of waitpid), advice, shut, maskhow (of sigprocmask), epollop,
  fdflags (of pipe2)

Filters, such as --where 'flags & 0x40 && path ~ \"/etc/*\"': see xol help trace.
USDT markers (usdt:libc:setjmp) and lines (app.c:42) are understood, and not built yet.
";

pub(super) const STATUS: &str = "\
EXIT STATUS:
  the program's own (128+N for signal N) when xol launched it; 125 when xol itself failed;
  126, 127 when the program could not be started; 2 for a wrong command line.";

const COUNT: &str = "\
EXAMPLES:
  xol count 'libc:malloc' -- ls -l /usr/bin
  xol count 'libc:*' -o counts.txt -f -- make
  xol count malloc free -p 1234 --duration 10 --format json -o -
  xol count malloc --where 'size >= 0x1000' -- ls
  xol count malloc --by caller --top 10 -- ls
  xol count malloc --hist size -- ls
  xol count --summary open close read write -- ls

VALUES (--by, --hist):
  the name of an argument, of the signature or of the built-in one of a function of libc's own; ret;
  with --by also tid, pid, comm (the thread's name) and caller (where the call returns to). The first
  16384 values have rows of their own, the others one row.
  --summary counts as errors the calls that --failed lets pass.

STRATEGIES:
  A place that is hit often becomes a `jump`: its hits do not stop the program any more. Others are
  traps: boost, simulate. `no jump at`, and why_not_jump in JSON, say why:
REASONS

FILTERS (--where): see xol trace --help.";

pub(super) const LATENCY: &str = "\
EXAMPLES:
  xol latency libc:read -p 1234 --duration 10
  xol latency 'work(n: i32)' --by n -- ./app
  xol latency malloc free --self --format json -o - -- ls
  xol latency 'open(path: str)' --slower 10ms -- make
  xol latency work --linear 0,10ms,500us -- ./app

TIMES are from a function's entry to its return. Calls that do not return (longjmp, exceptions, exit,
or that go on at the end) are unfinished, and have no time. Percentiles are less than 0.8 % off (one
part in 128): durations are kept in 64 buckets for each power of two, exactly below 128 ns. Calls,
total, min, mean and max are exact. Memory does not grow with the number of calls.
Both ends are jumps where all exits of a function are known, which adds some 50 ns to a call; else
traps, whose stop is part of the time: `no jump at`, and why_not_jump in JSON, say why (see xol count
--help; exits-not-proven: returns are told where the call comes back to). A thread that is faster than
its calls are counted waits, which is no part of a call's time; with --when-full drop it goes on, what
is missed is counted, and the calls around it are unfinished.
--self: what a call did not spend in other probed calls of its thread. Time in calls that were left by
longjmp or an exception counts as its own.
--by: the name of an argument, ret, tid, pid, comm or caller. The first 1024 values have rows of their
own, the others one row. missed is that of the place.
--linear and --slower take times with their unit: ns, us, ms or s.";

pub(super) const TOP: &str = "\
EXAMPLES:
  xol top 'libc:*' -p 1234
  xol top malloc free -- ./app
  xol top 'libc:mem*' -p 1234 --sort hits --top 5 --duration 10 -o rates.txt

KEYS: s sorts by rate, hits or place; p pauses and goes on; q quits.
With -p it draws on stdout, beside a program that it has started on stderr, which then shares its
terminal: give it its input from elsewhere if it reads keys itself. Where that is no terminal, a block
of lines every second; --interval says otherwise.";

/// What `xol count --help` says: the reasons are those that there are.
pub(super) fn count() -> String {
    let all = if cfg!(feature = "jump") { WhyNotJump::ALL } else { &[WhyNotJump::NotInThisBuild] };
    let known = all.iter().map(|why| format!("  {:<22}{}\n", why.id(), why.sentence()));
    let reasons: String = known.collect();
    COUNT.replace("REASONS", &format!("{reasons}  and the reasons of xol plan"))
}

pub(super) const TRACE: &str = "\
EXAMPLES:
  xol trace 'open(path: str, flags: hex) -> i32' -- cat /etc/hostname
  xol trace return:libc:read -p 1234 --max-events 100
  xol trace 'get(key: str, value: out bytes[ret], room: usize) -> isize' --string 1000 -- ./app
  xol trace 'run(argv: str[], flags: oflags)' -- ./app
  xol trace 'libc:str*' --hits-per-site 1 -- ls
  xol trace 'open(path: str, flags: hex)' --where 'flags & 0x40 && path ~ \"/tmp/*\"' -- make
  xol trace return:libc:openat --failed -- ls /nowhere
  xol trace 'read(fd: i32) -> i64' --where 'ret == 0 || duration > 10ms' -p 1234
  xol trace 'libc:*' -o run.xol --format record -- ./app        told later: xol show run.xol
  xol trace 'libc:*' --last 1000 -o crash.txt -- ./app          what came before the crash

SPEED:
  Places that are hit often become jumps, as for xol count, where arguments and return value are
  integers: a hit then costs some 20 ns. A thread that is faster than its events are told waits, so
  that no event is missed; with --when-full drop it goes on, and what is missed is counted.

RECORDINGS (--format record) and FLIGHT RECORDERS (--last N):
  A recording has events as they are, and costs less than lines; xol show tells it, on any machine.
  With --last nothing is told before the end: of the run (Ctrl-C, --duration), or of the program,
  SIGKILL included. Then the newest N hits and ends of calls are, in any format. SIGUSR1 to xol tells
  them at once, and the run goes on with none. A call whose beginning is too old has one line, at its
  end. What is older gives way: threads do not wait for lines to be written.

FILTERS (--where):
  Names of the signature, or of the built-in one of a function of libc's own; and of every hit: pid,
  tid, comm (the thread's name), caller (where the call comes from, as in app:main) and, where returns
  are told, ret and duration. An argument comes before another of its name.
  Integers as 12, -1, 0x1f, 'x', true, NULL; floats as 2.5; times as 10ms, 5us, 100ns, 1.5s.
  == != < <= > >=; ranges as in '16 <= size < 4096' or 'size in 16..4096' (..= is with the end); a
  mask as in 'flags & 0x3 == 1'; texts with ~ (a glob), == and !=; && || ! and parentheses. A name
  alone is 'not 0'. Arguments are those of the beginning of a call. What cannot be read passes no
  filter, and is counted as missed; a call without a return has no ret.
  --failed: calls that return a negative number, NULL, or one of the last 4095 numbers (-EINVAL);
  of functions of libc what says so there.

FORMATS: xol help output says what each part of a line, and each field of --format json, is.";

#[cfg(feature = "show")]
pub(super) const SHOW: &str = "\
EXAMPLES:
  xol trace 'libc:*' -o run.xol --format record -- ./app
  xol show run.xol
  xol show run.xol --format json -o run.json
  xol show run.xol --where 'duration > 10ms' --columns time,call,duration
  xol show run.xol --last 100 --time wall
  xol show run.xol --failed --format record -o failed.xol
  ssh board xol trace malloc -p 1 -o - --format record | xol show -

FILE may be of another machine, arm64 or x86-64. What is told is what trace would have told: with
returns where the PROBEs asked for them, and with the arguments that were known. Where xol was killed
while it recorded, or the disk was full, all is told up to the last block that is whole; a block that
is damaged ends it with a sentence, and status 125.
--where and --failed let fewer calls through than were recorded: see xol help trace for filters.
--last N tells only the newest N hits and ends of calls.";

pub(super) const LIST: &str = "\
OBJECT is a file, or the name of a library or program: libc, ls. Of a stripped one, names are in its
debug file (by build-id or .gnu_debuglink, in /usr/lib/debug, beside it, or in --debug-dir), in
.gnu_debugdata, or in Go's .gopclntab. Behind a name that several functions have is the symbol of each.
PATTERN is a name as in a PROBE: 'mem*', memcpy@GLIBC_2.14, 'ns::Type::*', 'malloc@plt'.

EXAMPLES:
  xol list libc 'mem*'
  xol list ./app --format json";

pub(super) const PLAN: &str = "\
A LOCATION is written as in a PROBE, without the object: main is the first instruction of main,
main+0x10 one inside it, 'main+*' all of them, 0x1139 an address. Without one: all code.

The plan of an instruction is copy (it runs from a slot), simulate (its effect is computed) or
reject, with the reason. Behind it stand the strategies that are correct there. jump is among them
where the file forbids none; whether the process has room for it turns out when it is written.
Objects of either architecture are explained on any machine.

EXAMPLES:
  xol plan /bin/ls 'main+*'
  xol plan libc 'malloc+*' --format json
  xol plan libc --summary
  xol plan --raw --arch arm64 --base 0x8000 firmware.bin";

pub(super) const DOCTOR: &str = "\
EXAMPLES:
  xol doctor
  xol doctor -p 1234";

#[cfg(feature = "measure")]
pub(super) const COMPARE: &str = "\
Probes copies of xol itself, whose loops come to a site of each kind, by each strategy. Needs nothing
else; as root and where tracefs is, the kernel's uprobes stand beside them. What a hit adds is the
difference between calls of a probed function and of its twin, on one CPU. A stripped xol has no jumps
to compare: where its functions begin is not known.

EXAMPLES:
  xol compare
  xol compare --rounds 3 --object /bin/busybox
  xol compare --svg compare.svg --format json -o compare.json

Ctrl-C ends it after the round before. In guests, where instructions are counted and not time, and for
both architectures in one table: cargo vm compare --both.";

#[cfg(feature = "manual")]
pub(super) const COMPLETIONS: &str = "\
EXAMPLES:
  xol completions bash > /usr/share/bash-completion/completions/xol
  xol completions zsh > /usr/share/zsh/site-functions/_xol
  xol completions fish > ~/.config/fish/completions/xol.fish";
