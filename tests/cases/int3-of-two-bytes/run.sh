#!/bin/bash
# A program that is probed elsewhere executes CD 03, INT 3 with an operand, and handles its SIGTRAP.
# Right: the handler sees the PC behind both bytes, as without xol. Taken for a trap of one byte, it was sent into the middle.
. "$(dirname "$0")/../lib.sh"
[ "$(uname -m)" == x86_64 ] || { echo "no case: not x86-64"; exit 99; }
gcc -O1 -o i i.c || exit 99
wanted='1 1 7 0;1 2 7 0;1 3 7 0; 0'
control "$wanted" ./i
for strategy in auto jump boost xol step; do
  eq "$strategy" "$wanted" "$(timeout 10 "$XOL" count --strategy $strategy -o report i:work -- ./i 2>err) $?"
done
done_
