#!/bin/bash
# xol is killed again and again, at any moment, with all of libc's entries probed: while it arms, while it takes over what
# the one before has left, while it counts. Right: the next one works; when one has left as it should, the text is the
# file's and the mappings are those of before, and doctor finds nothing.
. "$(dirname "$0")/../lib.sh"
gcc -O1 -pthread -o p p.c && mkfifo input || exit 99
cat >text.py <<'P'
import sys
pid, odd = int(sys.argv[1]), 0
mem = open(f"/proc/{pid}/mem", "rb", 0)
for line in open(f"/proc/{pid}/maps"):
    part = line.split()
    if "x" not in part[1] or len(part) < 6 or not part[5].startswith("/"):
        continue
    start, end = (int(x, 16) for x in part[0].split("-"))
    mem.seek(start)
    now = mem.read(end - start)
    with open(part[5], "rb") as file:
        file.seek(int(part[2], 16))
        was = file.read(end - start)
    odd += sum(a != b for a, b in zip(now, was))
print(odd)
P
maps() { grep -E ' r-xp | rwxs |xol' "/proc/$1/maps" | cut -d' ' -f1,2,6-; }
./p <input >out & program=$!
later $program
exec 3>input
sleep 0.2
maps $program >before
for n in 1 2 3 4 5 6 7 8; do
  strategy=boost; [ $((n % 2)) = 0 ] && strategy=jump; [ $n -gt 5 ] && strategy=auto
  "$XOL" count --strategy $strategy -o /dev/null 'libc:*' ./p:work -p $program 2>err & xol=$!; later $xol
  sleep 0.$((RANDOM % 8))$((RANDOM % 10))
  kill -KILL $xol; end_of $xol
done 2>/dev/null
sleep 0.1
timeout 60 "$XOL" count --format json -o counts ./p:work -p $program --duration 0.3 2>err
eq 'status of the last xol' 0 $?
n=$(hits counts work)
[ "${n/none/0}" -ge 20 ] && ok "hits of the last xol: $n" || bad "hits of the last xol: $n; $(head -1 err)"
eq "bytes of text that are not the file's" 0 "$(python3 text.py $program)"
maps $program >after
eq 'mappings that were not there' '' "$(diff before after | grep '^[<>]')"
timeout 20 "$XOL" doctor -p $program >doctor 2>&1
hasnot 'doctor finds nothing left' doctor 'SIGTRAP|killed'
exec 3>&-
end_of $program
eq 'the program' "0 right" "$? $(cat out)"
done_
