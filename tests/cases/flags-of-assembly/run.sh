#!/bin/bash
# Functions in assembly pass a flag through, or use registers as no C function would; that is legal, crypto and
# bignum code does it. Right: whatever takes the place of a probed instruction, flags and registers are the program's.
. "$(dirname "$0")/../lib.sh"
[ "$(uname -m)" == x86_64 ] || { echo "no case: not x86-64"; exit 99; }
gcc -O1 -o flags main.c asm.S || exit 99
right='lost: ZF 0, CF 0, registers 0, DF 0'
control "$right 0" ./flags
probes=(./flags:keeps_zf ./flags:keeps_cf ./flags:odd_registers ./flags:keeps_df)
for strategy in auto jump boost; do
  got=$(timeout 40 "$XOL" count "${probes[@]}" --strategy $strategy --format json -o report -- ./flags)
  eq "count, $strategy" "$right" "$got"
  eq "count, $strategy: hits" 16000 "$(hits report 'keeps_|odd_')"
done
for strategy in jump boost; do
  got=$(timeout 40 "$XOL" trace "${probes[@]}" --strategy $strategy -o report -- ./flags 2>err)
  eq "trace, $strategy" "$right" "$got"
done
got=$(timeout 40 "$XOL" trace "${probes[@]/#.\/flags/return:flags}" --strategy jump -o report -- ./flags 2>err)
eq "trace, returns, jump" "$right" "$got"
done_
