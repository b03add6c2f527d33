#!/bin/bash
# A program is stopped and continued, 300 times, while it is at a probe. Right: it goes on each time.
. "$(dirname "$0")/../lib.sh"
gcc -O1 -o s s.c || exit 99
for strategy in boost xol jump; do
  timeout 40 "$XOL" count --strategy $strategy -o /dev/null ./s:work -- ./s >out 2>err & xol=$!; later $xol
  within 10 grep -q ready out || bad "$strategy: it does not begin"
  program=$(pgrep -P $(pgrep -P $xol | head -1) -x s | head -1); [ -n "$program" ] || program=$(pgrep -n -x s)
  for ((i = 0; i < 300; i++)); do
    case $((i % 3)) in
      0) kill -STOP $program; kill -CONT $program;;
      1) kill -TSTP $program; kill -CONT $program;;
      2) kill -STOP $program; sleep 0.002; kill -CONT $program;;
    esac
  done
  kill -TERM $program
  within 10 grep -q ended out || { bad "$strategy: it stays stopped: $(grep State /proc/$program/status)"; kill -KILL $program; }
  end_of $xol; eq "$strategy: status" 0 $?
done
done_
