#!/bin/bash
# A far JMP reads its target from memory and nothing of where it stands itself, as a far RET does. Right: it can be
# probed in every way that leaves it to the processor, and goes where it goes.
. "$(dirname "$0")/../lib.sh"
[ "$(uname -m)" == x86_64 ] || { echo "no case: not x86-64"; exit 99; }
gcc -O1 -no-pie -o far main.c || exit 99
control 'wrong 0 0' ./far
for strategy in auto boost jump; do
  got=$(timeout 20 "$XOL" count './far:through+*' --strategy $strategy --format json -o report -- ./far 2>err)
  eq "$strategy" '0 wrong 0' "$? $got"
  eq "$strategy: hits" 40000 "$(hits report through)"
done
timeout 20 "$XOL" plan ./far through+0x4 >plan 2>&1
has 'plan: copied' plan 'ljmpl? .* copy '
done_
