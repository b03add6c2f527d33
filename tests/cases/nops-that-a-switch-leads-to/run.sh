#!/bin/bash
# The cases of a switch begin with a NOP each, which only a jump table leads to, behind the RET of the case before.
# Right: the program's results are right. Taken for padding, the NOPs had a jump written over them.
. "$(dirname "$0")/../lib.sh"
for level in -O1 -O2 -Os; do
  gcc $level -o s s.c || exit 99
  control 'bad 0 0' ./s 2000
  for strategy in jump auto boost; do
    for probe in s:choose return:s:choose 's:choose+*'; do
      eq "$level, $strategy, $probe" 'bad 0 0' "$(timeout 20 "$XOL" count --strategy $strategy -o report "$probe" -- ./s 2000 2>err) $?"
    done
  done
done
done_
