#!/bin/bash
# Somebody attaches to a program that has chosen the implementations of strlen and memcpy already.
# Right: the calls of the chosen ones are counted, in each way of linking.
. "$(dirname "$0")/../lib.sh"
for link in "-static -no-pie" "-static-pie" "-no-pie -Wl,-z,now" "-pie"; do
  gcc -O0 -fno-builtin $link -o p p.c || exit 99
  control $'ready\n153 0' bash -c "echo | ./p"
  rm -f input counts; mkfifo input
  ./p <input >out & program=$!
  later $program
  exec 3>input
  within 5 grep -q ready out
  timeout 20 "$XOL" count --format json -o counts strlen memcpy -p $program 2>err & xol=$!
  later $xol
  within 10 traced $program $xol
  sleep 1
  echo >&3
  exec 3>&-
  end_of $program
  eq "$link, the program" "0 153" "$? $(tail -1 out)"
  end_of $xol
  for name in strlen memcpy; do
    n=$(hits counts "^$name " 2>/dev/null)
    [ "${n/none/0}" -ge 50 ] 2>/dev/null && ok "$link, $name: $n" || bad "$link, $name: ${n:-none} counted of 50; $(tail -1 err)"
  done
done
done_
