//! Signatures of common libc functions (POSIX.1-2024 and ISO C), for probes without one.

use super::ObjectName;
use super::signature::{self, Signature, Type};
use crate::symbols::{Kind, Object, SymbolId, Symbols};
use std::sync::OnceLock;

/// One a line, sorted. What follows the last fixed argument of a variadic function is left out, but for
/// the mode of a file that is made, and what a format asks for.
const TABLE: &str = "\
abort()
accept(fd: fd, addr: ptr, len: ptr) -> fd
accept4(fd: fd, addr: ptr, len: ptr, flags: socktype) -> fd
access(path: str, mode: amode) -> i32
atoi(text: str) -> i32
bind(fd: fd, addr: ptr, len: u32) -> i32
calloc(count: u64, size: u64) -> ptr
chdir(path: str) -> i32
chmod(path: str, mode: mode) -> i32
clock_gettime(clock: clock, time: ptr) -> i32
clock_nanosleep(clock: clock, flags: i32, time: ptr, left: ptr) -> i32
close(fd: fd) -> i32
closedir(dir: ptr) -> i32
connect(fd: fd, addr: ptr, len: u32) -> i32
dlopen(path: str, flags: hex) -> ptr
dlsym(handle: ptr, name: str) -> ptr
dup(fd: fd) -> fd
dup2(fd: fd, to: fd) -> fd
dup3(fd: fd, to: fd, flags: fdflags) -> fd
epoll_ctl(fd: fd, op: epollop, on: fd, event: ptr) -> i32
epoll_wait(fd: fd, events: ptr, max: i32, timeout_ms: i32) -> i32
execve(path: str, argv: str[], envp: ptr) -> i32
execvp(file: str, argv: str[]) -> i32
exit(status: i32)
fclose(file: ptr) -> i32
fcntl(fd: fd, cmd: fcntl) -> i32
fdopen(fd: fd, mode: str) -> ptr
fflush(file: ptr) -> i32
fgets(buf: out str, size: i32, file: ptr) -> ptr
fopen(path: str, mode: str) -> ptr
fork() -> i32
fprintf(file: ptr, format: str, ...) -> i32
fputs(text: str, file: ptr) -> i32
fread(buf: ptr, size: u64, count: u64, file: ptr) -> u64
free(ptr: ptr)
fseek(file: ptr, offset: i64, whence: whence) -> i32
fstat(fd: fd, stat: ptr) -> i32
fstatat(dir: fd, path: str, stat: ptr, flags: atflags) -> i32
fsync(fd: fd) -> i32
ftruncate(fd: fd, len: i64) -> i32
fwrite(buf: ptr, size: u64, count: u64, file: ptr) -> u64
getaddrinfo(node: str, service: str, hints: ptr, result: ptr) -> i32
getcwd(buf: out str, size: u64) -> str
getenv(name: str) -> str
getpid() -> i32
gettimeofday(time: ptr, zone: ptr) -> i32
ioctl(fd: fd, request: hex) -> i32
kill(pid: i32, signal: signal) -> i32
listen(fd: fd, backlog: i32) -> i32
lseek(fd: fd, offset: i64, whence: whence) -> i64
lstat(path: str, stat: ptr) -> i32
madvise(addr: ptr, len: u64, advice: advice) -> i32
malloc(size: u64) -> ptr
memchr(mem: ptr, byte: i32, size: u64) -> ptr
memcmp(a: ptr, b: ptr, size: u64) -> i32
memcpy(to: ptr, from: ptr, size: u64) -> ptr
memmove(to: ptr, from: ptr, size: u64) -> ptr
memset(mem: ptr, byte: i32, size: u64) -> ptr
mkdir(path: str, mode: mode) -> i32
mmap(addr: ptr, len: u64, prot: prot, flags: mapflags, fd: fd, offset: i64) -> ptr
mprotect(addr: ptr, len: u64, prot: prot) -> i32
munmap(addr: ptr, len: u64) -> i32
nanosleep(time: ptr, left: ptr) -> i32
open(path: str, flags: oflags, mode: mode?) -> fd
openat(dir: fd, path: str, flags: oflags, mode: mode?) -> fd
opendir(path: str) -> ptr
perror(text: str)
pipe(fds: ptr) -> i32
pipe2(fds: ptr, flags: fdflags) -> i32
poll(fds: ptr, count: u64, timeout_ms: i32) -> i32
posix_memalign(result: ptr, align: u64, size: u64) -> i32
pread(fd: fd, buf: out bytes[ret], size: u64, offset: i64) -> i64
printf(format: str, ...) -> i32
pthread_cond_signal(cond: ptr) -> i32
pthread_cond_wait(cond: ptr, mutex: ptr) -> i32
pthread_create(thread: ptr, attr: ptr, start: ptr, arg: ptr) -> i32
pthread_join(thread: ptr, result: ptr) -> i32
pthread_mutex_lock(mutex: ptr) -> i32
pthread_mutex_unlock(mutex: ptr) -> i32
puts(text: str) -> i32
pwrite(fd: fd, buf: bytes[size], size: u64, offset: i64) -> i64
qsort(base: ptr, count: u64, size: u64, compare: ptr)
raise(signal: signal) -> i32
read(fd: fd, buf: out bytes[ret], size: u64) -> i64
readdir(dir: ptr) -> ptr
readlink(path: str, buf: out bytes[ret], size: u64) -> i64
realloc(ptr: ptr, size: u64) -> ptr
realpath(path: str, resolved: ptr) -> str
recv(fd: fd, buf: out bytes[ret<=size], size: u64, flags: msgflags) -> i64
recvfrom(fd: fd, buf: out bytes[ret<=size], size: u64, flags: msgflags, addr: ptr, len: ptr) -> i64
recvmsg(fd: fd, message: ptr, flags: msgflags) -> i64
rename(from: str, to: str) -> i32
rmdir(path: str) -> i32
select(count: i32, read: ptr, write: ptr, except: ptr, timeout: ptr) -> i32
send(fd: fd, buf: bytes[size], size: u64, flags: msgflags) -> i64
sendmsg(fd: fd, message: ptr, flags: msgflags) -> i64
sendto(fd: fd, buf: bytes[size], size: u64, flags: msgflags, addr: ptr, len: u32) -> i64
setenv(name: str, value: str, overwrite: i32) -> i32
setsockopt(fd: fd, level: i32, option: i32, value: ptr, len: u32) -> i32
sigaction(signal: signal, action: ptr, old: ptr) -> i32
sleep(seconds: u32) -> u32
snprintf(buf: out str, size: u64, format: str, ...) -> i32
socket(domain: family, kind: socktype, protocol: i32) -> fd
stat(path: str, stat: ptr) -> i32
statx(dir: fd, path: str, flags: atflags, mask: hex, stat: ptr) -> i32
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
unlinkat(dir: fd, path: str, flags: atflags) -> i32
usleep(micros: u32) -> i32
waitpid(pid: i32, status: ptr, options: waitflags) -> i32
write(fd: fd, buf: bytes[size], size: u64) -> i64
writev(fd: fd, parts: ptr, count: i32) -> i64
";

/// Those that a board does without, likewise.
#[cfg(feature = "names")]
const MORE: &str = "\
alarm(seconds: u32) -> u32
asprintf(result: ptr, format: str, ...) -> i32
atexit(function: ptr) -> i32
atol(text: str) -> i64
bsearch(key: ptr, base: ptr, count: u64, size: u64, compare: ptr) -> ptr
chown(path: str, owner: u32, group: u32) -> i32
chroot(path: str) -> i32
clearerr(file: ptr)
clock() -> i64
creat(path: str, mode: mode) -> fd
daemon(nochdir: i32, noclose: i32) -> i32
dirfd(dir: ptr) -> fd
dlclose(handle: ptr) -> i32
dlerror() -> str
dprintf(fd: fd, format: str, ...) -> i32
epoll_create(size: i32) -> fd
epoll_create1(flags: hex) -> fd
eventfd(start: u32, flags: hex) -> fd
execl(path: str, arg0: str) -> i32
execlp(file: str, arg0: str) -> i32
execv(path: str, argv: str[]) -> i32
execvpe(file: str, argv: str[], envp: ptr) -> i32
faccessat(dir: fd, path: str, mode: amode, flags: atflags) -> i32
fchdir(fd: fd) -> i32
fchmod(fd: fd, mode: mode) -> i32
fchown(fd: fd, owner: u32, group: u32) -> i32
fdatasync(fd: fd) -> i32
feof(file: ptr) -> i32
ferror(file: ptr) -> i32
fgetc(file: ptr) -> i32
fileno(file: ptr) -> fd
flock(fd: fd, how: i32) -> i32
fputc(c: char, file: ptr) -> i32
freeaddrinfo(result: ptr)
freopen(path: str, mode: str, file: ptr) -> ptr
fscanf(file: ptr, format: str) -> i32
fseeko(file: ptr, offset: i64, whence: whence) -> i32
ftell(file: ptr) -> i64
ftello(file: ptr) -> i64
getc(file: ptr) -> i32
getchar() -> i32
getegid() -> u32
geteuid() -> u32
getgid() -> u32
gethostname(name: out str, size: u64) -> i32
getline(line: ptr, size: ptr, file: ptr) -> i64
getopt(argc: i32, argv: ptr, options: str) -> i32
getopt_long(argc: i32, argv: ptr, options: str, longs: ptr, index: ptr) -> i32
getpeername(fd: fd, addr: ptr, len: ptr) -> i32
getpgid(pid: i32) -> i32
getppid() -> i32
getpwnam(name: str) -> ptr
getpwuid(uid: u32) -> ptr
getrandom(buf: out bytes[ret], size: u64, flags: hex) -> i64
getrlimit(resource: i32, limit: ptr) -> i32
getrusage(who: i32, usage: ptr) -> i32
getsid(pid: i32) -> i32
getsockname(fd: fd, addr: ptr, len: ptr) -> i32
getsockopt(fd: fd, level: i32, option: i32, value: ptr, len: ptr) -> i32
getuid() -> u32
gmtime(time: ptr) -> ptr
inet_addr(text: str) -> u32
inet_ntop(family: family, addr: ptr, buf: out str, size: u32) -> ptr
inet_pton(family: family, text: str, addr: ptr) -> i32
inotify_add_watch(fd: fd, path: str, mask: hex) -> i32
inotify_init() -> fd
inotify_init1(flags: hex) -> fd
isatty(fd: fd) -> i32
killpg(group: i32, signal: signal) -> i32
lchown(path: str, owner: u32, group: u32) -> i32
link(from: str, to: str) -> i32
localtime(time: ptr) -> ptr
localtime_r(time: ptr, result: ptr) -> ptr
lockf(fd: fd, cmd: i32, len: i64) -> i32
longjmp(env: ptr, value: i32)
memmem(mem: ptr, size: u64, part: ptr, part_size: u64) -> ptr
mkdirat(dir: fd, path: str, mode: mode) -> i32
mkdtemp(template: str) -> str
mkfifo(path: str, mode: mode) -> i32
mkostemp(template: str, flags: oflags) -> fd
mkstemp(template: str) -> fd
mktime(time: ptr) -> i64
mlock(addr: ptr, len: u64) -> i32
mount(source: str, target: str, kind: str, flags: hex, data: ptr) -> i32
mremap(addr: ptr, len: u64, new_len: u64, flags: hex) -> ptr
msync(addr: ptr, len: u64, flags: hex) -> i32
nice(more: i32) -> i32
pause() -> i32
pclose(file: ptr) -> i32
popen(command: str, mode: str) -> ptr
posix_fadvise(fd: fd, offset: i64, len: i64, advice: i32) -> i32
posix_spawn(pid: ptr, path: str, actions: ptr, attr: ptr, argv: str[], envp: ptr) -> i32
posix_spawnp(pid: ptr, file: str, actions: ptr, attr: ptr, argv: str[], envp: ptr) -> i32
ppoll(fds: ptr, count: u64, timeout: ptr, mask: ptr) -> i32
prctl(option: i32, a: hex, b: hex, c: hex, d: hex) -> i32
preadv(fd: fd, parts: ptr, count: i32, offset: i64) -> i64
pthread_cond_broadcast(cond: ptr) -> i32
pthread_cond_timedwait(cond: ptr, mutex: ptr, time: ptr) -> i32
pthread_detach(thread: hex) -> i32
pthread_exit(result: ptr)
pthread_getspecific(key: u32) -> ptr
pthread_key_create(key: ptr, destroy: ptr) -> i32
pthread_kill(thread: hex, signal: signal) -> i32
pthread_mutex_destroy(mutex: ptr) -> i32
pthread_mutex_init(mutex: ptr, attr: ptr) -> i32
pthread_mutex_trylock(mutex: ptr) -> i32
pthread_once(once: ptr, init: ptr) -> i32
pthread_rwlock_rdlock(lock: ptr) -> i32
pthread_rwlock_unlock(lock: ptr) -> i32
pthread_rwlock_wrlock(lock: ptr) -> i32
pthread_self() -> hex
pthread_setspecific(key: u32, value: ptr) -> i32
pthread_sigmask(how: maskhow, set: ptr, old: ptr) -> i32
putc(c: char, file: ptr) -> i32
putchar(c: char) -> i32
putenv(text: str) -> i32
pwritev(fd: fd, parts: ptr, count: i32, offset: i64) -> i64
rand() -> i32
random() -> i64
readlinkat(dir: fd, path: str, buf: out bytes[ret], size: u64) -> i64
readv(fd: fd, parts: ptr, count: i32) -> i64
reallocarray(ptr: ptr, count: u64, size: u64) -> ptr
regcomp(regex: ptr, pattern: str, flags: hex) -> i32
regexec(regex: ptr, text: str, count: u64, matches: ptr, flags: hex) -> i32
remove(path: str) -> i32
renameat(from_dir: fd, from: str, to_dir: fd, to: str) -> i32
rewind(file: ptr)
scanf(format: str) -> i32
sched_yield() -> i32
sem_post(semaphore: ptr) -> i32
sem_wait(semaphore: ptr) -> i32
sendfile(to: fd, from: fd, offset: ptr, size: u64) -> i64
setgid(group: u32) -> i32
setjmp(env: ptr) -> i32
setlocale(category: i32, locale: str) -> str
setpgid(pid: i32, group: i32) -> i32
setrlimit(resource: i32, limit: ptr) -> i32
setsid() -> i32
setuid(user: u32) -> i32
setvbuf(file: ptr, buf: ptr, mode: i32, size: u64) -> i32
shm_open(name: str, flags: oflags, mode: mode) -> fd
shm_unlink(name: str) -> i32
shutdown(fd: fd, how: shut) -> i32
sigaltstack(stack: ptr, old: ptr) -> i32
signal(signal: signal, handler: ptr) -> ptr
sigprocmask(how: maskhow, set: ptr, old: ptr) -> i32
sigsuspend(mask: ptr) -> i32
sigwait(set: ptr, signal: ptr) -> i32
socketpair(domain: family, kind: socktype, protocol: i32, fds: ptr) -> i32
sprintf(buf: out str, format: str, ...) -> i32
srand(seed: u32)
sscanf(text: str, format: str) -> i32
statfs(path: str, stat: ptr) -> i32
statvfs(path: str, stat: ptr) -> i32
stpcpy(to: ptr, from: str) -> ptr
strcoll(a: str, b: str) -> i32
strcspn(text: str, reject: str) -> u64
strerror(number: i32) -> str
strftime(buf: out str, size: u64, format: str, time: ptr) -> u64
strncasecmp(a: str, b: str, size: u64) -> i32
strncat(to: str, from: str, size: u64) -> ptr
strnlen(text: str, size: u64) -> u64
strpbrk(text: str, accept: str) -> str
strsep(text: ptr, delimiters: str) -> str
strsignal(signal: signal) -> str
strspn(text: str, accept: str) -> u64
strtod(text: str, end: ptr) -> f64
strtok(text: str, delimiters: str) -> str
strtok_r(text: str, delimiters: str, save: ptr) -> str
strtoll(text: str, end: ptr, base: i32) -> i64
strtoull(text: str, end: ptr, base: i32) -> u64
sync()
syscall(number: i64, a: hex, b: hex, c: hex, d: hex, e: hex) -> i64
sysconf(name: i32) -> i64
syslog(priority: i32, format: str, ...)
tcgetattr(fd: fd, termios: ptr) -> i32
tcsetattr(fd: fd, when: i32, termios: ptr) -> i32
time(time: ptr) -> i64
timerfd_create(clock: clock, flags: hex) -> fd
timerfd_settime(fd: fd, flags: hex, new: ptr, old: ptr) -> i32
tmpfile() -> ptr
truncate(path: str, len: i64) -> i32
umask(mask: mode) -> i32
umount(target: str) -> i32
uname(result: ptr) -> i32
ungetc(c: char, file: ptr) -> i32
unsetenv(name: str) -> i32
utimensat(dir: fd, path: str, times: ptr, flags: atflags) -> i32
vfork() -> i32
vfprintf(file: ptr, format: str, args: ptr) -> i32
vprintf(format: str, args: ptr) -> i32
vsnprintf(buf: out str, size: u64, format: str, args: ptr) -> i32
vsprintf(buf: out str, format: str, args: ptr) -> i32
wait(status: ptr) -> i32
wait3(status: ptr, options: waitflags, usage: ptr) -> i32
wait4(pid: i32, status: ptr, options: waitflags, usage: ptr) -> i32
waitid(kind: i32, id: i32, info: ptr, options: waitflags) -> i32
wcslen(text: ptr) -> u64
";

#[cfg(feature = "names")]
const TABLES: [&str; 2] = [TABLE, MORE];
#[cfg(not(feature = "names"))]
const TABLES: [&str; 2] = [TABLE, ""];

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
    static LINES: OnceLock<[Vec<&str>; 2]> = OnceLock::new();
    let lines = LINES.get_or_init(|| TABLES.map(|table| table.lines().collect()));
    let name_of = |line: &&str| line.split('(').next().unwrap_or_default().cmp(name);
    let found = |lines: &Vec<&'static str>| Some(lines[lines.binary_search_by(name_of).ok()?]);
    let line = lines.iter().find_map(found)?;
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
        for table in TABLES {
            every_line_of(table);
        }
        assert_eq!(prototype("open64"), prototype("open"));
        assert_eq!(prototype("ope"), None);
    }

    fn every_line_of(table: &str) {
        let mut last = "";
        for line in table.lines() {
            let name = line.split('(').next().unwrap();
            let signature = prototype(name).unwrap_or_else(|| panic!("{line}"));
            let shown = format!("{name}{signature}");
            assert_eq!(shown.strip_suffix(" -> void").unwrap_or(&shown), line);
            assert!(last < name, "{name} is out of order");
            last = name;
        }
    }
}
