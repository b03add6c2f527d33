//! Names for the numbers that libc's calls take: flags, modes, signals and the like.
//!
//! The values are those of Linux' public headers (asm-generic, and arm64's and x86's own asm/). A table
//! is a text, because a board's binary has no room for an address beside each name; builds without the
//! feature `names` have none, and show numbers.

use super::Type;
use crate::symbols::Machine;
use std::fmt::Write;
use xol_arch::Arch as _;

/// What a number stands for, as a type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Names {
    /// How a file is opened.
    Open(Machine),
    /// Who may do what with a file.
    Mode,
    /// The same of open(2): there only where the flags before it say so.
    OpenMode,
    /// How memory may be accessed.
    Prot(Machine),
    /// How memory is mapped.
    Map(Machine),
    /// A signal.
    Signal,
    /// A family of sockets.
    Family,
    /// The type of a socket.
    Socket,
    /// What an offset in a file counts from.
    Whence,
    /// What access(2) asks for.
    Access,
    /// What fcntl(2) is to do.
    Fcntl,
    /// A clock.
    Clock,
    /// How a path is looked up beside a descriptor.
    At,
    /// How a message is sent or received.
    Message,
    /// Which children are waited for.
    Wait,
    /// How memory will be used.
    Advice,
    /// Which half of a connection ends.
    Shut,
    /// What is done to a mask of signals.
    Mask,
    /// What is done to a descriptor that is watched.
    Watch,
    /// How a descriptor is made that is no file's.
    Descriptor(Machine),
}

/// Which bits are a number of their own: of flags none, of what is no flags all of them.
const ENUM: u32 = u32::MAX;

const OPEN: &str = "\
O_RDONLY 0 O_WRONLY 1 O_RDWR 2 O_CREAT 0o100 O_EXCL 0o200 O_NOCTTY 0o400 O_TRUNC 0o1000 \
O_APPEND 0o2000 O_NONBLOCK 0o4000 O_SYNC 0o4010000 O_DSYNC 0o10000 O_ASYNC 0o20000 \
O_NOATIME 0o1000000 O_CLOEXEC 0o2000000 O_PATH 0o10000000";
const OPEN_X86: &str = "\
O_TMPFILE 0o20200000 O_DIRECT 0o40000 O_LARGEFILE 0o100000 O_DIRECTORY 0o200000 O_NOFOLLOW 0o400000";
const OPEN_ARM64: &str = "\
O_TMPFILE 0o20040000 O_DIRECTORY 0o40000 O_NOFOLLOW 0o100000 O_DIRECT 0o200000 O_LARGEFILE 0o400000";
const PROT: &str = "\
PROT_NONE 0 PROT_READ 1 PROT_WRITE 2 PROT_EXEC 4 PROT_SEM 8 PROT_GROWSDOWN 0x1000000 \
PROT_GROWSUP 0x2000000";
const PROT_ARM64: &str = "PROT_BTI 0x10 PROT_MTE 0x20";
const MAP: &str = "\
MAP_SHARED 1 MAP_PRIVATE 2 MAP_SHARED_VALIDATE 3 MAP_FIXED 0x10 MAP_ANONYMOUS 0x20 \
MAP_GROWSDOWN 0x100 MAP_DENYWRITE 0x800 MAP_EXECUTABLE 0x1000 MAP_LOCKED 0x2000 \
MAP_NORESERVE 0x4000 MAP_POPULATE 0x8000 MAP_NONBLOCK 0x10000 MAP_STACK 0x20000 \
MAP_HUGETLB 0x40000 MAP_SYNC 0x80000 MAP_FIXED_NOREPLACE 0x100000 MAP_UNINITIALIZED 0x4000000";
const MAP_X86: &str = "MAP_32BIT 0x40 MAP_ABOVE4G 0x80";
const SIGNAL: &str = "\
SIGHUP 1 SIGINT 2 SIGQUIT 3 SIGILL 4 SIGTRAP 5 SIGABRT 6 SIGBUS 7 SIGFPE 8 SIGKILL 9 SIGUSR1 10 \
SIGSEGV 11 SIGUSR2 12 SIGPIPE 13 SIGALRM 14 SIGTERM 15 SIGSTKFLT 16 SIGCHLD 17 SIGCONT 18 \
SIGSTOP 19 SIGTSTP 20 SIGTTIN 21 SIGTTOU 22 SIGURG 23 SIGXCPU 24 SIGXFSZ 25 SIGVTALRM 26 \
SIGPROF 27 SIGWINCH 28 SIGIO 29 SIGPWR 30 SIGSYS 31";
const FAMILY: &str = "\
AF_UNSPEC 0 AF_UNIX 1 AF_INET 2 AF_AX25 3 AF_IPX 4 AF_APPLETALK 5 AF_NETROM 6 AF_BRIDGE 7 \
AF_ATMPVC 8 AF_X25 9 AF_INET6 10 AF_ROSE 11 AF_DECnet 12 AF_NETBEUI 13 AF_SECURITY 14 AF_KEY 15 \
AF_NETLINK 16 AF_PACKET 17 AF_ASH 18 AF_ECONET 19 AF_ATMSVC 20 AF_RDS 21 AF_SNA 22 AF_IRDA 23 \
AF_PPPOX 24 AF_WANPIPE 25 AF_LLC 26 AF_IB 27 AF_MPLS 28 AF_CAN 29 AF_TIPC 30 AF_BLUETOOTH 31 \
AF_IUCV 32 AF_RXRPC 33 AF_ISDN 34 AF_PHONET 35 AF_IEEE802154 36 AF_CAIF 37 AF_ALG 38 AF_NFC 39 \
AF_VSOCK 40 AF_KCM 41 AF_QIPCRTR 42 AF_SMC 43 AF_XDP 44 AF_MCTP 45";
const SOCKET: &str = "\
SOCK_STREAM 1 SOCK_DGRAM 2 SOCK_RAW 3 SOCK_RDM 4 SOCK_SEQPACKET 5 SOCK_DCCP 6 SOCK_PACKET 10 \
SOCK_NONBLOCK 0o4000 SOCK_CLOEXEC 0o2000000";
const WHENCE: &str = "SEEK_SET 0 SEEK_CUR 1 SEEK_END 2 SEEK_DATA 3 SEEK_HOLE 4";
const ACCESS: &str = "F_OK 0 R_OK 4 W_OK 2 X_OK 1";
const FCNTL: &str = "\
F_DUPFD 0 F_GETFD 1 F_SETFD 2 F_GETFL 3 F_SETFL 4 F_GETLK 5 F_SETLK 6 F_SETLKW 7 F_SETOWN 8 \
F_GETOWN 9 F_SETSIG 10 F_GETSIG 11 F_SETOWN_EX 15 F_GETOWN_EX 16 F_GETOWNER_UIDS 17 \
F_OFD_GETLK 36 F_OFD_SETLK 37 F_OFD_SETLKW 38 F_SETLEASE 1024 F_GETLEASE 1025 F_NOTIFY 1026 \
F_CANCELLK 1029 F_DUPFD_CLOEXEC 1030 F_SETPIPE_SZ 1031 F_GETPIPE_SZ 1032 F_ADD_SEALS 1033 \
F_GET_SEALS 1034 F_GET_RW_HINT 1035 F_SET_RW_HINT 1036 F_GET_FILE_RW_HINT 1037 \
F_SET_FILE_RW_HINT 1038";
const CLOCK: &str = "\
CLOCK_REALTIME 0 CLOCK_MONOTONIC 1 CLOCK_PROCESS_CPUTIME_ID 2 CLOCK_THREAD_CPUTIME_ID 3 \
CLOCK_MONOTONIC_RAW 4 CLOCK_REALTIME_COARSE 5 CLOCK_MONOTONIC_COARSE 6 CLOCK_BOOTTIME 7 \
CLOCK_REALTIME_ALARM 8 CLOCK_BOOTTIME_ALARM 9 CLOCK_TAI 11";
const AT: &str = "\
AT_SYMLINK_NOFOLLOW 0x100 AT_REMOVEDIR 0x200 AT_SYMLINK_FOLLOW 0x400 AT_NO_AUTOMOUNT 0x800 \
AT_EMPTY_PATH 0x1000 AT_STATX_FORCE_SYNC 0x2000 AT_STATX_DONT_SYNC 0x4000 AT_RECURSIVE 0x8000";
const MESSAGE: &str = "\
MSG_OOB 1 MSG_PEEK 2 MSG_DONTROUTE 4 MSG_CTRUNC 8 MSG_PROXY 0x10 MSG_TRUNC 0x20 MSG_DONTWAIT 0x40 \
MSG_EOR 0x80 MSG_WAITALL 0x100 MSG_FIN 0x200 MSG_SYN 0x400 MSG_CONFIRM 0x800 MSG_RST 0x1000 \
MSG_ERRQUEUE 0x2000 MSG_NOSIGNAL 0x4000 MSG_MORE 0x8000 MSG_WAITFORONE 0x10000 MSG_BATCH 0x40000 \
MSG_ZEROCOPY 0x4000000 MSG_FASTOPEN 0x20000000 MSG_CMSG_CLOEXEC 0x40000000";
const WAIT: &str = "\
WNOHANG 1 WUNTRACED 2 WEXITED 4 WCONTINUED 8 WNOWAIT 0x1000000 __WNOTHREAD 0x20000000 \
__WALL 0x40000000 __WCLONE 0x80000000";
const ADVICE: &str = "\
MADV_NORMAL 0 MADV_RANDOM 1 MADV_SEQUENTIAL 2 MADV_WILLNEED 3 MADV_DONTNEED 4 MADV_FREE 8 \
MADV_REMOVE 9 MADV_DONTFORK 10 MADV_DOFORK 11 MADV_MERGEABLE 12 MADV_UNMERGEABLE 13 \
MADV_HUGEPAGE 14 MADV_NOHUGEPAGE 15 MADV_DONTDUMP 16 MADV_DODUMP 17 MADV_WIPEONFORK 18 \
MADV_KEEPONFORK 19 MADV_COLD 20 MADV_PAGEOUT 21 MADV_POPULATE_READ 22 MADV_POPULATE_WRITE 23 \
MADV_COLLAPSE 25 MADV_HWPOISON 100 MADV_SOFT_OFFLINE 101";
const SHUT: &str = "SHUT_RD 0 SHUT_WR 1 SHUT_RDWR 2";
const MASK: &str = "SIG_BLOCK 0 SIG_UNBLOCK 1 SIG_SETMASK 2";
const WATCH: &str = "EPOLL_CTL_ADD 1 EPOLL_CTL_DEL 2 EPOLL_CTL_MOD 3";
const DESCRIPTOR: &str = "O_NONBLOCK 0o4000 O_CLOEXEC 0o2000000";
const DIRECT_X86: &str = "O_DIRECT 0o40000";
const DIRECT_ARM64: &str = "O_DIRECT 0o200000";

const CREAT: u64 = 0o100;
/// Behind what is called O_TMPFILE, beside O_DIRECTORY.
const TMPFILE: u64 = 0o20_000_000;

/// The machine that xol runs on.
fn native() -> Machine {
    Machine::from_name(xol_targets::Native::NAME).unwrap_or(Machine::X86_64)
}

impl Names {
    /// All of them, of some machine.
    const ALL: [Names; 20] = [
        Names::Open(Machine::X86_64),
        Names::Mode,
        Names::OpenMode,
        Names::Prot(Machine::X86_64),
        Names::Map(Machine::X86_64),
        Names::Signal,
        Names::Family,
        Names::Socket,
        Names::Whence,
        Names::Access,
        Names::Fcntl,
        Names::Clock,
        Names::At,
        Names::Message,
        Names::Wait,
        Names::Advice,
        Names::Shut,
        Names::Mask,
        Names::Watch,
        Names::Descriptor(Machine::X86_64),
    ];

    /// The type of that name: `oflags`, or of another machine than xol's own `oflags.arm64`.
    pub(super) fn from_name(name: &str) -> Option<Names> {
        let (plain, machine) = match name.split_once('.') {
            Some((plain, machine)) => (plain, Some(Machine::from_name(machine)?)),
            None => (name, None),
        };
        let names = Names::ALL.into_iter().find(|names| names.name() == plain)?;
        match (names.on(machine.unwrap_or_else(native)), machine) {
            (None, None) => Some(names),
            (on, _) => on,
        }
    }

    /// The same on that machine, of those that differ.
    const fn on(self, machine: Machine) -> Option<Names> {
        Some(match self {
            Names::Open(_) => Names::Open(machine),
            Names::Prot(_) => Names::Prot(machine),
            Names::Map(_) => Names::Map(machine),
            Names::Descriptor(_) => Names::Descriptor(machine),
            _ => return None,
        })
    }

    /// As in a signature.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Names::Open(_) => "oflags",
            Names::Mode => "mode",
            Names::OpenMode => "mode?",
            Names::Prot(_) => "prot",
            Names::Map(_) => "mapflags",
            Names::Signal => "signal",
            Names::Family => "family",
            Names::Socket => "socktype",
            Names::Whence => "whence",
            Names::Access => "amode",
            Names::Fcntl => "fcntl",
            Names::Clock => "clock",
            Names::At => "atflags",
            Names::Message => "msgflags",
            Names::Wait => "waitflags",
            Names::Advice => "advice",
            Names::Shut => "shut",
            Names::Mask => "maskhow",
            Names::Watch => "epollop",
            Names::Descriptor(_) => "fdflags",
        }
    }

    /// The machine whose numbers these are, where machines differ.
    pub(super) const fn machine(self) -> Option<Machine> {
        match self {
            Names::Open(machine)
            | Names::Prot(machine)
            | Names::Map(machine)
            | Names::Descriptor(machine) => Some(machine),
            _ => None,
        }
    }

    /// The integer that it is.
    #[must_use]
    pub const fn base(self) -> Type {
        match self {
            Names::Open(_) | Names::Mode | Names::OpenMode | Names::Prot(_) | Names::Map(_) => {
                Type::U32
            }
            Names::At | Names::Message | Names::Wait | Names::Descriptor(_) => Type::U32,
            _ => Type::I32,
        }
    }

    /// The tables of the names, and the bits that are one number and no flags.
    fn tables(self) -> ([&'static str; 2], u32) {
        match self {
            Names::Open(Machine::Arm64) => ([OPEN, OPEN_ARM64], 3),
            Names::Open(Machine::X86_64) => ([OPEN, OPEN_X86], 3),
            Names::Mode | Names::OpenMode => ([""; 2], 0),
            Names::Prot(Machine::Arm64) => ([PROT, PROT_ARM64], 0),
            Names::Prot(Machine::X86_64) => ([PROT, ""], 0),
            Names::Map(Machine::X86_64) => ([MAP, MAP_X86], 0xf),
            Names::Map(Machine::Arm64) => ([MAP, ""], 0xf),
            Names::Signal => ([SIGNAL, ""], ENUM),
            Names::Family => ([FAMILY, ""], ENUM),
            Names::Socket => ([SOCKET, ""], 0xf),
            Names::Whence => ([WHENCE, ""], ENUM),
            Names::Access => ([ACCESS, ""], 0),
            Names::Fcntl => ([FCNTL, ""], ENUM),
            Names::Clock => ([CLOCK, ""], ENUM),
            Names::At => ([AT, ""], 0),
            Names::Message => ([MESSAGE, ""], 0),
            Names::Wait => ([WAIT, ""], 0),
            Names::Advice => ([ADVICE, ""], ENUM),
            Names::Shut => ([SHUT, ""], ENUM),
            Names::Mask => ([MASK, ""], ENUM),
            Names::Watch => ([WATCH, ""], ENUM),
            Names::Descriptor(Machine::X86_64) => ([DESCRIPTOR, DIRECT_X86], 0),
            Names::Descriptor(Machine::Arm64) => ([DESCRIPTOR, DIRECT_ARM64], 0),
        }
    }

    /// Appends what a register's bits stand for: names, and the bits that have none in hexadecimal. Returns
    /// whether that says more than the number.
    pub fn write(self, out: &mut String, bits: u64) -> bool {
        let value = bits as u32;
        if matches!(self, Names::Mode | Names::OpenMode) {
            let _ = if value == 0 { write!(out, "0") } else { write!(out, "0{value:o}") };
            return true;
        }
        if cfg!(not(feature = "names")) {
            let _ = match self.base() {
                Type::U32 => write!(out, "{value:#x}"),
                _ => write!(out, "{}", value.cast_signed()),
            };
            return false;
        }
        let (tables, mask) = self.tables();
        let names = || tables.into_iter().flat_map(entries);
        let (start, mut named) = (out.len(), false);
        let mut rest = value;
        let mut add = |out: &mut String, name: &str| {
            out.push_str(if out.len() > start { "|" } else { "" });
            out.push_str(name);
            named = true;
        };
        let low = value & mask;
        let mut plain = names().filter(|&(_, number)| number & !mask == 0);
        if let Some((name, _)) =
            plain.find(|&(_, number)| number == low && (mask != 0 || value == 0))
        {
            add(out, name);
            rest &= !mask;
        } else if mask == ENUM {
            let _ = write!(out, "{}", value.cast_signed());
            return false;
        }
        for (name, number) in names().filter(|&(_, number)| number & !mask != 0) {
            if rest & number == number {
                add(out, name);
                rest &= !number;
            }
        }
        if rest != 0 || out.len() == start {
            let bar = if out.len() > start { "|" } else { "" };
            let _ = write!(out, "{bar}{rest:#x}");
        }
        named
    }

    /// Appends the same for people: the number, and behind it what it stands for. A mode is octal alone.
    pub fn show(self, out: &mut String, bits: u64) {
        let start = out.len();
        if !self.write(out, bits) || matches!(self, Names::Mode | Names::OpenMode) {
            return;
        }
        let value = bits as u32;
        let number = match self.base() {
            Type::U32 => format!("{value:#x} "),
            _ => format!("{} ", value.cast_signed()),
        };
        out.insert_str(start, &number);
    }

    /// Whether a call whose flags these bits are takes a mode, too.
    pub(super) fn has_mode(self, bits: u64) -> bool {
        self.with_mode().into_iter().any(|flags| bits & flags == flags)
    }

    /// The flags with which it does.
    pub(super) const fn with_mode(self) -> [u64; 2] {
        let directory: u64 = match self {
            Names::Open(Machine::Arm64) => 0o40_000,
            _ => 0o200_000,
        };
        [CREAT, TMPFILE | directory]
    }
}

/// The names of a table, and their numbers.
fn entries(table: &'static str) -> impl Iterator<Item = (&'static str, u32)> {
    let mut words = table.split_ascii_whitespace();
    std::iter::from_fn(move || {
        let (name, number) = (words.next()?, words.next()?);
        let parsed = match number.get(..2) {
            Some("0x") => u32::from_str_radix(&number[2..], 16),
            Some("0o") => u32::from_str_radix(&number[2..], 8),
            _ => number.parse(),
        };
        Some((name, parsed.unwrap_or(0)))
    })
}

#[cfg(all(test, feature = "names"))]
mod tests {
    use super::*;

    const X86: Names = Names::Open(Machine::X86_64);
    const ARM: Names = Names::Open(Machine::Arm64);

    fn shown(names: Names, bits: u64) -> String {
        let mut out = String::new();
        names.write(&mut out, bits);
        out
    }

    #[test]
    fn people_see_the_number_too() {
        let of = |names: Names, bits| {
            let mut out = String::new();
            names.show(&mut out, bits);
            out
        };
        if cfg!(feature = "names") {
            assert_eq!(of(X86, 0o2_000_000), "0x80000 O_RDONLY|O_CLOEXEC");
            assert_eq!(of(X86, 0), "0x0 O_RDONLY");
        }
        assert_eq!(of(Names::Mode, 0o644), "0644");
    }

    #[test]
    fn numbers_have_their_names() {
        for (names, bits, text) in [
            (X86, 0, "O_RDONLY"),
            (X86, 0x8_0000, "O_RDONLY|O_CLOEXEC"),
            (X86, 0o1101, "O_WRONLY|O_CREAT|O_TRUNC"),
            (X86, 3, "0x3"),
            // The upper half of a register is not the caller's.
            (X86, 0xdead_0000_0000_0002, "O_RDWR"),
            (X86, 0o4_010_002, "O_RDWR|O_SYNC"),
            (X86, 0o10_002, "O_RDWR|O_DSYNC"),
            (X86, 0o200_000, "O_RDONLY|O_DIRECTORY"),
            (ARM, 0o200_000, "O_RDONLY|O_DIRECT"),
            (ARM, 0o40_000, "O_RDONLY|O_DIRECTORY"),
            (X86, 0o20_200_002, "O_RDWR|O_TMPFILE"),
            (ARM, 0o20_040_002, "O_RDWR|O_TMPFILE"),
            (ARM, 0o20_200_002, "O_RDWR|O_DIRECT|0x400000"),
            (X86, 0x4000_0001, "O_WRONLY|0x40000000"),
            (Names::Mode, 0o644, "0644"),
            (Names::Mode, 0, "0"),
            (Names::Prot(Machine::X86_64), 0, "PROT_NONE"),
            (Names::Prot(Machine::X86_64), 0x13, "PROT_READ|PROT_WRITE|0x10"),
            (Names::Prot(Machine::Arm64), 0x15, "PROT_READ|PROT_EXEC|PROT_BTI"),
            (Names::Map(Machine::X86_64), 0x22, "MAP_PRIVATE|MAP_ANONYMOUS"),
            (Names::Map(Machine::X86_64), 0x62, "MAP_PRIVATE|MAP_ANONYMOUS|MAP_32BIT"),
            (Names::Map(Machine::Arm64), 0x62, "MAP_PRIVATE|MAP_ANONYMOUS|0x40"),
            (Names::Map(Machine::Arm64), 0x24, "MAP_ANONYMOUS|0x4"),
            (Names::Map(Machine::Arm64), 0, "0x0"),
            (Names::Signal, 15, "SIGTERM"),
            (Names::Signal, 0, "0"),
            (Names::Signal, 40, "40"),
            (Names::Family, 10, "AF_INET6"),
            (Names::Socket, 0o2_004_001, "SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC"),
            (Names::Whence, 2, "SEEK_END"),
            (Names::Whence, 0xffff_ffff, "-1"),
            (Names::Access, 0, "F_OK"),
            (Names::Access, 6, "R_OK|W_OK"),
            (Names::Fcntl, 1030, "F_DUPFD_CLOEXEC"),
            (Names::Clock, 1, "CLOCK_MONOTONIC"),
            (Names::Descriptor(Machine::X86_64), 0o2_044_000, "O_NONBLOCK|O_CLOEXEC|O_DIRECT"),
            (Names::Descriptor(Machine::Arm64), 0o2_204_000, "O_NONBLOCK|O_CLOEXEC|O_DIRECT"),
            (Names::Descriptor(Machine::Arm64), 0, "0x0"),
        ] {
            assert_eq!(shown(names, bits), text, "{names:?} {bits:#x}");
        }
    }

    #[test]
    fn tables_name_each_number_once() {
        for names in Names::ALL {
            for machine in [Machine::Arm64, Machine::X86_64] {
                let (tables, _) = names.on(machine).unwrap_or(names).tables();
                let all: Vec<_> = tables.into_iter().flat_map(entries).collect();
                for (n, (name, number)) in all.iter().enumerate() {
                    assert!(
                        name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_'),
                        "{name}"
                    );
                    let again = all[..n].iter().find(|(a, b)| a == name || b == number);
                    assert_eq!(again, None, "{name}");
                    assert!(*number != 0 || shown(names, 0).starts_with(name), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_mode_is_there_where_a_file_is_made() {
        for (names, bits, has) in [
            (X86, 0o101, true),
            (X86, 0, false),
            (X86, 0o200_000, false),
            (X86, 0o20_200_002, true),
            (ARM, 0o20_200_002, false),
            (ARM, 0o20_040_002, true),
        ] {
            assert_eq!(names.has_mode(bits), has, "{names:?} {bits:#o}");
        }
        assert_eq!(Names::from_name("oflags.arm64"), Some(ARM));
        assert_eq!(Names::from_name("oflags.vax"), None);
        assert_eq!(Names::from_name("signal.arm64"), None);
    }
}
