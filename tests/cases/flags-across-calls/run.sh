#!/bin/bash
# Flags and registers that a function takes, hands on or gives back without touching them: through calls, tail calls,
# loops, returns. Right: all of them are the program's, whatever takes the place of a probed instruction.
. "$(dirname "$0")/../lib.sh"
[ "$(uname -m)" == x86_64 ] || { echo "no case: not x86-64"; exit 99; }
gcc -O1 -pthread -o flags main.c asm.S || exit 99
control 'wrong 0 0' ./flags
control 'wrong 0 0' ./flags 3
names='nothing set_rax set_r11 tail rounds carries calls by_register set_df turns'
entries=(); inside=(); returns=()
for name in $names; do
  entries+=("./flags:$name"); inside+=("./flags:$name+*"); returns+=("return:flags:$name")
done
try() { # try WHAT XOL-ARGS…
  local what=$1 got; shift
  got=$(timeout 60 "$XOL" "$@" 2>err); eq "$what" '0 wrong 0' "$? $got"; }
for strategy in auto jump boost; do
  try "count, $strategy" count "${entries[@]}" --strategy $strategy -o report -- ./flags
  try "count inside, $strategy" count "${inside[@]}" --strategy $strategy -o report -- ./flags
done
try "count, threads" count "${entries[@]}" --strategy jump -o report -- ./flags 3
try "count inside, threads" count "${inside[@]}" --strategy jump -o report -- ./flags 3
try "trace" trace "${entries[@]}" --strategy jump -o report -- ./flags
try "trace inside" trace "${inside[@]}" --strategy jump -o report -- ./flags
try "returns" trace "${returns[@]}" --strategy jump -o report -- ./flags
try "filtered" count './flags:nothing(a: i64)' './flags:set_rax(a: i64)' --where 'a > 5' --strategy jump -o report -- ./flags
done_
