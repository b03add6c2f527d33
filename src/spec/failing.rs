//! How functions say that they have failed.

use super::Type;

/// The largest error number of Linux.
const MOST: u64 = 4095;

/// How what a function returns says that it has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    /// It is negative; without a sign, one of the last 4095 numbers (-1, -EINVAL, MAP_FAILED).
    Negative,
    /// It is NULL, or negative.
    Null,
    /// It is an error's number, and not 0.
    Number,
    /// It does not.
    Never,
}

/// Functions of libc that return NULL when they have failed, and set errno then.
const NULL: &str = "\
    calloc fdopen fopen getcwd malloc mmap opendir realloc realpath strdup strndup";
/// Functions of libc whose value says nothing of a failure.
const NEVER: &str = "\
    alarm atoi atol bsearch clock dlerror feof ferror fgetc fgets fread fscanf fwrite getc getchar \
    getegid getenv geteuid getgid getline getopt getopt_long getpid getppid getpwnam getpwuid getuid \
    inet_addr isatty memchr memcmp memcpy memmem memmove memset nice pthread_getspecific \
    pthread_self rand random readdir regexec scanf setjmp setlocale signal sleep sscanf stpcpy \
    strcasecmp strcat strchr strcmp strcoll strcpy strcspn strerror strftime strlen strncasecmp \
    strncat strncmp strncpy strnlen strpbrk strrchr strsep strsignal strspn strstr strtok strtok_r \
    strtol strtoll strtoul strtoull umask wcslen";
/// Functions of libc that leave errno alone when they fail.
const NO_ERRNO: &str = "\
    asprintf dlclose dlopen dlsym fprintf getaddrinfo printf regcomp snprintf sprintf system \
    vfprintf vprintf vsnprintf vsprintf";

/// Whether a name is one of these: a text takes less of a board's binary than a table.
fn has(names: &str, name: &str) -> bool {
    names.split(' ').any(|one| one == name)
}

impl Fails {
    /// How a function of the program's own may say it that returns this type.
    #[must_use]
    pub const fn of(ty: Type) -> Fails {
        match ty {
            Type::Ptr | Type::Str => Fails::Null,
            Type::Bool | Type::Char | Type::F32 | Type::F64 | Type::Void => Fails::Never,
            _ => Fails::Negative,
        }
    }

    /// How a function of libc says it, whose built-in prototype returns `ty`; and whether errno is
    /// set then.
    #[must_use]
    pub fn of_libc(name: &str, ty: Type) -> (Fails, bool) {
        let name = name.strip_suffix("64").unwrap_or(name);
        if has(NEVER, name) {
            (Fails::Never, false)
        } else if has(NULL, name) {
            (Fails::Null, true)
        } else if name.starts_with("pthread_")
            || [
                "posix_memalign",
                "posix_fadvise",
                "posix_spawn",
                "posix_spawnp",
                "clock_nanosleep",
                "sigwait",
            ]
            .contains(&name)
        {
            (Fails::Number, false)
        } else {
            (Fails::of(ty), !has(NO_ERRNO, name))
        }
    }

    /// Whether a value says so.
    #[must_use]
    pub fn has_failed(self, ty: Type, bits: u64) -> bool {
        let mask = u64::MAX >> (64 - ty.bits());
        let value = bits & mask;
        let (low, _) = ty.range();
        let negative = if low < 0 { value > mask >> 1 } else { mask > MOST && value > mask - MOST };
        match self {
            Fails::Negative => negative,
            Fails::Null => value == 0 || negative,
            Fails::Number => value != 0,
            Fails::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_from_values() {
        let minus_one = u64::MAX;
        for (name, ty, bits, failed) in [
            ("open", Type::I32, 0xffff_ffff, true),
            ("open", Type::I32, 3, false),
            ("read", Type::I64, minus_one, true),
            ("read", Type::I64, 0, false),
            ("mmap", Type::Ptr, minus_one, true),
            ("mmap64", Type::Ptr, 0x7fff_0000, false),
            ("malloc", Type::Ptr, 0, true),
            ("strchr", Type::Str, 0, false),
            ("signal", Type::Ptr, 0, false),
            ("pthread_getspecific", Type::Ptr, 0x1000, false),
            ("posix_spawn", Type::I32, 2, true),
            ("open", Type::Fd, 0xffff_ffff, true),
            ("open", Type::Fd, 3, false),
            ("strcmp", Type::I32, minus_one, false),
            ("pthread_mutex_lock", Type::I32, 22, true),
            ("pthread_mutex_lock", Type::I32, 0, false),
            ("lseek64", Type::I64, minus_one, true),
            ("opendir", Type::Ptr, 0, true),
            ("fopen64", Type::Ptr, 0x5555, false),
        ] {
            let (how, _) = Fails::of_libc(name, ty);
            assert_eq!(how.has_failed(ty, bits), failed, "{name} {bits:#x}");
        }
        assert!(Fails::of(Type::U64).has_failed(Type::U64, -22_i64 as u64));
        assert!(!Fails::of(Type::U64).has_failed(Type::U64, -4096_i64 as u64));
        assert!(
            !Fails::of(Type::U8).has_failed(Type::U8, 3),
            "no unsigned byte is an error's number"
        );
    }
}
