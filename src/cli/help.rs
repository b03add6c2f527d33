//! What `--help` says beyond the options.

pub(super) const ABOUT: &str = "\
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
  Types: i8 … i64, u8 … u64, hex, ptr, str, bool, char, f32, f64; what comes back may be void.
  With a return value, or return:, each call is told with its end: see xol help output.";

pub(super) const STATUS: &str = "\
EXIT STATUS:
  the program's own (128+N for signal N) when xol launched it; 125 when xol itself failed;
  126, 127 when the program could not be started; 2 for a wrong command line.";

pub(super) const COUNT: &str = "\
EXAMPLES:
  xol count 'libc:malloc' -- ls -l /usr/bin
  xol count 'libc:*' -o counts.txt -f -- make
  xol count malloc free -p 1234 --duration 10 --format json -o -
  xol count malloc --where 'size >= 0x1000' -- ls

STRATEGIES:
  A place that is hit often becomes a `jump`: its hits do not stop the program any more. Others are
  traps: boost, simulate. `no jump at`, and why_not_jump in JSON, say why:
  few-hits              it was not hit often enough to be worth it
  not-only-counted      something is told of each hit, or returns are of interest
  limited-hits          it disarms itself, or the run ends after so many hits (--hits-per-site,
                        --max-events)
  moving-stack, go-argument
                        Go has compiled the function: its stack may be moved, its arguments are in
                        registers that are not recorded
  not-asked-for         another strategy was chosen
  entered, site-inside  a branch leads to, or a trap must stay in, the bytes of a jump
  system-call           the bytes hold a system call
  may-be-restartable    restartable sequences may be anywhere in this object
  interrupted, being-retried, gave-way, no-slot, no-thread, thread-does-not-stop, failed
                        not at that moment; it is tried again
  changed-text, seccomp, not-in-this-build, and the reasons of `xol plan`

FILTERS (--where): see xol trace --help.";

pub(super) const TRACE: &str = "\
EXAMPLES:
  xol trace 'open(path: str, flags: hex) -> i32' -- cat /etc/hostname
  xol trace return:libc:read -p 1234 --max-events 100
  xol trace 'libc:str*' --hits-per-site 1 -- ls
  xol trace 'open(path: str, flags: hex)' --where 'flags & 0x40 && path ~ \"/tmp/*\"' -- make
  xol trace return:libc:openat --failed -- ls /nowhere
  xol trace 'read(fd: i32) -> i64' --where 'ret == 0 || duration > 10ms' -p 1234

FILTERS (--where):
  Names of the signature, or of the built-in one of a function of libc's own; and of every hit: pid,
  tid, comm (the thread's name) and, where returns are told, ret and duration. An argument comes
  before another of its name.
  Integers as 12, -1, 0x1f, 'x', true, NULL; floats as 2.5; times as 10ms, 5us, 100ns, 1.5s.
  == != < <= > >=; ranges as in '16 <= size < 4096' or 'size in 16..4096' (..= is with the end); a
  mask as in 'flags & 0x3 == 1'; texts with ~ (a glob), == and !=; && || ! and parentheses. A name
  alone is 'not 0'. Arguments are those of the beginning of a call. What cannot be read passes no
  filter, and is counted as missed; a call without a return has no ret.
  --failed: calls that return a negative number, NULL, or one of the last 4095 numbers (-EINVAL);
  of functions of libc what says so there.

FORMATS: xol help output says what each part of a line, and each field of --format json, is.";

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
