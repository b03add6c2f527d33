//! Signatures of common libc functions (POSIX.1-2024 and ISO C), for probes without one.

use super::ObjectName;
use super::signature::{self, Signature, Type};
use crate::symbols::{Kind, Object, SymbolId, Symbols};
use std::sync::OnceLock;

/// One a line, sorted; what follows the last fixed argument of a variadic function is left out,
/// but for the mode of a file that is made.
const TABLE: &str = "\
abort()
accept(fd: i32, addr: ptr, len: ptr) -> i32
accept4(fd: i32, addr: ptr, len: ptr, flags: hex) -> i32
access(path: str, mode: amode) -> i32
atoi(text: str) -> i32
bind(fd: i32, addr: ptr, len: u32) -> i32
calloc(count: u64, size: u64) -> ptr
chdir(path: str) -> i32
chmod(path: str, mode: mode) -> i32
clock_gettime(clock: clock, time: ptr) -> i32
clock_nanosleep(clock: clock, flags: i32, time: ptr, left: ptr) -> i32
close(fd: i32) -> i32
closedir(dir: ptr) -> i32
connect(fd: i32, addr: ptr, len: u32) -> i32
dlopen(path: str, flags: hex) -> ptr
dlsym(handle: ptr, name: str) -> ptr
dup(fd: i32) -> i32
dup2(fd: i32, to: i32) -> i32
dup3(fd: i32, to: i32, flags: hex) -> i32
epoll_ctl(fd: i32, op: i32, on: i32, event: ptr) -> i32
epoll_wait(fd: i32, events: ptr, max: i32, timeout_ms: i32) -> i32
execve(path: str, argv: str[], envp: ptr) -> i32
execvp(file: str, argv: str[]) -> i32
exit(status: i32)
fclose(file: ptr) -> i32
fcntl(fd: i32, cmd: fcntl) -> i32
fdopen(fd: i32, mode: str) -> ptr
fflush(file: ptr) -> i32
fgets(buf: ptr, size: i32, file: ptr) -> ptr
fopen(path: str, mode: str) -> ptr
fork() -> i32
fprintf(file: ptr, format: str) -> i32
fputs(text: str, file: ptr) -> i32
fread(buf: ptr, size: u64, count: u64, file: ptr) -> u64
free(ptr: ptr)
fseek(file: ptr, offset: i64, whence: whence) -> i32
fstat(fd: i32, stat: ptr) -> i32
fstatat(dir: i32, path: str, stat: ptr, flags: hex) -> i32
fsync(fd: i32) -> i32
ftruncate(fd: i32, len: i64) -> i32
fwrite(buf: ptr, size: u64, count: u64, file: ptr) -> u64
getaddrinfo(node: str, service: str, hints: ptr, result: ptr) -> i32
getcwd(buf: out str, size: u64) -> str
getenv(name: str) -> str
getpid() -> i32
gettimeofday(time: ptr, zone: ptr) -> i32
ioctl(fd: i32, request: hex) -> i32
kill(pid: i32, signal: signal) -> i32
listen(fd: i32, backlog: i32) -> i32
lseek(fd: i32, offset: i64, whence: whence) -> i64
lstat(path: str, stat: ptr) -> i32
madvise(addr: ptr, len: u64, advice: i32) -> i32
malloc(size: u64) -> ptr
memchr(mem: ptr, byte: i32, size: u64) -> ptr
memcmp(a: ptr, b: ptr, size: u64) -> i32
memcpy(to: ptr, from: ptr, size: u64) -> ptr
memmove(to: ptr, from: ptr, size: u64) -> ptr
memset(mem: ptr, byte: i32, size: u64) -> ptr
mkdir(path: str, mode: mode) -> i32
mmap(addr: ptr, len: u64, prot: prot, flags: mapflags, fd: i32, offset: i64) -> ptr
mprotect(addr: ptr, len: u64, prot: prot) -> i32
munmap(addr: ptr, len: u64) -> i32
nanosleep(time: ptr, left: ptr) -> i32
open(path: str, flags: oflags, mode: mode?) -> i32
openat(dir: i32, path: str, flags: oflags, mode: mode?) -> i32
opendir(path: str) -> ptr
perror(text: str)
pipe(fds: ptr) -> i32
pipe2(fds: ptr, flags: hex) -> i32
poll(fds: ptr, count: u64, timeout_ms: i32) -> i32
posix_memalign(result: ptr, align: u64, size: u64) -> i32
pread(fd: i32, buf: out bytes[ret], size: u64, offset: i64) -> i64
printf(format: str) -> i32
pthread_cond_signal(cond: ptr) -> i32
pthread_cond_wait(cond: ptr, mutex: ptr) -> i32
pthread_create(thread: ptr, attr: ptr, start: ptr, arg: ptr) -> i32
pthread_join(thread: ptr, result: ptr) -> i32
pthread_mutex_lock(mutex: ptr) -> i32
pthread_mutex_unlock(mutex: ptr) -> i32
puts(text: str) -> i32
pwrite(fd: i32, buf: bytes[size], size: u64, offset: i64) -> i64
qsort(base: ptr, count: u64, size: u64, compare: ptr)
raise(signal: signal) -> i32
read(fd: i32, buf: out bytes[ret], size: u64) -> i64
readdir(dir: ptr) -> ptr
readlink(path: str, buf: out bytes[ret], size: u64) -> i64
realloc(ptr: ptr, size: u64) -> ptr
realpath(path: str, resolved: ptr) -> str
recv(fd: i32, buf: out bytes[ret<=size], size: u64, flags: hex) -> i64
recvfrom(fd: i32, buf: out bytes[ret<=size], size: u64, flags: hex, addr: ptr, len: ptr) -> i64
recvmsg(fd: i32, message: ptr, flags: hex) -> i64
rename(from: str, to: str) -> i32
rmdir(path: str) -> i32
select(count: i32, read: ptr, write: ptr, except: ptr, timeout: ptr) -> i32
send(fd: i32, buf: bytes[size], size: u64, flags: hex) -> i64
sendmsg(fd: i32, message: ptr, flags: hex) -> i64
sendto(fd: i32, buf: bytes[size], size: u64, flags: hex, addr: ptr, len: u32) -> i64
setenv(name: str, value: str, overwrite: i32) -> i32
setsockopt(fd: i32, level: i32, option: i32, value: ptr, len: u32) -> i32
sigaction(signal: signal, action: ptr, old: ptr) -> i32
sleep(seconds: u32) -> u32
snprintf(buf: ptr, size: u64, format: str) -> i32
socket(domain: family, kind: socktype, protocol: i32) -> i32
stat(path: str, stat: ptr) -> i32
statx(dir: i32, path: str, flags: hex, mask: hex, stat: ptr) -> i32
strcasecmp(a: str, b: str) -> i32
strcat(to: str, from: str) -> ptr
strchr(text: str, c: char) -> str
strcmp(a: str, b: str) -> i32
strcpy(to: ptr, from: str) -> ptr
strdup(text: str) -> str
strlen(text: str) -> u64
strncmp(a: str, b: str, size: u64) -> i32
strncpy(to: ptr, from: str, size: u64) -> ptr
strndup(text: str, size: u64) -> str
strrchr(text: str, c: char) -> str
strstr(text: str, part: str) -> str
strtol(text: str, end: ptr, base: i32) -> i64
strtoul(text: str, end: ptr, base: i32) -> u64
symlink(target: str, path: str) -> i32
system(command: str) -> i32
unlink(path: str) -> i32
unlinkat(dir: i32, path: str, flags: hex) -> i32
usleep(micros: u32) -> i32
waitpid(pid: i32, status: ptr, options: hex) -> i32
write(fd: i32, buf: bytes[size], size: u64) -> i64
writev(fd: i32, parts: ptr, count: i32) -> i64
";

/// The signature of the function that `id` names in `object`, if it is the C library's: one of the
/// program's own with that name has arguments of its own.
#[must_use]
pub fn libc_prototype(name: &ObjectName<'_>, object: &Object, id: SymbolId) -> Option<Signature> {
    let symbols = object.symbols().ok()?;
    let symbol = symbols.get(id);
    let libcs = name.is_libc() || object.is_static() && is_alias(symbols, id);
    if symbol.kind == Kind::Plt || !libcs {
        return None;
    }
    prototype(symbol.name)
}

/// Whether a function in a static program has a second name as the C library's have.
fn is_alias(symbols: &Symbols, id: SymbolId) -> bool {
    let symbol = symbols.get(id);
    let names = ["__", "_IO_", "__libc_"].map(|prefix| format!("{prefix}{}", symbol.name));
    symbols.all_at(symbol.addr).any(|(_, other)| names.iter().any(|name| name == other.name))
}

/// The signature of a libc function by its name; large-file names (`open64`) are the same.
#[must_use]
pub fn prototype(name: &str) -> Option<Signature> {
    let name = name.strip_suffix("64").unwrap_or(name);
    static LINES: OnceLock<Vec<&str>> = OnceLock::new();
    let lines = LINES.get_or_init(|| TABLE.lines().collect());
    let name_of = |line: &&str| line.split('(').next().unwrap_or_default().cmp(name);
    let line = lines[lines.binary_search_by(name_of).ok()?];
    let line = &line[name.len() + 1..];
    let close = line.find(')')?;
    let args = signature::args(line, 0..close).ok()?;
    let ret = match line[close + 1..].strip_prefix(" -> ") {
        Some(_) => signature::ty(line, close + 5..line.len()).ok()?,
        None => Type::Void,
    };
    Some(Signature { args, open: false, ret: Some(ret) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_signature() {
        let mut last = "";
        for line in TABLE.lines() {
            let name = line.split('(').next().unwrap();
            let signature = prototype(name).unwrap_or_else(|| panic!("{line}"));
            let shown = format!("{name}{signature}");
            assert_eq!(shown.strip_suffix(" -> void").unwrap_or(&shown), line);
            assert!(last < name, "{name} is out of order");
            last = name;
        }
        assert_eq!(prototype("open64"), prototype("open"));
        assert_eq!(prototype("ope"), None);
    }
}
