//! Commands of every system, with something to do: run alone and probed, they must do the same.

use std::path::PathBuf;

use crate::programs::folder;
use crate::run::{Run, as_often, run};
use crate::xol::scratch;

/// Lines to read.
#[must_use]
pub fn words() -> Vec<u8> {
    let line = |n: u32| format!("line {} {n}\n", n.wrapping_mul(2_654_435_761) % 9973);
    (0..as_often(3000, 300)).flat_map(|n| line(n).into_bytes()).collect()
}

/// A folder of ours with a few files in it.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn files() -> PathBuf {
    let files = folder().join("files");
    std::fs::create_dir_all(&files).expect("the target folder is writable");
    for n in 0..20 {
        let file = files.join(format!("file-{n}"));
        if !file.exists() {
            // Another test may be about to read them.
            let fresh = scratch("file");
            std::fs::write(&fresh, words()).expect("it is writable");
            std::fs::rename(fresh, file).expect("renaming what was just written");
        }
    }
    files
}

/// Looks up names and sorts them.
#[must_use]
pub fn ls() -> Run {
    run("ls").args(["-l", "/usr/bin"])
}

/// By a number in each line.
#[must_use]
pub fn sort() -> Run {
    run("sort").args(["-k2", "-n"]).stdin(words())
}

/// Packs.
#[must_use]
pub fn gzip() -> Run {
    run("gzip").args(["-9", "-c"]).stdin(words())
}

/// Starts another program.
#[must_use]
pub fn find() -> Run {
    run("find").arg(files()).args(["-name", "file-1*", "-exec", "sha256sum", "{}", "+"])
}

/// Matches, counts, calculates, starts a shell. Its hashes are the same each time.
#[must_use]
pub fn perl() -> Run {
    let script = r#"my %c; while (<STDIN>) { $c{length $_}++ while /\d/g } print map { "$_ $c{$_}\n" } sort keys %c;
        my @p = map { sqrt } 1..500; printf "%.6f\n", $p[499]; print `echo from the shell`; exit 3"#;
    run("perl").env("PERL_HASH_SEED", "0").args(["-e", script]).stdin(words())
}

/// Threads, a child, regular expressions.
#[must_use]
pub fn python() -> Run {
    let script = "import sys, json, re, threading, subprocess\n\
        out = []\n\
        ts = [threading.Thread(target=lambda n=n: out.append(n * n)) for n in range(8)]\n\
        [t.start() for t in ts]; [t.join() for t in ts]\n\
        print(json.dumps(sorted(out)), len(re.findall(r'\\d+', sys.stdin.read())))\n\
        print(subprocess.run(['echo', 'child'], capture_output=True).stdout)\n\
        sys.exit(9)";
    // Its start alone is a hundred thousand calls.
    let script = as_often(script, "import sys; print(sum(map(len, sys.stdin))); sys.exit(9)");
    run("/usr/bin/python3").args(["-I", "-S", "-c", script]).stdin(words())
}

/// Calculates without any other process, the same each time.
#[must_use]
pub fn python_alone() -> Run {
    let script = "import sys, json, re, decimal, collections\n\
        lines = sys.stdin.read().splitlines()\n\
        count = collections.Counter(len(line) for line in lines)\n\
        print(json.dumps(sorted(count.items())), re.sub('[0-4]', '', lines[-1]))\n\
        print(decimal.Decimal(2).sqrt(), hash('a'), sorted(lines, key=lambda l: l[::-1])[:3])\n\
        sys.exit(9)";
    let python = run("/usr/bin/python3").env("PYTHONHASHSEED", "0");
    python.args(["-s", "-S", "-c", script]).stdin(words())
}

/// Reads a repository that each run finds in the same state.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn git() -> Run {
    let bare = folder().join("repository");
    if !bare.join(".git").exists() {
        let git = |words: &[&str]| run("git").args(words.iter().copied()).finish().ok();
        let at = bare.to_string_lossy().into_owned();
        _ = git(&["init", "-q", &at]);
        std::fs::write(bare.join("file"), words()).expect("it is writable");
        _ = git(&["-C", &at, "add", "file"]);
        let who = ["-c", "user.name=a", "-c", "user.email=a@b"];
        _ = git(&[&["-C", &at], &who[..], &["commit", "-q", "-m", "one"]].concat());
    }
    run("git").arg("-C").arg(&bare).args(["--no-pager", "log", "--stat", "-p"])
}

/// Makes a table and asks it.
#[must_use]
pub fn sqlite() -> Run {
    let script = "create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 from n \
        where i < 2000) insert into t select i, i * i % 97 from n; select b, count(*), sum(a) from t \
        group by b order by 2, 1 limit 10;";
    run("sqlite3").args([":memory:", script])
}

/// A pipeline, and an end by a signal.
#[must_use]
pub fn shell() -> Run {
    let script = "for i in 1 2 3; do echo $i; done | sort -r | tr 1-3 a-c; (exit 4) || echo $?; \
        kill -TERM $$";
    run("sh").args(["-c", script])
}

/// Many small programs in one.
#[must_use]
pub fn busybox() -> Run {
    let script = "seq 1 40 | busybox sort -rn | busybox head -n 3; busybox expr 6 \\* 7; \
        echo some words | busybox sed 's/o/0/g' | busybox md5sum; busybox cal 2 2024; exit 5";
    run("busybox").args(["sh", "-c", script])
}

/// Reads files.
#[must_use]
pub fn tar() -> Run {
    let script = "tar cf - -C \"$1\" --sort=name --mtime=@0 --owner=0 --group=0 . | md5sum; \
        awk '{ n += $2 } END { print n, NR }' \"$1\"/file-*";
    run("bash").args(["-c", script, "bash"]).arg(files())
}

/// Hashes with a key.
#[must_use]
pub fn openssl() -> Run {
    run("openssl").args(["dgst", "-sha256", "-hmac", "key"]).stdin(words())
}
