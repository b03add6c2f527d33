#!/bin/bash
# Calls are left by longjmp and by an exception, and others come behind them.
# Right: they end where that shows first, the inner before the outer one; what comes behind is not inside them.
. "$(dirname "$0")/../lib.sh"
[ "$(uname -m)" == x86_64 ] || { echo "no case: where a return address is in a register, it shows later"; exit 99; }
g++ -O1 -o l l.cc || exit 99
control 'done 0' ./l
wanted='around(n: N) {
  leaves(n: N) -> ? (unwound)
} around -> ? (unwound)
next(n: N) -> N
catches(n: N) {
  throws(n: N) -> ? (unwound)
} catches -> N
next(n: N) -> N'
both="$wanted
${wanted/throws(n: N) -> ? (unwound)/throws(n: N) -> N}
$wanted"
for strategy in auto boost; do
  eq "$strategy, status" 'done 0' "$(timeout 20 "$XOL" trace --tree --columns call,ret --strategy $strategy -o lines 'around(n: i32) -> i32' \
    'leaves(n: i32) -> i32' 'catches(n: i32) -> i32' 'throws(n: i32) -> i32' 'next(n: i32) -> i32' -- ./l 2>err) $?"
  eq "$strategy, lines" "$both" "$(sed -E 's/  [0-9.]+ (ns|us|ms|s)$//; s/n: -?[0-9]+/n: N/; s/-> -?[0-9]+$/-> N/' lines)"
done
done_
