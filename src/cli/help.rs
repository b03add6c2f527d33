//! What `--help` says beyond the options.

use xol::WhyNotJump;

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

const COUNT: &str = "\
EXAMPLES:
  xol count 'libc:malloc' -- ls -l /usr/bin
  xol count 'libc:*' -o counts.txt -f -- make
  xol count malloc free -p 1234 --duration 10 --format json -o -
  xol count malloc --where 'size >= 0x1000' -- ls

STRATEGIES:
  A place that is hit often becomes a `jump`: its hits do not stop the program any more. Others are
  traps: boost, simulate. `no jump at`, and why_not_jump in JSON, say why:
REASONS

FILTERS (--where): see xol trace --help.";

/// What `xol count --help` says: the reasons are those that there are.
pub(super) fn count() -> String {
    let known = WhyNotJump::ALL.iter().map(|why| format!("  {:<22}{}\n", why.id(), why.sentence()));
    let reasons: String = known.collect();
    COUNT.replace("REASONS", &format!("{reasons}  and the reasons of xol plan"))
}

pub(super) const TRACE: &str = "\
EXAMPLES:
  xol trace 'open(path: str, flags: hex) -> i32' -- cat /etc/hostname
  xol trace return:libc:read -p 1234 --max-events 100
  xol trace 'libc:str*' --hits-per-site 1 -- ls
  xol trace 'open(path: str, flags: hex)' --where 'flags & 0x40 && path ~ \"/tmp/*\"' -- make

SPEED:
  Places that are hit often become jumps, as for xol count, where arguments and return value are
  integers: a hit then costs some 20 ns. A thread that is faster than its events are told waits, so
  that no event is missed; with --when-full drop it goes on, and what is missed is counted.

FILTERS (--where):
  names of the signature, or of the built-in one of a function of libc's own; integers as 12, -1, 0x1f, 'x',
  true, NULL; == != < <= > >=; a mask as in 'flags & 0x3 == 1'; texts with ~ (a glob), == and !=;
  && || ! and parentheses. A name alone is 'not 0'. What cannot be read passes no filter, and is
  counted as missed.

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
