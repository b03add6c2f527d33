#!/bin/bash
# A function jumps through a table all the time; one of its ways leads to another section, which returns by itself. Right: each
# of the 300 calls returns, by every strategy; the jumps that stay inside are not stopped at for ever.
. "$(dirname "$0")/../lib.sh"
gcc -O1 -o c c.c || exit 99
control '330 0' ./c
for strategy in auto boost xol jump; do
  got="$("$XOL" count --strategy $strategy --format json -o report return:./c:f -- ./c 2>err) $?"
  eq "$strategy" '330 0' "$got"
  eq "$strategy, returns" 300 "$(hits report ':f\b')"
done
done_
