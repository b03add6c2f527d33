//! Names of numbers, from the kernel's headers.

/// Error numbers from 1 on, the same on arm64 and x86-64; - is none.
const ERRORS: &str = "\
EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT \
ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG \
ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY \
ELOOP - ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE \
EBADR EXFULL ENOANO EBADRQC EBADSLT - EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG \
EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ \
EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS \
ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT \
EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH \
ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS \
ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM \
ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED \
EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL EHWPOISON";

/// What an error number is called: `ENOENT`.
#[must_use]
pub fn errno_name(number: i32) -> Option<&'static str> {
    let n = usize::try_from(number).ok()?.checked_sub(1)?;
    ERRORS.split(' ').nth(n).filter(|&name| name != "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C library's own header says the same.
    #[test]
    fn errors_have_their_names() {
        for (number, name) in [
            (1, "EPERM"),
            (2, "ENOENT"),
            (4, "EINTR"),
            (11, "EAGAIN"),
            (22, "EINVAL"),
            (34, "ERANGE"),
            (35, "EDEADLK"),
            (40, "ELOOP"),
            (42, "ENOMSG"),
            (57, "EBADSLT"),
            (59, "EBFONT"),
            (110, "ETIMEDOUT"),
            (111, "ECONNREFUSED"),
            (115, "EINPROGRESS"),
            (125, "ECANCELED"),
            (133, "EHWPOISON"),
        ] {
            assert_eq!(errno_name(number), Some(name));
        }
        for none in [0, -2, 41, 58, 134, i32::MIN] {
            assert_eq!(errno_name(none), None, "{none}");
        }
    }
}
