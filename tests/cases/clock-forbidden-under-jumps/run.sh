#!/bin/bash
# A recorder reads the time stamp counter; where the program has forbidden that, the jump gives way to a trap. Right: always.
# Several threads are in the recorder when the first one faults.
. "$(dirname "$0")/../lib.sh"
gcc -O1 -pthread -o p p.c || exit 99
control "done 0" ./p
odd=0
for ((i = 0; i < 200; i++)); do
  [ "$(timeout 20 "$XOL" trace --strategy jump -o lines './p:tell(n: i64)' -- ./p 2>err) $?" = "done 0" ] || odd=$((odd + 1))
done
eq "of 200 runs, ended otherwise" 0 $odd
done_
